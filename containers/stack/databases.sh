#!/bin/sh
# The databases of Airflow and of MLflow, each with a user of its own whose password is a secret.
# PostgreSQL's image runs this once, at the first start.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\set airflow `cat /run/secrets/postgres_airflow`
\set mlflow `cat /run/secrets/postgres_mlflow`
CREATE ROLE airflow LOGIN PASSWORD :'airflow';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_users OWNER mlflow;
REVOKE CONNECT ON DATABASE airflow, mlflow, mlflow_users FROM PUBLIC;
SQL
