"""The settings of a demo: its folder, its ports, its images."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasks.config import Retraining, parse_config
from tasks.errors import BadInput

CODE = Path(__file__).parent.parent

# Small, short training suffices for nine classes of drawn lesions. The figures show that the
# pipeline works, not that the networks are good.
SYNTHETIC_CONFIG = (
    '{"image_size": 48, "packed_size": 64, "epochs": 8, "residual_epochs": 20, '
    '"policy": "synthetic"}'
)
REAL_CONFIG = "{}"


@dataclass(frozen=True)
class Place:
    """One demo.

    Attributes:
        home: Folder of all files of the demo.
        airflow_port: Port of Airflow's pages and API, on 127.0.0.1.
        mlflow_port: Port of MLflow's pages and API, on 127.0.0.1.
        images: Folder of delivered images; None for synthetic lesions.
        metadata: Folder of delivered tables, if any.
        external: Folder of an external set, with its labels, if any.
        app_port: Port of the web app, on 127.0.0.1.
        config: Configuration of the run: what CONFIG names, over that of the demo.
        runner: Place where steps run: ``process`` or ``docker``.
        s3: Address of a store on S3; None for a directory under `home`.
        mlflow_host: Address that MLflow listens on; one that containers reach, if there are any.
    """

    home: Path
    airflow_port: int
    mlflow_port: int
    images: Path | None
    metadata: Path | None
    config: Retraining
    runner: str = "process"
    s3: str | None = None
    mlflow_host: str = "127.0.0.1"
    external: Path | None = None
    app_port: int = 8200

    @property
    def store(self) -> str:
        return self.s3 or str(self.home / "store")

    @property
    def airflow(self) -> str:
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def app(self) -> str:
        return f"http://127.0.0.1:{self.app_port}"

    @property
    def mlflow(self) -> str:
        return f"http://{self.mlflow_host}:{self.mlflow_port}"


def parent_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder that holds every demo of this checkout."""
    return Path(environment.get("DEMO_HOME") or CODE / ".demo").expanduser().absolute()


def place_from(environment: Mapping[str, str] = os.environ) -> Place:
    """Read the settings that a person gave.

    Args:
        environment: IMAGES, METADATA, EXTERNAL (folders), CONFIG (JSON), AIRFLOW_PORT,
            MLFLOW_PORT, APP_PORT, DEMO_HOME, RUNNER (process or docker) and STORE (s3://bucket/prefix),
            all optional.

    Raises:
        BadInput: A folder does not exist, a port is not one, or the configuration is not valid.
    """
    images = _folder(environment, "IMAGES")
    metadata = _folder(environment, "METADATA")
    external = _folder(environment, "EXTERNAL")
    for name, folder in (("METADATA", metadata), ("EXTERNAL", external)):
        if folder and not images:
            raise BadInput(
                f"{name} was given without IMAGES.",
                expected="both, or neither for synthetic lesions",
                received=f"{name}={folder}",
                do="add IMAGES=folder",
            )
    usual = REAL_CONFIG if images else SYNTHETIC_CONFIG
    return Place(
        # Drawn and real lesions never share a store, a model registry or an Airflow.
        home=parent_folder(environment) / ("images" if images else "synthetic"),
        airflow_port=_port(environment, "AIRFLOW_PORT", 8080),
        mlflow_port=_port(environment, "MLFLOW_PORT", 5000),
        images=images,
        metadata=metadata,
        external=external,
        app_port=_port(environment, "APP_PORT", 8200),
        config=parse_config(environment.get("CONFIG") or "{}", usual),
        runner=_runner(environment),
        s3=_s3(environment),
    )


def check_port_is_free(port: int, variable: str, service: str, host: str = "127.0.0.1") -> None:
    """Raise `BadInput` if something listens on this port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return
        except PermissionError:
            received, do = "the system allows it to the administrator only", "give one above 1023"
        except OSError:
            received = f"port {port} is taken by {_listener(port)}"
            do = "end that one (`make stop`, if it is a demo of another checkout), or give another"
    raise BadInput(
        f"{service} cannot listen on port {port}.",
        expected=f"port {port} of {host} to be free",
        received=received,
        do=f"{do}: {variable}={port + 1} make demo",
    )


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                if connection.pid is None:
                    break
                process = psutil.Process(connection.pid)
                return f"process {process.pid} ({' '.join(process.cmdline())[:120]})"
    except psutil.Error:
        pass
    return "a process of another user"


def _folder(environment: Mapping[str, str], variable: str) -> Path | None:
    text = environment.get(variable)
    if not text:
        return None
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise BadInput(
            f"{variable} is not a folder.",
            expected="a folder that exists",
            received=f"{variable}={text}",
            do="correct the path; it is relative to the current folder",
        )
    return path


def _runner(environment: Mapping[str, str]) -> str:
    name = environment.get("RUNNER") or "process"
    if name not in ("process", "docker"):
        raise BadInput(
            "RUNNER does not name a place to run steps in.",
            expected="process or docker",
            received=f"RUNNER={name}",
            do="give one of these, or none",
        )
    return name


def _s3(environment: Mapping[str, str]) -> str | None:
    store = environment.get("STORE") or None
    if store and not store.startswith("s3://"):
        raise BadInput(
            "STORE is not on S3.",
            expected="s3://bucket/prefix, or none for a directory of the demo's own",
            received=f"STORE={store}",
            do="for a directory elsewhere give DEMO_HOME",
        )
    return store


def _port(environment: Mapping[str, str], variable: str, usual: int) -> int:
    text = environment.get(variable) or str(usual)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise BadInput(
            f"{variable} is not a port.",
            expected="a number from 1 to 65535",
            received=f"{variable}={text}",
            do=f"give for example {variable}={usual + 1}",
        )
    return int(text)
