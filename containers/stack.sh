#!/bin/sh
# The compose stack: all of the product on one machine, in containers. docs/compose.md is the manual.
#
#   containers/stack.sh up [--tls]       start, and wait until all is healthy; the first start makes
#                                        every secret. With --tls a proxy answers other machines.
#   containers/stack.sh secrets          make settings and secrets, and start nothing
#   containers/stack.sh stop             end it; data and secrets stay
#   containers/stack.sh tasks ARG ...    python -m tasks, beside the stack; DELIVERY=folder shows it
#                                        a folder of this machine as /delivery
#   containers/stack.sh backup FOLDER    copy databases, objects and secrets into a new folder
#   containers/stack.sh restore FOLDER   put a backup into a stack that has never been started
#   containers/stack.sh destroy          end it and delete all data; secrets stay
#   containers/stack.sh compose ARG ...  compose itself, such as `ps` or `logs worker-1`
#
# STACK   the folder with settings and secrets, .stack by default
# DOCKER  the engine's client
# COMPOSE compose, `docker compose` or `docker-compose`; without it, whichever there is
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${STACK:-$root/.stack}
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
secrets=$folder/secrets
docker=${DOCKER:-docker}
umask 077

refuse() {
    printf '%s\n' "$@" >&2
    exit 64
}

find_compose() { # for all commands but `secrets`, which a cluster needs too
    [ -z "${COMPOSE:-}" ] || return 0
    if "$docker" compose version >/dev/null 2>&1; then
        COMPOSE="$docker compose"
    elif command -v docker-compose >/dev/null; then
        COMPOSE=docker-compose
    else
        refuse "There is no compose." "  Expected: docker compose 2, or docker-compose 1.29" \
            "  Do:       apt-get install docker-compose"
    fi
}

compose() {
    # shellcheck disable=SC2086 # a command of two words
    $COMPOSE --project-name "$(setting COMPOSE_PROJECT_NAME)" --env-file "$folder/environment" \
        --file "$root/containers/compose.yaml" "$@"
}

setting() { # NAME: its value in the file of settings
    sed -n "s/^$1=//p" "$folder/environment"
}

# Settings and secrets ----------------------------------------------------------------------------

word() { # a random password, of letters and digits: 192 bits, and nothing to escape anywhere
    head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'
}

keep() { # NAME: the input as a secret, if there is none yet; containers of any user read it
    if [ -e "$secrets/$1" ]; then
        cat >/dev/null
        return
    fi
    cat >"$secrets/.$1.partial"
    chmod 444 "$secrets/.$1.partial"
    mv "$secrets/.$1.partial" "$secrets/$1"
}

secret() { cat "$secrets/$1"; }

credentials() { # a key of S3, in AWS's format
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$(word)" "$(word)"
}

make_secrets() {
    command -v openssl >/dev/null || refuse "There is no openssl, which makes a certificate." \
        "  Do:       apt-get install openssl"
    mkdir -p "$secrets"
    chmod 700 "$folder" "$secrets" # the folder is locked, not the files
    for name in postgres_password postgres_airflow postgres_mlflow redis_password airflow_jwt \
        airflow_api_key mlflow_form_key; do
        word | keep "$name"
    done
    head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' | keep airflow_fernet_key
    for name in s3_store s3_mlflow s3_backup; do credentials | keep "$name"; done
    keep redis_configuration <<CONF
requirepass $(secret redis_password)
bind 0.0.0.0
dir /data
appendonly yes
maxmemory-policy noeviction
CONF
    # Without a line's end, which Airflow would take for a part.
    database="airflow:$(secret postgres_airflow)@postgres/airflow"
    printf '%s' "postgresql+psycopg2://$database" | keep airflow_database
    printf '%s' "db+postgresql+psycopg2://$database" | keep airflow_results
    printf '%s' "redis://:$(secret redis_password)@redis:6379/0" | keep airflow_broker
    database="postgresql+psycopg2://mlflow:$(secret postgres_mlflow)@postgres"
    printf '%s' "$database/mlflow" | keep mlflow_database
    printf '[mlflow]\nmlflow_tracking_username = melanoma\nmlflow_tracking_password = %s\n' \
        "$(word)" | keep mlflow_credentials
    keep mlflow_users <<CONF
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = $database/mlflow_users
admin_username = melanoma
admin_password = $(sed -n 's/^mlflow_tracking_password = //p' "$secrets/mlflow_credentials")
CONF
    printf '{"engineer": "%s", "physician": "%s"}\n' "$(word)" "$(word)" | keep airflow_users
    printf 'physician:%s\n' "$(word)" | keep app_users
    make_certificate
}

