"""The compose stack, as a person runs it: `containers/stack.sh`, and what stands afterwards."""

import configparser
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.airflow_api import ENGINEER, RETRAINING, Airflow
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tests.support.missing import lacking
from tests.support.paths import ROOT
from tests.support.servers import free_port

SCRIPT = ROOT / "containers" / "stack.sh"
COMPOSE = ROOT / "containers" / "compose.yaml"
STORE = "s3://melanoma/store"
PORTS = ("AIRFLOW_PORT", "MLFLOW_PORT", "APP_PORT")
TLS_PORTS = ("AIRFLOW_TLS_PORT", "MLFLOW_TLS_PORT", "APP_TLS_PORT")
IMAGES = ("postgres", "redis", "s3", "proxy", "airflow", "worker", "mlflow", "serve")


def tag_of_images() -> str:
    """MELANOMA_TAG, whose images are built already; without it they are built now."""
    if tag := os.environ.get("MELANOMA_TAG"):
        return tag
    built = ROOT / "containers" / "build.sh"
    subprocess.run([built, *IMAGES], env=os.environ | {"TAG": "campaign"}, check=True)
    return "campaign"


def need_compose() -> None:
    """End a test that needs compose and an engine where either is missing."""
    if not shutil.which("docker-compose"):
        lacking("no docker-compose", install="apt-get install docker-compose")


def eventually(look: Callable[[], Any], seconds: float, what: str) -> Any:
    """What a look finds, once it finds something. A look may fail: services go and come."""
    deadline = time.monotonic() + seconds
    failed: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except Exception as error:
            failed = error
        time.sleep(1)
    raise AssertionError(f"{what}: not within {seconds:g} s ({failed!r})")


def _free_ports() -> dict[str, str]:
    return {name: str(free_port()) for name in (*PORTS, *TLS_PORTS)}


@dataclass
class Stack:
    """A stack of images with the tag `tag`, with its settings and secrets in `folder`."""

    folder: Path
    tag: str
    project: str = field(default_factory=lambda: f"campaign-{secrets.token_hex(3)}")
    ports: dict[str, str] = field(default_factory=_free_ports)

    def __call__(self, *argv: str, seconds: float = 600, **environment: str) -> str:
        """What `containers/stack.sh ARGV` prints; fails if it fails."""
        done = subprocess.run(
            [SCRIPT, *argv],
            env=os.environ | self.ports | self._images() | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, (
            f"stack.sh {argv}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done.stdout

    def _images(self) -> dict[str, str]:
        services = ("postgres", "redis", "proxy")
        own = {f"{n.upper()}_IMAGE": f"melanoma-retraining/{n}:{self.tag}" for n in services}
        return own | {
            "STACK": str(self.folder),
            "PROJECT": self.project,
            "MELANOMA_TAG": self.tag,
            "S3_BYTES": str(10 << 30),  # of a sparse file
            "SECONDS_TO_START": "400",
        }

    def container(self, service: str) -> str:
        return f"{self.project}_{service}_1"

    def docker(self, *argv: str) -> str:
        done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def memory(self) -> dict[str, str]:
        """Memory that each service takes now."""
        rows = self.docker("stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}")
        named = (row.split("\t") for row in rows.splitlines() if row.startswith(self.project))
        return {
            name.removeprefix(f"{self.project}_").removesuffix("_1"): used.partition(" /")[0]
            for name, used in named
        }

    @property
    def airflow(self) -> Airflow:
        """Its API, with a login of its own: an old one would outlive nothing, but a client may."""
        return self.airflow_of(ENGINEER)

    def airflow_of(self, user: str) -> Airflow:
        address = f"http://127.0.0.1:{self.ports['AIRFLOW_PORT']}"
        return Airflow(address, self.folder / "secrets" / "airflow_users", user)

    @property
    def mlflow(self) -> tuple[str, tuple[str, str]]:
        """Address of MLflow, and its login."""
        login = configparser.ConfigParser(interpolation=None)
        login.read(self.folder / "secrets" / "mlflow_credentials")
        name, password = (
            login["mlflow"][f"mlflow_tracking_{each}"] for each in ("username", "password")
        )
        return f"http://127.0.0.1:{self.ports['MLFLOW_PORT']}", (name, password)

    def instance(self, run: str, task: str, map_index: int = -1) -> dict[str, Any]:
        path = f"dags/{RETRAINING}/dagRuns/{run}/taskInstances/{task}"
        path += f"/{map_index}" if map_index >= 0 else ""
        found: dict[str, Any] = self.airflow.request("GET", path)
        return found

    def store(self) -> Store:
        """The store, read over the engine's own network, which this machine is a part of."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = self.docker("inspect", "--format", form, self.container("s3"))
        os.environ["AWS_ENDPOINT_URL"] = f"http://{address}:8000"
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(self.folder / "secrets" / "s3_store")
        return open_store(STORE)

    def inspected(self) -> Any:
        """What the engine says of all containers of the stack."""
        ids = self.docker(
            "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}"
        )
        return json.loads(self.docker("inspect", *ids.split()))
