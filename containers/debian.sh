#!/bin/sh
# Makes the base of all images out of Debian packages, for places where no image can be pulled:
# Debian 12 with Python 3.11, what compiled libraries need, and certificates; no pip, no compiler,
# no package manager.
#
#   containers/debian.sh [IMAGE]        with DOCKER, the engine's client
#
# Needs root, mmdebstrap, a Docker engine, and a Debian mirror, which is the one that mmdebstrap
# takes by itself. Prints the image's id. With SOURCE_DATE_EPOCH the same packages make the same
# bytes.
set -eu
image=${1:-melanoma-base:bookworm}
: "${SOURCE_DATE_EPOCH:=1735689600}"
export SOURCE_DATE_EPOCH

archive=$(mktemp)
trap 'rm -f "$archive"' EXIT
mmdebstrap --quiet --variant=essential --include=python3,python3-venv,libstdc++6,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --format=tar bookworm - >"$archive"
"${DOCKER:-docker}" import --change 'ENV LANG=C.UTF-8' "$archive" "$image"
