#!/bin/sh
# Makes an environment from a lock, every file checked against its hash.
#   environment.sh LOCK MADE_FROM     with PYTHON, the interpreter to use
# MADE_FROM is a file in the folder of the environment. The file is written last, so a killed
# installation is begun anew.
set -eu
lock=$1
made_from=$2
place=$(dirname "$made_from")
python=${PYTHON:-python3}

stop() {
    printf '%s\n' "$@" >&2
    exit 64
}

if [ "$place" = .venv ] && [ -x .venv/bin/python ] && [ -d .demo ]; then
    .venv/bin/python -m demo stop || true # what runs would lose its libraries
fi

if ! command -v uv >/dev/null; then
    command -v "$python" >/dev/null || stop "There is no $python." \
        "  Expected: Python 3.11, or uv, on the PATH" \
        "  Do:       apt-get install python3 python3-venv"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ "$version" = 3.11 ] || stop "The Python here is another one." \
        "  Expected: Python 3.11, or uv, which fetches it" \
        "  Received: $python is Python $version" \
        "  Do:       PYTHON=/path/to/python3.11 make demo"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || stop \
        "Python cannot make an environment here." \
        "  Expected: the modules venv and ensurepip, which Debian ships apart" \
        "  Do:       apt-get install python3-venv"
fi

echo "Making the environment in $place from $lock (up to 3 GB; a minute or two the first time) ..."
rm -rf "$place"
if command -v uv >/dev/null; then
    uv venv --quiet --python 3.11 "$place"
    uv=uv
else
    "$python" -m venv "$place"
    # pip would take several times as long for the rest.
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check \
        --require-hashes -r locks/uv.txt
    uv=$place/bin/uv
fi
VIRTUAL_ENV=$PWD/$place $uv pip install --quiet --require-hashes -r "$lock"
cp "$lock" "$made_from.partial"
mv "$made_from.partial" "$made_from"