make_certificate() { # a trial's own; put one of your house's in its place
    [ ! -e "$secrets/tls_key" ] || return 0
    host=$(setting MELANOMA_HOST)
    key=$(mktemp)
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -subj "/CN=$host" -addext "subjectAltName=DNS:$host,DNS:localhost" \
        -keyout "$key" 2>/dev/null | keep tls_certificate
    keep tls_key <"$key"
    rm "$key"
}

make_settings() {
    [ ! -e "$folder/environment" ] || return 0
    mkdir -p "$folder"
    chmod 700 "$folder"
    cat >"$folder/environment.partial" <<SETTINGS
# Settings of the compose stack. No secret stands here. What else can be set: docs/compose.md.
COMPOSE_PROJECT_NAME=${PROJECT:-melanoma}
MELANOMA_SECRETS=$secrets
MELANOMA_HOST=${MELANOMA_HOST:-localhost}
MELANOMA_TAG=${MELANOMA_TAG:-latest}
SETTINGS
    # What was set when the stack was first started stays set.
    for name in AIRFLOW_PORT MLFLOW_PORT APP_PORT AIRFLOW_TLS_PORT MLFLOW_TLS_PORT APP_TLS_PORT \
        AIRFLOW_URL POSTGRES_IMAGE REDIS_IMAGE PROXY_IMAGE MELANOMA_REGISTRY S3_BYTES S3_URL MELANOMA_STORE; do
        eval "value=\${$name:-}"
        [ -z "$value" ] || echo "$name=$value" >>"$folder/environment.partial"
    done
    mv "$folder/environment.partial" "$folder/environment"
}

# What can be done --------------------------------------------------------------------------------

up() {
    make_settings
    make_secrets
    tls=
    [ "${1:-}" != --tls ] || tls="--profile tls"
    # shellcheck disable=SC2086 # nothing, or two words
    compose $tls up --detach
    wait_until_healthy
    cat <<ADDRESSES
Airflow: http://127.0.0.1:$(port AIRFLOW_PORT 8080)   users and passwords: $secrets/airflow_users
MLflow:  http://127.0.0.1:$(port MLFLOW_PORT 5000)   $secrets/mlflow_credentials
App:     http://127.0.0.1:$(port APP_PORT 8200)   $secrets/app_users
ADDRESSES
}

port() { # NAME DEFAULT
    value=$(setting "$1")
    echo "${value:-$2}"
}

wait_until_healthy() { # at most SECONDS_TO_START, 600 by default
    until=$(($(date +%s) + ${SECONDS_TO_START:-600}))
    while :; do
        unready=
        for id in $(compose ps --quiet); do
            said=$("$docker" inspect --format \
                '{{.Name}} {{.State.Status}}/{{if .State.Health}}{{.State.Health.Status}}{{end}}/{{.State.ExitCode}}' "$id")
            case ${said#* } in
            running/healthy/* | running//* | exited/*/0) ;;
            *) unready="$unready $said" ;;
            esac
        done
        [ -n "$unready" ] || return 0
        if [ "$(date +%s)" -gt "$until" ]; then
            printf '%s\n' "Not healthy in time:$unready" \
                "  Do:       containers/stack.sh compose logs SERVICE" >&2
            exit 75
        fi
        sleep 2
    done
}

