#!/bin/sh
# Builds the images melanoma-retraining/data, /train, /serve and /airflow. Writes the contents of
# each image to build/: a software bill of materials (CycloneDX), the licences, the Debian packages.
#
#   containers/build.sh [IMAGE ...]     also train-gpu, which takes gigabytes; for the compose stack
#                                       worker, mlflow and s3, and, where no public image can be
#                                       pulled, postgres, redis and proxy
#
# TAG    tag of the images, `latest` by default
# BASE   the image to build on; without it, one is made by containers/debian.sh, once
# FROZEN refuse a base with other packages than those in containers/debian.txt
# CA     a file with the certificates to trust while libraries are fetched; without it,
#        SSL_CERT_FILE, if this machine has one
# UV     a uv.toml that names a package index of the company
# CACHE  largest cache that the engine may keep, such as 12GB; without it, the cache is not changed,
#        because all builds of the engine share it
# DOCKER the engine's client
set -eu
cd "$(dirname "$0")/.."

stop() {
    printf '%s\n' "$@" >&2
    exit 64
}

can_build() { # the client of an old engine builds by itself, a newer one with its plugin buildx
    command -v "$1" >/dev/null || return 1
    case $("$1" --version) in
    *' '1[0-9].* | *' '20.*) ;;
    *) "$1" buildx version >/dev/null 2>&1 ;;
    esac
}

if [ -z "${DOCKER:-}" ]; then
    for DOCKER in docker /usr/bin/docker; do
        if can_build "$DOCKER"; then break; fi
    done
fi
can_build "$DOCKER" || stop "There is no client of Docker that can build images." \
    "  Expected: docker with its plugin buildx, or Debian's docker.io" \
    "  Do:       apt-get install docker.io, or give DOCKER=/path/to/docker"
"$DOCKER" info >/dev/null 2>&1 || stop "No Docker engine answers." \
    "  Expected: a running engine, at DOCKER_HOST or its usual socket" \
    "  Do:       start dockerd (systemctl start docker)"
export DOCKER DOCKER_BUILDKIT=1
CA=${CA:-${SSL_CERT_FILE:-}}
PACKAGES=${PACKAGES:-containers/debian.txt}

# A given base can be pinned by its digest. A base that is made here is compared with the packages
# with which the tests last passed. A difference only warns, because security updates must get in.
compare() {
    held=$(mktemp)
    trap 'rm -f "$held"' EXIT
    "$DOCKER" run --rm --network none "$BASE" dpkg-query -W -f '${Package}=${Version}\n' >"$held"
    if ! changed=$(diff "$PACKAGES" "$held"); then
        [ -z "${FROZEN:-}" ] || stop "The base is not the one that was pinned." \
            "  Expected: the packages in $PACKAGES" "  Received: $changed" \
            "  Do:       leave out FROZEN, run the tests on what is built, and then renew the list"
        printf '%s\n' "The base differs from $PACKAGES (FROZEN=1 would refuse it):" "$changed" >&2
    fi
}

if [ -z "${BASE:-}" ]; then
    BASE=melanoma-base:bookworm
    "$DOCKER" image inspect "$BASE" >/dev/null 2>&1 || containers/debian.sh "$BASE"
    compare
fi

revision=$(git describe --always --dirty 2>/dev/null || echo unknown)
base_digest=$("$DOCKER" image inspect --format '{{.Id}}' "$BASE")

build() { # TARGET OPTION ...
    target=$1
    shift
    case ${target%-supply} in
    airflow | worker) file=containers/airflow.Dockerfile ;;
    mlflow) file=containers/mlflow.Dockerfile ;;
    *) file=containers/steps.Dockerfile ;;
    esac
    "$DOCKER" build --quiet --file "$file" --target "$target" \
        --build-arg BASE="$BASE" --build-arg REVISION="$revision" \
        ${CA:+--secret id=ca,src="$CA"} ${UV:+--secret id=uv,src="$UV"} "$@" . >/dev/null
}

for image in ${*:-data train serve airflow}; do
    name=melanoma-retraining/$image:${TAG:-latest}
    case $image in
    postgres | redis | s3 | proxy)
        containers/services.sh "$image" "$name" >/dev/null
        echo "$name"
        continue
        ;;
    esac
    build "$image" --tag "$name" \
        --label org.opencontainers.image.base.digest="$base_digest" \
        --label melanoma-retraining.image="$image"
    build "$image-supply" --output type=local,dest="build/$image"
    echo "melanoma-retraining/$image; its contents are listed in build/$image/"
done

# Delete the replaced images, which have no name any more.
"$DOCKER" image prune --force --filter label=melanoma-retraining.image >/dev/null
[ -z "${CACHE:-}" ] || "$DOCKER" builder prune --force --keep-storage "$CACHE" >/dev/null
