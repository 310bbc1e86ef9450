"""Podman, the images of this working tree in it, and pods with any code in them."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import kubernetes_place
from tests.support.podman import Podman, need_images, need_podman


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    need_podman()
    return Podman(tmp_path_factory.mktemp("podman"))


@pytest.fixture(scope="session")
def built() -> None:
    need_images()


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
    images = {f"MELANOMA_IMAGE_{kind}": data_image for kind in ("DATA", "TRAIN")}
    kubernetes_place.set_up(monkeypatch, **images)

    def render(command: str, *options: str, code: str = "") -> dict[str, Any]:
        found = kubernetes_place.pod_of(kubernetes_place.task(command, *options))
        # So that two runs of the tests on one machine do not meet.
        found["metadata"]["name"] += f"-{secrets.token_hex(3)}"
        if code:
            found["spec"]["containers"][0] |= {"command": ["python", "-c", code], "args": []}
        return found

    return render
