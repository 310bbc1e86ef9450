"""The provenance of an image on a real engine, pushed to a real registry."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.image import Image, image_of
from infra.provenance import make, verify
from infra.registry import PAYLOAD
from tasks.engine.signing import keys_here
from tasks.errors import Corrupt
from tests.support.containers import eventually
from tests.support.keys import pair_in, use
from tests.support.missing import lacking
from tests.support.paths import ROOT
from tests.support.servers import free_port

BASE = os.environ.get("BASE") or "melanoma-base:bookworm"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a registry that lets everybody in."""
    from shutil import which

    if not which("docker-registry"):
        lacking("no image registry", install="apt-get install docker-registry")
    folder, address = tmp_path_factory.mktemp("registry"), f"127.0.0.1:{free_port()}"
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": address, "secret": "any"},
    }
    (folder / "config.yml").write_text(json.dumps(settings))  # YAML holds JSON
    with (folder / "log").open("wb") as log:
        argv = ["docker-registry", "serve", str(folder / "config.yml")]
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    eventually(lambda: answers(address))
    yield address
    process.kill()
    process.wait()


def answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/v2/", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def build(called: str, folder: Path, lock: str) -> None:
    """A small image with what provenance reads from an image of ours."""
    (folder / "made-from.txt").write_text(lock)
    (folder / "Dockerfile").write_text(
        f"FROM {BASE}\nCOPY made-from.txt sbom.cdx.json /libraries/\n"
    )
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    labels = {"revision": commit, "base.digest": "sha256:" + "ef" * 32}
    argv = ["docker", "build", "--quiet", "--tag", called]
    for name, value in labels.items():
        argv += ["--label", f"org.opencontainers.image.{name}={value}"]
    subprocess.run([*argv, str(folder)], check=True, capture_output=True)


def test_a_pushed_image_is_signed_by_its_digest_and_another_under_its_tag_is_found(
    engine: Any, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not engine.images(BASE):
        lacking(f"there is no image {BASE}", install="containers/debian.sh")
    called = f"{registry}/melanoma/{{image}}:one"
    here = called.replace("{image}", "data")
    for name in ("sbom.cdx.json", "licences.md", "debian.txt"):
        (tmp_path / name).write_text("{}")
    use(monkeypatch, private=pair_in(tmp_path / "keys").private)
    try:
        build(here, tmp_path, (ROOT / "locks" / "data.txt").read_text())
        assert "after a push" in make(looked_at(called), tmp_path, keys_here())
        subprocess.run(["docker", "push", "--quiet", here], check=True, capture_output=True)
        pushed = looked_at(called)
        assert "and image" in make(pushed, tmp_path, keys_here())
        manifest = httpx.get(
            f"http://{registry}/v2/melanoma/data/manifests/one",
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
            trust_env=False,
        )
        signed = json.loads((tmp_path / PAYLOAD).read_text())["critical"]["image"]
        assert signed["docker-manifest-digest"] == manifest.headers["Docker-Content-Digest"]
        assert "is signed" in "\n".join(verify(pushed, tmp_path, keys_here()))

        build(here, tmp_path, "another lock")
        with pytest.raises(Corrupt, match="another image"):
            verify(looked_at(called), tmp_path, keys_here())
    finally:
        for image in {each["Id"] for each in engine.images(here.removesuffix(":one"))}:
            engine.remove_image(image, force=True)


def looked_at(called: str) -> Image:
    return image_of("data", called)
