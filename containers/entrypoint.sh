#!/bin/sh
# What Airflow's images start, /entrypoint: an airflow command, such as `scheduler`, as compose and the
# trial give it; or a whole command. Airflow's chart gives `bash -c "exec airflow scheduler"` and
# `airflow db check-migrations`, and its probes call /entrypoint by this name.
set -eu
case ${1:-} in
airflow | bash | sh | python) exec "$@" ;;
*) exec airflow "$@" ;;
esac
