"""Two builds of one commit, without a cache of ours, hold the same files in our layers."""

import json
import os
import shutil
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.real.containers.conftest import engine  # noqa: F401 - a fixture
from tests.support.campaigns import found
from tests.support.missing import lacking
from tests.support.paths import ROOT

# train holds TensorFlow: gigabytes, and minutes.
IMAGES = os.environ.get("REPRODUCE", "data").split()
BASE = os.environ.get("BASE") or "melanoma-base:bookworm"
FILES = {"airflow": "airflow", "worker": "airflow", "mlflow": "mlflow"}  # others: steps.Dockerfile
CALLED = "melanoma-reproducible/{image}:{which}"


def client() -> str:
    """A client of Docker that can build, as build.sh looks for it."""
    names = [os.environ.get("DOCKER") or "docker", "/usr/bin/docker"]
    able = [name for name in names if shutil.which(name) and _can_build(name)]
    if not able:
        lacking("no client of Docker can build", install="apt-get install docker.io")
    return able[0]


def _can_build(name: str) -> bool:
    """The client of an old engine builds by itself, a newer one with its plugin buildx."""
    version = subprocess.run([name, "--version"], capture_output=True, text=True, check=True)
    if " 20." in version.stdout:
        return True
    newer = subprocess.run([name, "buildx", "version"], capture_output=True, check=False)
    return newer.returncode == 0


def build(image: str, which: str) -> str:
    """Build an image as build.sh does, but all of its layers anew; returns its name."""
    called = CALLED.format(image=image, which=which)
    certificates = os.environ.get("CA") or os.environ.get("SSL_CERT_FILE")
    argv = [client(), "build", "--quiet", "--no-cache", "--target", image, "--tag", called]
    file = ROOT / "containers" / f"{FILES.get(image, 'steps')}.Dockerfile"
    argv += ["--file", str(file), "--build-arg", f"BASE={BASE}"]
    argv += ["--secret", f"id=ca,src={certificates}"] if certificates else []
    argv += ["--secret", f"id=uv,src={os.environ['UV']}"] if os.environ.get("UV") else []
    environment = os.environ | {"DOCKER_BUILDKIT": "1"}
    done = subprocess.run(
        [*argv, str(ROOT)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return called


def files_of(called: str, base: int, folder: Path) -> dict[str, tuple[Any, ...]]:
    """What the layers above the base hold: kind, mode, owner, and the SHA-256 or the target of a
    link, by path; the time last.

    Args:
        called: Name of the image.
        base: Number of layers of the base.
        folder: Folder for the image's archive.
    """
    archive = folder / "image.tar"
    subprocess.run([client(), "save", "--output", str(archive), called], check=True)
    files: dict[str, tuple[Any, ...]] = {}
    with tarfile.open(archive) as image:
        manifest = image.extractfile("manifest.json")
        assert manifest
        for layer in json.load(manifest)[0]["Layers"][base:]:
            with tarfile.open(fileobj=image.extractfile(layer)) as inner:
                files |= dict(_entries(inner))
    archive.unlink()
    return files


def _entries(layer: tarfile.TarFile) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for entry in layer:
        content = layer.extractfile(entry) if entry.isreg() else None
        said = sha256(content.read()).hexdigest() if content else entry.linkname
        yield entry.name, (entry.type, entry.mode, entry.uid, entry.gid, said, entry.mtime)


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The paths that differ in anything but the time."""
    paths = sorted(one.keys() | other.keys())
    return [path for path in paths if one.get(path, ("",))[:-1] != other.get(path, ("",))[:-1]]


def remove(called: str) -> None:
    subprocess.run([client(), "image", "rm", called], check=True, capture_output=True)


def layers_of(called: str) -> int:
    argv = [client(), "image", "inspect", "--format", "{{len .RootFS.Layers}}", called]
    return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("image", IMAGES)
def test_two_builds_hold_the_same_files(image: str, engine: Any, tmp_path: Path) -> None:  # noqa: F811
    base = layers_of(BASE)
    built, seconds = [], []
    for which in ("one", "other"):
        began = time.monotonic()
        called = build(image, which)
        seconds.append(round(time.monotonic() - began))
        built.append(files_of(called, base, tmp_path))
        remove(called)
    one, other = built
    differ = differences(one, other)
    kinds = Counter(Path(path).suffix or "no suffix" for path in differ)
    found(
        "reproducible",
        {
            image: {
                "files": len(one),
                "files that differ": len(differ),
                "of these": "; ".join(f"{kind}: {number}" for kind, number in kinds.items()),
                "times that differ": sum(one[p][-1] != other[p][-1] for p in one if p in other),
                "seconds of the builds": " and ".join(map(str, seconds)),
            }
        },
    )
    print(*differ, sep="\n")

    assert len(one) > 1000
    own = "libraries/" if image == "mlflow" else "app/tasks/"  # MLflow's image has no code of ours
    assert any(path.startswith(own) for path in one)
    assert differ == []


def test_a_file_that_differs_would_be_found() -> None:
    same = {"app/a": (b"0", 0o644, 0, 0, "aa", 1.0)}

    assert differences(same, {"app/a": (b"0", 0o644, 0, 0, "aa", 2.0)}) == []
    for other in (
        {"app/a": (b"0", 0o644, 0, 0, "bb", 1.0)},
        {"app/a": (b"0", 0o600, 0, 0, "aa", 1.0)},
        {"app/a": (b"0", 0o644, 1, 0, "aa", 1.0)},
        {},
    ):
        assert differences(same, other) == ["app/a"]
