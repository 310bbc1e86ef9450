"""The images of this working tree, a Docker engine, and containers with any code in them."""

import os
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from demo.engine import CONTAINER_USER, NETWORK, give_to_containers, prepare
from tasks.engine.storage import open_store
from tasks.intake.deliver import deliver
from tasks.intake.synthesize import synthesize
from tests.support.containers import IMAGE, execute, keep_output
from tests.support.missing import lacking
from tests.support.paths import ROOT
from tests.support.servers import mlflow_server


@pytest.fixture(scope="session")
def engine() -> Any:
    """The API of the Docker engine of this machine."""
    from docker import APIClient
    from docker.errors import DockerException

    try:
        return APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto")
    except DockerException:
        lacking("no Docker engine answers", install="apt-get install docker.io, and start dockerd")


@pytest.fixture(scope="session")
def images(engine: Any) -> None:
    """The images, made of this working tree; takes a second if they are there."""
    built = subprocess.run(
        [ROOT / "containers" / "build.sh"], capture_output=True, text=True, check=False
    )
    if built.returncode:
        pytest.fail(f"the images cannot be built:\n{built.stdout}{built.stderr}", pytrace=False)


@pytest.fixture(scope="session")
def gateway(images: None) -> str:
    """This machine's address on the network of the containers."""
    return prepare()


@pytest.fixture(scope="session")
def mlflow(gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server that containers reach."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), gateway) as address:
        yield address


@pytest.fixture(scope="session")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the containers' user, with synthetic images under ``raw/`` and nothing else."""
    folder = tmp_path_factory.mktemp("delivery")
    synthesize(folder / "images", scale=0.2)
    deliver(open_store(str(folder / "store")), folder / "images")
    give_to_containers(folder / "store")
    return folder / "store"


@pytest.fixture
def store(delivery: Path, tmp_path: Path) -> Path:
    """A copy of the delivery that a test may fill."""
    shutil.copytree(delivery, tmp_path / "store")
    give_to_containers(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture(scope="session")
def container(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module of the operator."""
    # Importing Airflow writes a configuration file into AIRFLOW_HOME.
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags.places import docker

    keep_output(docker)
    return docker


@pytest.fixture(scope="session")
def exceptions(container: Any) -> Any:
    from airflow.sdk import exceptions

    return exceptions


@pytest.fixture
def probe(container: Any, gateway: str, tmp_path: Path) -> Callable[..., list[str]]:
    """Runs Python code as a step is run; returns the lines that it printed."""

    def run(code: str, *arguments: str, store: Path | str | None = None, **settings: Any) -> Any:
        if store is None:
            store = tmp_path / "empty"
            store.mkdir(exist_ok=True)
            os.chown(store, CONTAINER_USER, CONTAINER_USER)
        task = container.Container(
            **{
                "task_id": "probe",
                "image": IMAGE,
                "entrypoint": ["python", "-c"],
                "command": [code, *arguments, "--run", f"{store}/runs/probe"],
                "memory_mb": 256,
                "cores": 1,
                "network_mode": NETWORK,
                **settings,
            }
        )
        return execute(task)

    return run


class _Forward(socketserver.BaseRequestHandler):
    server: "_Forwarder"

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port)) as other:
            back = threading.Thread(target=_copy, args=(other, self.request), daemon=True)
            back.start()
            _copy(self.request, other)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class _Forwarder(socketserver.ThreadingTCPServer):
    daemon_threads = True
    port: int


@pytest.fixture
def reachable(gateway: str) -> Iterator[Callable[[int], str]]:
    """Makes a port of 127.0.0.1 reachable from containers; returns the address for them."""
    started: list[_Forwarder] = []

    def forward(port: int) -> str:
        server = _Forwarder((gateway, 0), _Forward)
        server.port = port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"{gateway}:{server.server_address[1]}"

    yield forward
    for server in started:
        server.shutdown()
        server.server_close()
