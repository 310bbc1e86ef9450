#!/bin/bash
# Starts an S3 server: a one-node Ceph (monitor, manager, one OSD on a sparse file) with its gateway
# radosgw, all in one folder, which keeps everything over a restart.
#
#   S3_BYTES=... start        with /data, a volume, and secrets in /run/secrets
#
# S3_BYTES is the largest size of all objects together. A user for each secret s3_NAME, a file of
# credentials in AWS's format, is made at each start. Only the gateway listens outside, on port 8000.
# Ends within seconds of SIGTERM, in an orderly way.
set -euo pipefail
folder=/data/ceph
making=/data/ceph.partial
conf=(-c "$folder/ceph.conf")
servers=()

stop() {
    trap - EXIT TERM INT
    # From the gateway down, so that each still has what it writes to.
    for ((number = ${#servers[@]} - 1; number >= 0; number--)); do
        kill "${servers[number]}" 2>/dev/null || true
        for _ in $(seq 1 100); do
            kill -0 "${servers[number]}" 2>/dev/null || break
            sleep 0.1
        done
    done
}
trap stop EXIT
trap 'exit 143' TERM INT

serve() { # runs a server in the foreground of this script's job list, so that we know its id
    "$@" --foreground </dev/null &
    servers+=($!)
}

eventually() { # COMMAND...: repeats it until it succeeds, 120 s at most, while all servers live
    for _ in $(seq 1 600); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        if ! kill -0 "${servers[@]}" 2>/dev/null; then break; fi
        sleep 0.2
    done
    echo "never succeeded: $*" >&2
    return 1
}

configuration() {
    cat <<CONF
[global]
fsid = $1
mon host = [v2:127.0.0.1:3300]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = /tmp
admin socket =
pid file =
log to stderr = true
log file =
mon cluster log file = /dev/null
mon data = $folder/mon/\$id
mgr data = $folder/mgr/\$id
osd data = $folder/osd/\$id
keyring = $folder/keyring
crash dir = /tmp
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
mon pg warn min per osd = 0
mon data avail crit = 1
mon warn on insecure global id reclaim allowed = false
osd objectstore = bluestore
bluestore block size = ${S3_BYTES:?}
bluestore block path =
osd memory target = 939524096
mgr initial modules =
[client.rgw]
rgw frontends = beast endpoint=0.0.0.0:8000
rgw data = $folder/rgw
CONF
}

keyring() { ceph-authtool "$making/keyring" "$@" >/dev/null; }

make_monitor() { # all that needs no running server; the folder gets its name last
    rm -rf "$making"
    mkdir -p "$making"/{mon/a,mgr/x,osd,rgw}
    fsid=$(cat /proc/sys/kernel/random/uuid)
    configuration "$fsid" >"$making/ceph.conf"
    ceph-authtool --create-keyring "$making/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
    keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
    keyring --gen-key -n mgr.x --cap mon 'allow profile mgr' --cap osd 'allow *'
    keyring --gen-key -n client.rgw --cap mon 'allow rw' --cap osd 'allow rwx' --cap mgr 'allow rw'
    monmaptool --create --addv a "[v2:127.0.0.1:3300]" --fsid "$fsid" "$making/monmap" >/dev/null
    ceph-mon -c "$making/ceph.conf" --mkfs -i a --monmap "$making/monmap" \
        --keyring "$making/keyring" --mon-data "$making/mon/a"
    mv "$making" "$folder"
}

make_disk() { # once; what was killed in between is made anew, since nothing lies there yet
    uuid=$(cat /proc/sys/kernel/random/uuid)
    key=$(ceph-authtool --gen-print-key)
    number=$(echo "{\"cephx_secret\": \"$key\"}" | ceph "${conf[@]}" osd new "$uuid" -i -)
    mkdir -p "$folder/osd/$number"
    ceph-authtool "$folder/keyring" --name "osd.$number" --add-key "$key" >/dev/null
    ceph-osd "${conf[@]}" -i "$number" --mkfs --osd-uuid "$uuid"
    echo "$number" >"$folder/disk.partial"
    mv "$folder/disk.partial" "$folder/disk"
}

[ -e "$folder" ] || make_monitor
serve ceph-mon "${conf[@]}" -i a
eventually timeout 20 ceph "${conf[@]}" --connect-timeout 10 -s
serve ceph-mgr "${conf[@]}" -i x
[ -e "$folder/disk" ] || make_disk
serve ceph-osd "${conf[@]}" -i "$(cat "$folder/disk")"
disk_is_up() { ceph "${conf[@]}" osd stat | grep -q '1 up'; }
eventually disk_is_up
serve radosgw "${conf[@]}" -n client.rgw
gateway_answers() { (exec 3<>/dev/tcp/127.0.0.1/8000); }
eventually gateway_answers

for secret in /run/secrets/s3_*; do
    name=${secret##*/s3_}
    value() { sed -n "s/^$1 *= *//p" "$secret"; }
    user=(--uid "$name" --access-key "$(value aws_access_key_id)"
        --secret "$(value aws_secret_access_key)")
    radosgw-admin "${conf[@]}" user create --display-name "$name" "${user[@]}" >/dev/null 2>&1 ||
        radosgw-admin "${conf[@]}" user modify "${user[@]}" >/dev/null
done
touch "$HOME/ready"
echo "ready"

wait -n || true # where one server ends, all end, and the engine starts them anew
echo "a server ended" >&2
exit 1
