-- A user for each server, who owns its databases and can connect to no other. The postgres image runs this once, when its volume is new.
\set mlflow `cat /run/secrets/mlflow_database`
\set prefect `cat /run/secrets/prefect_database`
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE ROLE prefect LOGIN PASSWORD :'prefect';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_accounts OWNER mlflow;
CREATE DATABASE prefect OWNER prefect;
REVOKE CONNECT ON DATABASE postgres, mlflow, mlflow_accounts, prefect FROM PUBLIC;
