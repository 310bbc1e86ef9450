#!/bin/sh
# Starts the web app. It refuses a file of users that others may read, and so gets a copy.
#   APP_OPTIONS   further options of `tasks serve`, such as --feedback
set -eu
install -m 600 /run/secrets/app_users "$HOME/users"
# shellcheck disable=SC2086 # several options
exec python -m tasks serve --store "$MELANOMA_STORE" --host 0.0.0.0 --users "$HOME/users" \
    --name "$MELANOMA_HOST" --name localhost $APP_OPTIONS
