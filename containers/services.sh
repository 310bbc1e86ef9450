#!/bin/sh
# Makes an image of a server out of Debian packages, for places where no public image can be pulled:
# postgres, redis, s3 (Ceph's radosgw on one node) or proxy (nginx). `containers/compose.yaml` takes
# the first two and the last from Docker Hub unless told otherwise.
#
#   containers/services.sh SERVICE IMAGE        with DOCKER, the engine's client
#
# Needs what containers/debian.sh needs. Prints the image's id.
set -eu
cd "$(dirname "$0")"
service=$1
image=$2
: "${SOURCE_DATE_EPOCH:=1735689600}"
export SOURCE_DATE_EPOCH

# Commands of an image's description, each an option of `docker import`.
set -- --change 'ENV LANG=C.UTF-8'
entry=true # what copies the entrypoint into the image
case $service in
postgres)
    packages=postgresql-15
    set -- "$@" --change 'USER postgres' --change 'ENTRYPOINT ["/usr/local/bin/start"]' \
        --change 'VOLUME /var/lib/postgresql/data'
    entry='rm -rf "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15 &&
        install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data'
    ;;
redis)
    packages=redis-server
    set -- "$@" --change 'USER redis' --change 'VOLUME /data' --change 'WORKDIR /data' \
        --change 'CMD ["redis-server"]'
    entry='install -d -o redis -g redis -m 700 /data'
    ;;
s3)
    packages=ceph-mon,ceph-mgr,ceph-osd,ceph-common,radosgw
    set -- "$@" --change 'USER ceph' --change 'VOLUME /data' \
        --change 'ENTRYPOINT ["/usr/local/bin/start"]'
    entry='install -d -o ceph -g ceph -m 700 /data'
    ;;
proxy)
    packages=nginx-light
    set -- "$@" --change 'CMD ["nginx", "-g", "daemon off;"]'
    ;;
*)
    printf '%s\n' "There is no such server." "  Expected: postgres, redis, s3 or proxy" \
        "  Received: $service" >&2
    exit 64
    ;;
esac

archive=$(mktemp)
hook=$(mktemp)
trap 'rm -f "$archive" "$hook"' EXIT
# Runs beside the new system; what concerns its users runs inside.
cat >"$hook" <<HOOK
#!/bin/sh
set -eu
$(printf '%s' "$entry" | sed 's/install -d/chroot "$1" install -d/')
if [ -e "$PWD/stack/$service.sh" ]; then
    install -m 755 "$PWD/stack/$service.sh" "\$1/usr/local/bin/start"
fi
HOOK
chmod 755 "$hook"
mmdebstrap --quiet --variant=essential --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="$hook" --format=tar bookworm - >"$archive"
"${DOCKER:-docker}" import "$@" --change "LABEL melanoma-retraining.image=$service" \
    "$archive" "$image"
