"""Credentials from Airflow connections: they work, and nobody else sees them."""

import configparser
import ctypes
import json
import os
import re
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.services import Service, end, start, wait_until_ready
from tests.support.containers import IMAGE, Execution, containers_of, eventually
from tests.support.missing import lacking
from tests.support.servers import free_port

Probe = Callable[..., list[str]]
SECRET = "p%ss;w#rd=7dJ2kq"  # with all that means something in such files


def connect(patch: pytest.MonkeyPatch, name: str, **fields: Any) -> str:
    """Have Airflow know a connection; returns its id."""
    patch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "generic"} | fields))
    return name


# The store's and MLflow's -------------------------------------------------------------------------


def test_the_stores_connection_reaches_the_step_and_nothing_else(
    probe: Probe, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = connect(monkeypatch, "a_store", login="key-id", password=SECRET)
    monkeypatch.setenv("MELANOMA_STORE_CONNECTION", name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "")
    code = (
        "import boto3, hashlib, sys, time; keys = boto3.Session().get_credentials()\n"
        "print(keys.access_key, hashlib.sha256(keys.secret_key.encode()).hexdigest(), flush=True)\n"
        "time.sleep(60)"
    )
    before = set(os.listdir("/dev/shm"))
    running = Execution(lambda: probe(code, store="s3://bucket/prefix"))
    (found,) = eventually(lambda: containers_of(engine, code, "s3://bucket/prefix"))
    said = eventually(lambda: engine.logs(found, stdout=True, stderr=True))
    inspected = json.dumps(engine.inspect_container(found))
    left = set(os.listdir("/dev/shm")) - before
    engine.kill(found)
    running.end()

    assert said.decode().split() == ["key-id", sha256(SECRET)]
    assert SECRET not in inspected
    assert "key-id" not in inspected
    assert not left  # while the step still runs


def sha256(text: str) -> str:
    from tasks.records.record import sha256

    return sha256(text.encode())


@pytest.fixture(scope="module")
def locked_mlflow(gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server that lets in `keeper` with SECRET only."""
    folder = tmp_path_factory.mktemp("locked")
    settings = configparser.RawConfigParser()
    settings["mlflow"] = {
        "default_permission": "READ",
        "database_uri": f"sqlite:///{folder}/users.db",
        "admin_username": "keeper",
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    with (folder / "auth.ini").open("w") as file:
        settings.write(file)
    address = f"http://{gateway}:{free_port()}"
    argv = [
        *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"),
        *("--host", gateway, "--port", address.rpartition(":")[2]),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    environment = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": SECRET,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "any",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    started = start(Service("locked", tuple(argv), f"{address}/health"), folder, environment)
    try:
        wait_until_ready(started)
        yield address
    finally:
        end(folder, "NO_OTHER_MARK")


ASK = (
    "import mlflow; from mlflow.exceptions import MlflowException\n"
    "try: print(len(mlflow.MlflowClient().search_experiments()))\n"
    "except MlflowException as error: print(error.get_http_status_code())"
)


def test_mlflow_lets_a_step_in_that_has_its_connection_only(
    probe: Probe, locked_mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(**more: Any) -> list[str]:
        train = {"image": IMAGE.replace("/data", "/train"), "memory_mb": 1024, "step": "train"}
        return probe(ASK, **train, **more)[-1:]

    monkeypatch.setenv("MLFLOW_TRACKING_URI", locked_mlflow)
    assert ask() == ["401"]

    name = connect(monkeypatch, "an_mlflow", login="keeper", password="wrong")
    monkeypatch.setenv("MELANOMA_MLFLOW_CONNECTION", name)
    assert ask() == ["401"]

    connect(monkeypatch, name, login="keeper", password=SECRET)
    assert ask() == ["1"]


def test_mlflows_credentials_may_also_be_a_file(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("[mlflow]\nmlflow_tracking_username = keeper\n")
    monkeypatch.setenv("MELANOMA_MLFLOW_CREDENTIALS", str(tmp_path / "file"))
    code = (
        "import os; path = os.path.expanduser('~/.mlflow/credentials')\n"
        "print(open(path).read().split()[-1], os.access(path, os.W_OK))"
    )

    assert probe(code, step="register") == ["keeper False"]


@pytest.mark.parametrize(
    ("fields", "received"),
    [
        (None, "no such connection"),
        ({"login": "only"}, "without a login or without a password"),
        ({"login": "a", "password": "b\nc = d"}, "a line break"),
        ({"login": "a", "password": " b"}, "a space at an end"),
    ],
)
def test_a_connection_that_cannot_serve_is_refused_before_anything_runs(
    probe: Probe,
    engine: Any,
    exceptions: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, str] | None,
    received: str,
) -> None:
    monkeypatch.setenv("MELANOMA_MLFLOW_CONNECTION", "wanting")
    if fields:
        connect(monkeypatch, "wanting", **fields)
    with pytest.raises(exceptions.AirflowFailException, match=received) as raised:
        probe("print('ran')", step="train")

    assert "MELANOMA_MLFLOW_CONNECTION" in str(raised.value)
    assert not containers_of(engine, "print('ran')", tmp_path / "empty")


@given(login=st.text(min_size=1), password=st.text(min_size=1))
def test_what_a_connection_holds_is_what_the_libraries_read(
    container: Any,
    exceptions: Any,
    tmp_path_factory: pytest.TempPathFactory,
    login: str,
    password: str,
) -> None:
    from botocore.configloader import raw_config_parse
    from mlflow.utils.credentials import read_mlflow_creds

    from dags.credentials import MLFLOW, STORE, as_text

    home = tmp_path_factory.mktemp("home")
    (home / ".mlflow").mkdir()
    files = {STORE: home / "store", MLFLOW: home / ".mlflow" / "credentials"}
    try:
        for kind, file in files.items():
            file.write_bytes(as_text(kind, "any", {kind.login: login, kind.password: password}))
    except exceptions.AirflowFailException:
        assert re.search(r"\s|[^\x20-\x7e]", login + password)  # printable ones always pass
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        keys = raw_config_parse(str(files[STORE]))["default"]

        assert (keys["aws_access_key_id"], keys["aws_secret_access_key"]) == (login, password)
        assert tuple(read_mlflow_creds()) == (login, password)


# The registry's -----------------------------------------------------------------------------------


def bcrypt_of(password: str) -> str:
    """A password as a registry knows it, by the C library: Python's `crypt` ends with 3.12."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.argtypes, library.crypt.restype = [ctypes.c_char_p] * 2, ctypes.c_char_p
    salt = "$2b$04$" + secrets.token_hex(11)
    return str(library.crypt(password.encode(), salt.encode()).decode())


class Registry:
    """A registry that lets in `puller` with SECRET only, and holds one image of a few bytes."""

    def __init__(self, engine: Any, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.image = f"{self.address}/melanoma/data:latest"
        (folder / "users").write_text(f"puller:{bcrypt_of(SECRET)}\n")
        settings = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
            "http": {"addr": self.address, "secret": "any"},
            "auth": {"htpasswd": {"realm": "melanoma", "path": str(folder / "users")}},
        }
        (folder / "config.yml").write_text(json.dumps(settings))  # YAML holds JSON
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log
            )
        eventually(self._answers)
        (folder / "content").write_text("not empty")
        with tarfile.open(folder / "image.tar", "w") as archive:
            archive.add(folder / "content", "content")
        engine.import_image(str(folder / "image.tar"), self.image.removesuffix(":latest"), "latest")
        login = {"username": "puller", "password": SECRET}
        for line in engine.push(self.image, auth_config=login, stream=True, decode=True):
            assert "error" not in line, line
        engine.remove_image(self.image, force=True)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/v2/", trust_env=False).status_code == 401
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def registry(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    from shutil import which

    if not which("docker-registry"):
        lacking("no image registry", install="apt-get install docker-registry")
    made = Registry(engine, tmp_path_factory.mktemp("registry"))
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture
def pull(
    container: Any, engine: Any, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """Has the operator find its image; returns the digest of what it found."""
    from docker.errors import ImageNotFound

    def find(**login: Any) -> str:
        connection = connect(monkeypatch, "a_registry", **login) if login else ""
        task = container.Container(
            task_id="probe",
            image=registry.image,
            command=["x", "--run", "store/runs/x"],
            registry=connection,
            memory_mb=64,
            cores=1,
        )
        found: str = container.images.digest_of(
            task.image, task.cli, engine=task.docker_url, registry=task.registry
        )
        return found

    yield find
    try:
        engine.remove_image(registry.image, force=True)
    except ImageNotFound:
        return


def test_an_image_comes_from_a_registry_with_a_login(
    pull: Callable[..., str], registry: Registry
) -> None:
    digest = pull(host=registry.address, login="puller", password=SECRET)

    assert re.fullmatch(f"{registry.address}/melanoma/data@sha256:[0-9a-f]{{64}}", digest)
    assert pull() == digest  # it is here now: nobody logs in


def test_a_wrong_login_at_the_registry_is_not_tried_again_nor_shown(
    pull: Callable[..., str], registry: Registry, exceptions: Any
) -> None:
    for login in (
        {"host": registry.address, "login": "puller", "password": f"{SECRET}-not"},
        {"host": "127.0.0.1:9", "login": "puller", "password": SECRET},
        {},
    ):
        with pytest.raises(exceptions.AirflowException) as raised:
            pull(**login)
        assert SECRET not in str(raised.value)
        assert "MELANOMA_REGISTRY_CONNECTION" in str(raised.value)
        # An address where nobody answers may be answered at another time.
        refused = isinstance(raised.value, exceptions.AirflowFailException)
        assert refused == (login.get("host") != "127.0.0.1:9")
