# Back up the compose stack and restore it, a part of containers/stack.sh.
#
# $folder/restoring stands while a restoration is on, and names the backup. Where it was left, the
# stack is not whole, and nothing but another restoration or `destroy` is done with it.
DATABASES="airflow mlflow mlflow_users"
DUMPED=$(for name in $DATABASES; do printf ' %s.dump' "$name"; done)

in_postgres() { # PROGRAM ARG ...: in its container, as its first user
    # shellcheck disable=SC2016 # the container expands it
    compose exec -T postgres sh -c 'PGPASSWORD=$(cat /run/secrets/postgres_password) &&
        export PGPASSWORD && program=$1 && shift &&
        "$program" --host 127.0.0.1 --username postgres "$@"' - "$@"
}

without_slash() { # FOLDER: without slashes at its end
    path=$1
    while [ "${path%/}" != "$path" ]; do path=${path%/}; done
    printf '%s' "$path"
}

sums() { # FOLDER: of its files
    (cd "$1" && find . -type f ! -name SHA256SUMS -exec sha256sum {} +)
}

backup() { # FOLDER
    target=$(without_slash "$1")
    [ -n "$target" ] && [ ! -e "$target" ] && [ ! -h "$target" ] || refuse \
        "A backup needs a new folder." "  Expected: a folder that does not exist" "  Received: $1"
    partial=$target.partial
    mkdir -p "$(dirname "$target")"
    mkdir "$partial" 2>/dev/null || refuse "A backup into this folder is being made, or did not end." \
        "  Expected: no $partial, and a parent folder that can be written" \
        "  Do:       if no other backup is running, rm -r $partial; or give another folder"
    trap 'rm -rf "$partial"; echo "No backup was made." >&2' EXIT # what was saved holds passwords
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # The databases first: an object that they name is in the copy of the objects then.
    for name in $DATABASES; do
        in_postgres pg_dump --format custom "$name" >"$partial/$name.dump"
    done
    compose run --rm -T objects save >"$partial/objects.tar"
    cp -RLp "$secrets" "$folder/environment" "$partial/"
    for name in $DUMPED objects.tar; do
        [ -s "$partial/$name" ] || refuse "A part of the backup is empty." "  Received: $name" \
            "  Do:       containers/stack.sh compose logs postgres s3"
    done
    summed=$(sums "$partial")
    printf '%s\n' "$summed" >"$partial/SHA256SUMS"
    [ ! -e "$target" ] || refuse "A backup needs a new folder." \
        "  Expected: a folder that does not exist" "  Received: $target, which somebody made meanwhile"
    mv "$partial" "$target"
    trap - EXIT INT TERM
    echo "Saved in $target. It holds every password: keep it locked away."
}

check_backup() { # FOLDER: every file that a backup has, as it was written, and no other
    [ -f "$1/SHA256SUMS" ] || refuse "There is no backup." \
        "  Expected: a folder that containers/stack.sh backup made" "  Received: $1"
    found=$(sums "$1" | sort)
    [ "$found" = "$(sort "$1/SHA256SUMS")" ] || refuse "The backup is not whole." \
        "  Expected: every file as in $1/SHA256SUMS, and no other" \
        "  Received: $(printf '%s\n' "$found" | sort - "$1/SHA256SUMS" | uniq -u |
            sed 's/^[0-9a-f]*  //' | sort -u | tr '\n' ' ')" "  Do:       restore another backup"
    for name in $DUMPED objects.tar environment secrets/postgres_password; do
        [ -s "$1/$name" ] || refuse "The backup is not whole." "  Expected: $name" \
            "  Received: none in $1" "  Do:       restore another backup"
    done
}

place() { # NAME FILE: an address of S3 in a file of settings, or the default
    value=$(setting "$1" "$2")
    printf '%s' "${value:-$(sed -n "s|.*\${$1:-\(s3:[^}]*\)}.*|\1|p" "$root/containers/compose.yaml" |
        sed -n 1p)}"
}

check_place() { # FOLDER: that the stack here can take the backup's content
    settings=$1/environment
    [ ! -s "$folder/environment" ] || settings=$folder/environment
    check COMPOSE_PROJECT_NAME "$(setting COMPOSE_PROJECT_NAME "$settings")"
    check MELANOMA_SECRETS "$secrets" "STACK, with /secrets,"
    for name in MELANOMA_STORE MLFLOW_ARTIFACTS; do
        # Objects go back into the buckets that they came from, and the databases name them there.
        expected=$(place "$name" "$1/environment")
        received=$(place "$name" "$settings")
        [ "$expected" = "$received" ] || refuse "The backup is of a stack with another $name." \
            "  Expected: $expected" "  Received: $received, by $settings" \
            "  Do:       correct $settings, or give another STACK"
    done
    [ ! -e "$secrets" ] || diff -r "$secrets" "$1/secrets" >/dev/null || refuse \
        "Another stack has its secrets here." "  Expected: no secrets in $secrets, or the backup's" \
        "  Do:       give another STACK, or move them away"
    project=$(setting COMPOSE_PROJECT_NAME "$settings")
    volumes=$("$docker" volume ls --quiet --filter "name=^${project}_postgres$" \
        --filter "name=^${project}_s3$") || no_answer "$docker volume ls"
    [ -z "$volumes" ] || refuse "This stack has data." "  Expected: a stack without volumes" \
        "  Received: $(echo "$volumes" | tr '\n' ' ')" \
        "  Do:       containers/stack.sh destroy, if nothing there is needed"
}

take_over() { # FOLDER: the backup's settings and secrets; each comes into being as a whole
    if [ ! -s "$folder/environment" ]; then
        {
            sed '/^MELANOMA_SECRETS=/d' "$1/environment"
            printf 'MELANOMA_SECRETS=%s\n' "$secrets"
        } >"$folder/environment.partial"
        mv "$folder/environment.partial" "$folder/environment"
    fi
    if [ ! -e "$secrets" ]; then
        rm -rf "$secrets.partial"
        cp -rp "$1/secrets" "$secrets.partial"
        chmod 700 "$secrets.partial"
        mv "$secrets.partial" "$secrets"
    fi
}

tell_that_it_is_not_whole() {
    printf '%s\n' "The restoration did not end: the stack is not whole, and is not started." \
        "  Do:       mend what is said above; containers/stack.sh destroy; restore again" >&2
}

restore() { # FOLDER
    saved=$(without_slash "$1")
    check_backup "$saved"
    check_place "$saved"
    mkdir -p "$folder"
    chmod 700 "$folder"
    printf '%s\n' "$saved" >"$folder/restoring"
    trap tell_that_it_is_not_whole EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    take_over "$saved"
    tell_what_is_not_used
    compose up --detach postgres s3-buckets
    wait_until_healthy
    for name in $DATABASES; do
        in_postgres pg_restore --exit-on-error --single-transaction --dbname "$name" \
            <"$saved/$name.dump"
    done
    compose run --rm -T objects load <"$saved/objects.tar"
    rm "$folder/restoring"
    trap - EXIT INT TERM
    start
}

no_restoration_left() { # refuse to go on with a stack that is not whole
    [ ! -e "$folder/restoring" ] || refuse "A restoration did not end: the stack is not whole." \
        "  Expected: a stack that was restored to the end" \
        "  Received: half of $(cat "$folder/restoring")" \
        "  Do:       containers/stack.sh destroy; then restore again"
}
