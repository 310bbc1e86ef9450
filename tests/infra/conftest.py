"""A PostgreSQL; a checkout, an image of it, and what the build left beside the image."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.image import Image
from tasks.engine.signing import Keys, keys_here
from tests.support.keys import pair_in, use
from tests.support.postgres import PostgreSQL, running
from tests.support.repositories import git

PUSHED = "registry.example/melanoma/train@sha256:" + "ab" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with what an image is made of."""
    root = tmp_path / "checkout"
    for name, text in {
        "locks/train.txt": "numpy==2\n",
        "containers/steps.Dockerfile": "FROM base AS train\n",
        "build/train/sbom.cdx.json": '{"components": []}',
        "build/train/licences.md": "MIT",
        "build/train/debian.txt": "libc6 2.36",
        ".gitignore": "build/\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "First")
    return root


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "build" / "train"


@pytest.fixture
def image(root: Path, folder: Path) -> Image:
    return Image(
        name="train",
        id="cd" * 32,
        pushed=(PUSHED,),
        created="2026-11-30T12:00:00.123456789Z",
        labels={
            "org.opencontainers.image.revision": git(root, "describe", "--always", "--dirty"),
            "org.opencontainers.image.base.digest": "sha256:" + "ef" * 32,
        },
        engine="20.10",
        lock=(root / "locks/train.txt").read_bytes(),
        sbom=(folder / "sbom.cdx.json").read_bytes(),
    )


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    use(monkeypatch, private=pair_in(tmp_path / "keys").private)
    return keys_here()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    with running() as server:
        yield server
