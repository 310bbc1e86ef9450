#!/bin/sh
# Starts MLflow's server with its login. Secrets come from files into the environment of this process
# alone, which the engine does not show.
set -eu
MLFLOW_BACKEND_STORE_URI=$(cat /run/secrets/mlflow_database)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat /run/secrets/mlflow_form_key) # of forms, not of logins
export MLFLOW_BACKEND_STORE_URI MLFLOW_FLASK_SERVER_SECRET_KEY
exec mlflow server --app-name basic-auth --host 0.0.0.0 --port 5000 --workers 1 \
    --artifacts-destination "$MLFLOW_ARTIFACTS"
