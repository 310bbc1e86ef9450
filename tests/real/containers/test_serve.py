"""The web app in its container: nobody's root, nothing to write on, and answers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.engine import CONTAINER_USER, NETWORK, give_to_containers
from demo.services import Service, end, start, wait_until_ready
from tests.support.approvals import copy_with_two
from tests.support.deliveries import picture
from tests.support.servers import free_port

USER, PASSWORD = "berta", "hidden"


@dataclass(frozen=True)
class App:
    """The app in a container: the container's id, and the app's address."""

    container: str
    address: str


@pytest.fixture(scope="module")
def app(
    engine: Any, gateway: str, two_challengers: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("served")
    store = copy_with_two(two_challengers, folder / "store")
    (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
    (folder / "users").chmod(0o600)
    os.chown(folder / "users", CONTAINER_USER, CONTAINER_USER)
    port = free_port()
    argv = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--host", gateway, "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{store.root}/mlflow.db"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    service = Service("mlflow", tuple(argv), f"http://{gateway}:{port}/health")
    started = start(service, folder, os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    give_to_containers(Path(store.root))
    artifacts = two_challengers / "mlflow-artifacts"  # under the path that MLflow names
    give_to_containers(artifacts)
    host = engine.create_host_config(
        network_mode=NETWORK,
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="1g",
        binds=[
            f"{store.root}:{store.root}",
            f"{artifacts}:{artifacts}:ro",
            f"{folder / 'users'}:/users:ro",
        ],
    )
    made = engine.create_container(
        "melanoma-retraining/serve:latest",
        command=[
            *("serve", "--store", store.uri, "--registry", f"http://{gateway}:{port}"),
            *("--host", "0.0.0.0", "--users", "/users", "--reviewer", USER),
            *("--name", "melanoma.test"),
        ],
        host_config=host,
    )
    try:
        wait_until_ready(started)
        engine.start(made["Id"])
        inside = engine.inspect_container(made["Id"])["NetworkSettings"]["Networks"][NETWORK]
        yield App(made["Id"], f"http://{inside['IPAddress']}:8200")
    finally:
        engine.remove_container(made["Id"], force=True)
        end(folder, "NO_OTHER_MARK")


def asked(app: App, path: str, **options: Any) -> httpx.Response:
    """An answer of the app, which may still be starting."""
    headers = {"Host": "melanoma.test"}
    for _ in range(300):
        with suppress(httpx.TransportError):
            return httpx.request(
                options.pop("method", "GET"), f"{app.address}{path}", headers=headers,
                trust_env=False, timeout=60, **options,
            )  # fmt: skip
        time.sleep(0.1)
    raise AssertionError("the app does not answer")


def test_the_app_answers_from_its_container(app: App, engine: Any) -> None:
    assert asked(app, "/ready").json()["status"] == "no model is in use yet"
    assert asked(app, "/model").status_code == 401
    file = {"files": [("images", ("lesion.png", picture(1), "image/png"))]}
    found = asked(app, "/predict?standing=challenger", method="POST", auth=(USER, PASSWORD), **file)
    assert found.status_code == 200, found.text
    assert found.json()["model"]["version"] == 2
    used = engine.stats(app.container, stream=False)["memory_stats"]["usage"]
    assert used < 1e9


def test_the_container_says_that_it_is_healthy(app: App, engine: Any) -> None:
    asked(app, "/ready")
    for _ in range(60):
        health = engine.inspect_container(app.container)["State"]["Health"]
        if health["Status"] == "healthy":
            return
        time.sleep(1)
    raise AssertionError(json.dumps(health))


def test_nothing_but_the_store_and_tmp_can_be_written(app: App) -> None:
    asked(app, "/ready")
    code = (
        "import os\n"
        "for path in ('/', '/app/x', '/libraries/x', '/var/tmp/x'):\n"
        "    try:\n"
        "        open(os.path.join(path, 'x'), 'w')\n"
        "        print('written', path)\n"
        "    except OSError:\n"
        "        pass\n"
        "print(os.getuid())"
    )
    said = subprocess.run(
        ["docker", "exec", app.container, "python", "-c", code],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == [str(CONTAINER_USER)]
