#!/bin/bash
# A real S3 server for the tests: a one-node Ceph (monitor, manager, one OSD on a sparse file)
# with its S3 gateway radosgw, all on 127.0.0.1 and in one folder.
#
#   S3_PORT=... MON_PORT=... ACCESS_KEY=... SECRET_KEY=... tests/ceph_one_node.sh FOLDER
#
# FOLDER must be empty or absent. Prints "ready" when the gateway answers and the user exists, and
# then lives until its standard input ends: so the four servers end with whoever started them,
# even if that process is killed. Needs root, and Debian's packages
# ceph-mon ceph-mgr ceph-osd ceph-common radosgw.
set -euo pipefail

folder=${1:?usage: ceph_one_node.sh FOLDER}
: "${S3_PORT:?}" "${MON_PORT:?}" "${ACCESS_KEY:?}" "${SECRET_KEY:?}"
if [ -n "$(ls -A "$folder" 2>/dev/null)" ]; then
    echo "$folder is not empty" >&2
    exit 64
fi
mkdir -p "$folder"/{mon/a,mgr/x,osd,run,log,rgw}
exec 2>"$folder/log/start.log" # the caller shows its tail if "ready" never comes

servers=()
stop() {
    trap - EXIT
    [ ${#servers[@]} -gt 0 ] || return 0
    kill "${servers[@]}" 2>/dev/null || true
    # An orderly end takes the OSD several seconds and saves nothing that anyone will read.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "${servers[@]}" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "${servers[@]}" 2>/dev/null || true
    wait || true
}
trap stop EXIT
trap 'exit 143' TERM INT HUP

serve() { # runs a server in the foreground of this script's job list, so that we know its id
    "$@" --foreground </dev/null >>"$folder/log/servers.log" 2>&1 &
    servers+=($!)
}

eventually() { # COMMAND...: repeats it until it succeeds, 60 s at most
    for _ in $(seq 1 300); do
        if "$@" >/dev/null; then return 0; fi
        sleep 0.2
    done
    echo "never succeeded: $*" >&2
    return 1
}

fsid=$(cat /proc/sys/kernel/random/uuid)
monitor="[v2:127.0.0.1:$MON_PORT]"
cat >"$folder/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = $monitor
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = $folder/run
admin socket =
pid file = $folder/run/\$name.pid
log file = $folder/log/\$name.log
mon data = $folder/mon/\$id
mgr data = $folder/mgr/\$id
osd data = $folder/osd/\$id
keyring = $folder/keyring
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
mon warn on insecure global id reclaim allowed = false
osd objectstore = bluestore
bluestore block size = 10737418240
bluestore block path =
bluestore fsck on mount = false
osd memory target = 939524096
mgr initial modules =
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$S3_PORT
rgw data = $folder/rgw
CONF
conf=(-c "$folder/ceph.conf")

keyring() { ceph-authtool "$folder/keyring" "$@" >/dev/null; }
ceph-authtool --create-keyring "$folder/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
keyring --gen-key -n mgr.x --cap mon 'allow profile mgr' --cap osd 'allow *'
keyring --gen-key -n client.rgw --cap mon 'allow rw' --cap osd 'allow rwx' --cap mgr 'allow rw'

monmaptool --create --addv a "$monitor" --fsid "$fsid" "$folder/monmap" >/dev/null
ceph-mon "${conf[@]}" --mkfs -i a --monmap "$folder/monmap" --keyring "$folder/keyring"
serve ceph-mon "${conf[@]}" -i a
eventually timeout 20 ceph "${conf[@]}" --connect-timeout 10 -s
serve ceph-mgr "${conf[@]}" -i x

osd_uuid=$(cat /proc/sys/kernel/random/uuid)
osd_key=$(ceph-authtool --gen-print-key)
osd=$(echo "{\"cephx_secret\": \"$osd_key\"}" | ceph "${conf[@]}" osd new "$osd_uuid" -i -)
mkdir -p "$folder/osd/$osd"
keyring --name "osd.$osd" --add-key "$osd_key"
ceph-osd "${conf[@]}" -i "$osd" --mkfs --osd-uuid "$osd_uuid" >>"$folder/log/servers.log" 2>&1
serve ceph-osd "${conf[@]}" -i "$osd"
osd_is_up() { ceph "${conf[@]}" osd stat | grep -q '1 up'; }
eventually osd_is_up

serve radosgw "${conf[@]}" -n client.rgw
gateway_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$S3_PORT"); }
eventually gateway_answers
radosgw-admin "${conf[@]}" user create --uid tests --display-name tests \
    --access-key "$ACCESS_KEY" --secret "$SECRET_KEY" >/dev/null

echo ready
cat >/dev/null
