#!/bin/sh
# Makes the base of all images out of Debian packages, for places where no image can be pulled:
# Debian 12 with Python 3.11, what compiled libraries need, and certificates; no pip, no compiler,
# no package manager. usr-is-merged takes the place of usrmerge and all of Perl, which usrmerge needs
# (50 MB). gconv converts texts for programs in C, which no step is.
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
mmdebstrap --quiet --variant=essential \
    --include=usr-is-merged,python3,python3-venv,libstdc++6,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/lib/x86_64-linux-gnu/gconv/*' \
    --customize-hook='chroot "$1" dpkg --purge usrmerge libfile-find-rule-perl \
        libnumber-compare-perl libtext-glob-perl perl libperl5.36 perl-modules-5.36 \
        libgdbm-compat4 libgdbm6 >&2' \
    --format=tar bookworm - >"$archive"
"${DOCKER:-docker}" import --change 'ENV LANG=C.UTF-8' "$archive" "$image"
