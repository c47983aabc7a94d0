-- One database for each server. The postgres image runs this once, when its volume is new.
CREATE DATABASE mlflow;
CREATE DATABASE prefect;
