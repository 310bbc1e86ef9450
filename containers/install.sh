#!/bin/sh
# Inside a build: the libraries of a lock into /libraries, every file checked against its hash, and
# lists of what an image holds into /supply.
#   install.sh LOCK
# Trusts the certificates of the build secret `ca`, where there is one.
set -eu
mkdir -p /supply
if [ -e /run/secrets/ca ]; then
    export SSL_CERT_FILE=/run/secrets/ca
fi
/uv/bin/uv venv --quiet --python "$(command -v python3)" /libraries
VIRTUAL_ENV=/libraries UV_CACHE_DIR=/cache UV_LINK_MODE=copy \
    /uv/bin/uv pip install --quiet --require-hashes -r "$1"

# The libraries' own tests and C++ headers are a fifth of their size, and no step imports them; nor
# the compiler's library that TensorFlow asks for.
find /libraries/lib -depth -type d \( -name tests -o -name include -o -path '*/clang/native' \) \
    -exec rm -rf {} +
# botocore describes 440 services of AWS; a store asks S3, and credentials may come from the others.
find /libraries/lib -path '*/botocore/data/*' -prune -type d \
    ! -name s3 ! -name sts ! -name 'sso*' ! -name signin -exec rm -rf {} +
# Arrow's servers, which no step runs; and three names of one library, which a wheel holds three times.
find /libraries/lib -path '*/pyarrow/*flight*' -exec rm -rf {} +
find /libraries/lib -path '*/pyarrow/lib*.so.*.*.*' | while read -r library; do
    for other in "${library%.*.*.*}" "${library%.*.*}"; do
        if cmp -s "$library" "$other"; then ln -sf "${library##*/}" "$other"; fi
    done
done
# Codes of structured reports, animated help, and a private key to test with.
rm -rf /libraries/lib/python3*/site-packages/tornado/test \
    /libraries/lib/python3*/site-packages/pydicom/sr \
    /libraries/lib/python3*/site-packages/great_expectations/render/view/static/images/*.gif
# Compiled here, once: a container that cannot write would compile at every start. By force, because
# this Python itself has written some as it started, with the time of the build in them.
/libraries/bin/python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /libraries/lib ||
    true # some libraries carry files for other versions of Python
# What is compiled needs no source. A traceback still names file and line in these libraries, the
# largest that never read their own source.
for library in altair narwhals pandas pydicom scipy; do
    find /libraries/lib/python3*/site-packages/$library -name '*.py' -size +1 \
        -exec truncate --size 0 {} + 2>/dev/null || true # not in every image
done

/uv/bin/cyclonedx-py environment --output-reproducible --output-file /supply/sbom.cdx.json \
    /libraries/bin/python
/uv/bin/pip-licenses --python /libraries/bin/python --format markdown --with-urls \
    --output-file /supply/licences.md >/dev/null
dpkg-query --show --showformat '${Package} ${Version}\n' >/supply/debian.txt

# For the evidence that register writes: the tool that lists the libraries stays out of the image.
cp /supply/sbom.cdx.json /libraries/sbom.cdx.json
cp "$1" /libraries/made-from.txt
