"""The Docker engine of this machine, as the demo uses it: `RUNNER=docker make demo`.

Steps run on a network of the engine that leads only to this machine, where MLflow listens. They
need nothing else.
"""

import os
from pathlib import Path
from typing import Any

from tasks.errors import BadInput

NETWORK = "melanoma-retraining"
IMAGES = ("melanoma-retraining/data:latest", "melanoma-retraining/train:latest")
# The user of the images. Steps run as the owner of the store, which root may not be.
CONTAINER_USER = 65532


def prepare() -> str:
    """Make the network, if it does not exist; returns this machine's address on it.

    Raises:
        BadInput: No engine answers, or an image is missing.
    """
    from docker.errors import DockerException, ImageNotFound

    try:
        engine = _engine()
        gpu = ["melanoma-retraining/train-gpu:latest"] if os.environ.get("MELANOMA_GPUS") else []
        for image in (*IMAGES, *gpu):
            engine.inspect_image(image)
    except ImageNotFound:
        raise _refused(f"the image {image}", "no such image", "`make images` builds it") from None
    except DockerException as error:
        raise _refused(
            "an engine at DOCKER_HOST or at its usual socket",
            str(error),
            "start dockerd (systemctl start docker), or leave out RUNNER=docker",
        ) from None
    if not engine.networks(names=[f"^{NETWORK}$"]):
        engine.create_network(NETWORK, driver="bridge", internal=True)
    return str(engine.inspect_network(NETWORK)["IPAM"]["Config"][0]["Gateway"])


def remove_containers(home: Path) -> None:
    """Remove the containers that a demo's Airflow left running, if there is an engine."""
    from docker.errors import DockerException

    try:
        engine = _engine()
        label = f"melanoma-retraining.airflow={home / 'airflow'}"
        for found in engine.containers(all=True, filters={"label": label}):
            engine.remove_container(found["Id"], force=True, v=True)
    except DockerException:
        return


def give_to_containers(store: Path) -> None:
    """Give a store that root made to the user of the images."""
    if os.geteuid() != 0:
        return
    os.chown(store, CONTAINER_USER, CONTAINER_USER)
    for folder, folders, files in os.walk(store):
        for name in (*folders, *files):
            os.chown(Path(folder, name), CONTAINER_USER, CONTAINER_USER, follow_symlinks=False)


def _engine() -> Any:
    from docker import APIClient

    return APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto", timeout=20)


def _refused(expected: str, received: str, do: str) -> BadInput:
    return BadInput(
        "Steps cannot run in containers here.", expected=expected, received=received, do=do
    )