tasks() {
    compose run --rm ${DELIVERY:+--volume "$DELIVERY:/delivery:ro"} tasks "$@"
}

made() { # whether there is a stack here
    [ -e "$folder/environment" ] || refuse "There is no stack." \
        "  Expected: settings and secrets in $folder" "  Do:       containers/stack.sh up"
}

in_postgres() { # PROGRAM ARG ...: in its container, as its first user
    # shellcheck disable=SC2016 # the container expands it
    compose exec -T postgres sh -c 'PGPASSWORD=$(cat /run/secrets/postgres_password) &&
        export PGPASSWORD && program=$1 && shift &&
        "$program" --host 127.0.0.1 --username postgres "$@"' - "$@"
}

DATABASES="airflow mlflow mlflow_users"

backup() { # FOLDER
    [ -n "${1:-}" ] && [ ! -e "$1" ] || refuse "A backup needs a new folder." \
        "  Expected: a folder that does not exist" "  Received: ${1:-none}"
    mkdir -p "$1.partial"
    # The databases first: an object that they name is in the copy of the objects then.
    for name in $DATABASES; do
        in_postgres pg_dump --format custom "$name" >"$1.partial/$name.dump"
    done
    compose run --rm -T objects save >"$1.partial/objects.tar"
    cp -rp "$secrets" "$folder/environment" "$1.partial/"
    (cd "$1.partial" && find . -type f ! -name SHA256SUMS -exec sha256sum {} +) >"$1.sums"
    mv "$1.sums" "$1.partial/SHA256SUMS"
    mv "$1.partial" "$1"
    echo "Saved in $1. It holds every password: keep it locked away."
}

restore() { # FOLDER
    (cd "${1:?}" && sha256sum --quiet --check SHA256SUMS) || refuse "The backup is not whole." \
        "  Expected: every file as in $1/SHA256SUMS"
    [ ! -e "$secrets" ] || diff -r "$secrets" "$1/secrets" >/dev/null || refuse \
        "Another stack has its secrets here." "  Expected: no secrets in $secrets, or the backup's" \
        "  Do:       give another STACK, or move them away"
    mkdir -p "$folder"
    [ -e "$folder/environment" ] || sed "s|^MELANOMA_SECRETS=.*|MELANOMA_SECRETS=$secrets|" \
        "$1/environment" >"$folder/environment"
    [ -z "$("$docker" volume ls --quiet --filter "name=^$(setting COMPOSE_PROJECT_NAME)_postgres$")" ] ||
        refuse "This stack has data." "  Expected: a stack without volumes" \
            "  Do:       containers/stack.sh destroy, if nothing there is needed"
    [ -e "$secrets" ] || cp -rp "$1/secrets" "$secrets"
    chmod 700 "$folder" "$secrets"
    compose up --detach postgres s3-buckets
    wait_until_healthy
    for name in $DATABASES; do
        in_postgres pg_restore --exit-on-error --single-transaction --dbname "$name" \
            <"$1/$name.dump"
    done
    compose run --rm -T objects load <"$1/objects.tar"
    up
}

main() {
    command=${1:-up}
    [ $# -eq 0 ] || shift
    case $command in
    up | restore)
        find_compose
        "$command" "$@"
        ;;
    secrets)
        make_settings
        make_secrets
        ;;
    stop | destroy | tasks | backup | compose)
        find_compose
        made
        case $command in
        stop) compose --profile tls stop ;;
        destroy) compose --profile tls down --volumes ;;
        *) "$command" "$@" ;;
        esac
        ;;
    *)
        refuse "There is no such command." "  Received: $command" \
            "  Expected: up, secrets, stop, tasks, backup, restore, destroy or compose"
        ;;
    esac
}

main "$@"; exit # read whole before it runs, so that an upgrade may replace this file
