#!/bin/sh
# Starts Airflow's API server. It opens the file of its users to write, and so gets a copy.
set -eu
install -m 600 /run/secrets/airflow_users "$HOME/users.json"
exec airflow api-server --host 0.0.0.0 --port 8080 --proxy-headers
