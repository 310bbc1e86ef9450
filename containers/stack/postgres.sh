#!/bin/sh
# Starts Debian's PostgreSQL as the public image `postgres` does: at the first start it makes the
# database with the password in POSTGRES_PASSWORD_FILE, and runs /docker-entrypoint-initdb.d/*.sh.
#
#   start [OPTION ...]        options of the server; PGDATA must lie inside a volume
#
# What was killed at its first start begins anew: the folder gets its name when all is made.
set -eu
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
export POSTGRES_USER="${POSTGRES_USER:-postgres}"
sockets=/tmp

if [ ! -e "$PGDATA" ]; then
    partial=$PGDATA.partial
    rm -rf "$partial"
    initdb --pgdata "$partial" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" \
        --auth-local trust --auth-host scram-sha-256 --encoding UTF8 --data-checksums >/dev/null
    echo "host all all all scram-sha-256" >>"$partial/pg_hba.conf"
    # Nobody outside can connect before all is made.
    pg_ctl --pgdata "$partial" --wait -o "-c listen_addresses='' -k $sockets" start
    for script in /docker-entrypoint-initdb.d/*.sh; do
        [ ! -e "$script" ] || PGHOST=$sockets sh "$script"
    done
    pg_ctl --pgdata "$partial" --wait --mode fast stop
    mv "$partial" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -k "$sockets" "$@"
