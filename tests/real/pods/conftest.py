"""Podman, the images of this working tree in it, and pods with any code in them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import kubernetes_place
from tests.support.missing import lacking
from tests.support.paths import ROOT
from tests.support.podman import Ended, Podman, need_podman


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    need_podman()
    return Podman(tmp_path_factory.mktemp("podman"))


@pytest.fixture(scope="session")
def built() -> None:
    """The images, made of this working tree; IMAGES_ARE_BUILT=yes takes those that are there."""
    from docker import APIClient
    from docker.errors import DockerException

    try:
        APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto")
    except DockerException:
        lacking("no Docker engine answers", install="apt-get install docker.io, and start dockerd")
    if os.environ.get("IMAGES_ARE_BUILT") == "yes":
        return
    done = subprocess.run(
        [ROOT / "containers" / "build.sh", "data", "train"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"the images cannot be built:\n{done.stdout}{done.stderr}", pytrace=False)


@pytest.fixture(scope="session")
def data_image(podman: Podman, built: None) -> str:
    """The image of the data steps in podman, by its digest."""
    return podman.load("melanoma-retraining/data:latest")


@pytest.fixture
def pod(
    data_image: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Renders the pod of a step; with `code`, which then runs in the place of the step."""
    kubernetes_place.place(tmp_path)
    kubernetes_place.set_up(monkeypatch, MELANOMA_IMAGES=data_image)

    def render(command: str, *options: str, code: str = "") -> dict[str, Any]:
        found = kubernetes_place.pod_of(kubernetes_place.task(command, *options))
        if code:
            found["spec"]["containers"][0] |= {"command": ["python", "-c", code], "args": []}
        return found

    return render


Run = Callable[..., Ended]
