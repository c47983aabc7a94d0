#!/bin/sh
# Brings MLflow's database up to date with this image's MLflow, and starts the server with the options that are given.
set -eu
for option in "$@"; do
    case $option in
        --backend-store-uri=*) mlflow db upgrade "${option#*=}" ;;
    esac
done
exec mlflow server "$@"
