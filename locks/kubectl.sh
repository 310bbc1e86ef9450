#!/bin/sh
# Puts kubectl and helm of the lock into .tools/, for the tests of infra/. They come inside a Python
# package, checked against its hash; nothing else of the package is kept.
#   kubectl.sh
set -eu
lock=locks/kubectl.txt
cmp -s "$lock" .tools/made-from.txt && exit 0
uv=$(command -v uv || echo .venv/bin/uv)
rm -rf .tools
mkdir .tools
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
VIRTUAL_ENV=$PWD/.venv "$uv" pip install --quiet --no-deps --require-hashes --target "$folder" \
    -r "$lock"
tar -xzOf "$folder"/aws_cdk/*/_jsii/*.tgz package/lib/layer.zip >"$folder/layer.zip"
.venv/bin/python -m zipfile -e "$folder/layer.zip" "$folder/layer"
for program in kubectl helm; do
    install -m 755 "$folder/layer/$program/$program" ".tools/$program"
done
cp "$lock" .tools/made-from.txt
