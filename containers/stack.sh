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
unset CDPATH
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

no_answer() { # COMMAND: the engine did not answer it, and has said why
    printf '%s\n' "The engine does not answer." "  Expected: an answer to: $1" \
        "  Do:       start the engine, then try again" >&2
    exit 75
}

# shellcheck source=containers/stack/secrets.sh
. "$root/containers/stack/secrets.sh"
# shellcheck source=containers/stack/backups.sh
. "$root/containers/stack/backups.sh"

compose() (
    # Compose would take what the shell says before what the file says.
    for name in COMPOSE_PROJECT_NAME MELANOMA_SECRETS $KEPT; do unset "$name"; done
    # shellcheck disable=SC2086 # a command of two words
    $COMPOSE --project-name "$(setting COMPOSE_PROJECT_NAME)" --env-file "$folder/environment" \
        --file "$root/containers/compose.yaml" "$@"
)

# What can be done --------------------------------------------------------------------------------

start() { # [--tls]
    make_settings
    made
    make_secrets
    tls=
    if [ "${1:-}" = --tls ]; then
        check_certificate
        tls="--profile tls"
    fi
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
        ids=$(compose ps --quiet) || no_answer "$COMPOSE ps"
        unready=
        [ -n "$ids" ] || unready=" no container"
        for id in $ids; do
            said=$("$docker" inspect --format \
                '{{.Name}} {{.State.Status}}/{{if .State.Health}}{{.State.Health.Status}}{{end}}/{{.State.ExitCode}}' \
                "$id") || said="$id gone" # it ended between the two looks
            case ${said#* } in
            running/healthy/* | running//* | exited/*/0) ;;
            *) unready="$unready $said" ;;
            esac
        done
        [ -n "$unready" ] || return 0
        if [ "$(date +%s)" -ge "$until" ]; then
            printf '%s\n' "Not healthy in time:$unready" \
                "  Do:       containers/stack.sh compose logs SERVICE" >&2
            exit 75
        fi
        sleep 2
    done
}

tasks() {
    if [ -n "${DELIVERY:-}" ]; then
        # The engine would make a missing folder, and a volume of a name without a slash.
        case $DELIVERY in
        *:*) delivery= ;;
        *) delivery=$(cd "$DELIVERY" 2>/dev/null && pwd) || delivery= ;;
        esac
        [ -n "$delivery" ] || refuse "There is no delivery." \
            "  Expected: DELIVERY, a folder of this machine without a colon in its name" \
            "  Received: $DELIVERY"
    fi
    compose run --rm ${DELIVERY:+--volume "$delivery:/delivery:ro"} tasks "$@"
}

made() { # whether there is a stack here
    [ -s "$folder/environment" ] || refuse "There is no stack." \
        "  Expected: settings and secrets in $folder" "  Do:       containers/stack.sh up"
    for name in COMPOSE_PROJECT_NAME MELANOMA_SECRETS; do check "$name" "$(setting "$name")"; done
}

destroy() {
    # A restoration may have ended before there were settings.
    if [ -s "$folder/environment" ] || [ ! -e "$folder/restoring" ]; then
        made
        compose --profile tls down --volumes
    fi
    rm -f "$folder/restoring"
}

check_words() { # WORD ...: refuse what the command does not know, before anything runs
    case $command in
    up) expected="nothing more, or --tls" ;;
    secrets | stop | destroy) expected="nothing more" ;;
    backup | restore) expected="FOLDER, one that does not begin with -" ;;
    tasks | compose) return ;;
    *)
        refuse "There is no such command." "  Received: $command" \
            "  Expected: up, secrets, stop, tasks, backup, restore, destroy or compose"
        ;;
    esac
    case $command/$#/${1-} in
    up/0/ | up/1/--tls | secrets/0/ | stop/0/ | destroy/0/) return ;;
    backup/1/ | restore/1/ | backup/1/-* | restore/1/-*) ;;
    backup/1/* | restore/1/*) return ;;
    esac
    refuse "$command does not know these words." "  Expected: $expected" "  Received: ${*:-nothing}" \
        "  Do:       see the first lines of containers/stack.sh"
}

main() {
    command=${1-up}
    [ $# -eq 0 ] || shift
    [ "$command" = secrets ] || find_compose
    check_words "$@"
    check SECONDS_TO_START "${SECONDS_TO_START:-600}"
    case $command in
    up | secrets | tasks | backup) no_restoration_left ;;
    esac
    case $command in
    stop | tasks | backup | compose) made ;;
    esac
    [ ! -s "$folder/environment" ] || tell_what_is_not_used
    case $command in
    up) start "$@" ;;
    secrets)
        make_settings
        make_secrets
        ;;
    stop) compose --profile tls stop ;;
    *) "$command" "$@" ;;
    esac
}

main "$@"; exit # read whole before it runs, so that an upgrade may replace this file
