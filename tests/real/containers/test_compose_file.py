"""What containers/compose.yaml promises, by the file alone, and the secrets that stack.sh makes."""

import copy
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.pipeline import BESIDE, PIPELINE
from tests.support.missing import lacking
from tests.support.stack import COMPOSE, SCRIPT, need_compose

FILE: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
VISIBILITY = "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"
# What comes from elsewhere must say which version; what is built here is of this version.
PINNED = re.compile(r"\$\{[A-Z]+_IMAGE:-[a-z]+:[0-9]+\.[0-9.]+(-[a-z]+)?\}")
BUILT = re.compile(
    r"\$\{MELANOMA_REGISTRY:-\}melanoma-retraining/[a-z0-9]+:\$\{MELANOMA_TAG:-latest\}"
)


def flaws(file: dict[str, Any]) -> Iterator[str]:
    """Every promise that a compose file breaks, as SERVICE: PROMISE."""
    for name, service in file["services"].items():
        for promise, kept in _promises(name, service).items():
            if not kept:
                yield f"{name}: {promise}"
    for name, secret in file["secrets"].items():
        if not re.match(r"\$\{MELANOMA_SECRETS(:\?[^}]*)?\}/", secret.get("file", "")):
            yield f"{name}: a secret is a file of the folder of secrets"
    if file["networks"]["back"].get("internal") != "${MELANOMA_CLOSED:-true}":
        yield "back: no way out"


def _promises(name: str, service: dict[str, Any]) -> dict[str, bool]:
    check = service.get("healthcheck", {})
    ends = service["restart"] == "no"
    image = service["image"]
    ports = service.get("ports", [])
    return {
        "health": bool(check.get("test")) or (ends and check.get("disable") is True),
        "memory": bool(service.get("mem_limit")),
        "restart": service["restart"] in ("no", "unless-stopped"),
        "image": bool(PINNED.fullmatch(image) or BUILT.fullmatch(image)),
        "read-only": service.get("read_only") is True,
        "capabilities": service.get("cap_drop") == ["ALL"],
        "privileges": "no-new-privileges:true" in service.get("security_opt", ()),
        "ports": name == "proxy" or all(str(port).startswith("127.0.0.1:") for port in ports),
        "networks": bool(service.get("networks")) and (not ports or "front" in service["networks"]),
        "no secret in the environment": not list(_told(service.get("environment", {}))),
        "no secret in the command": not re.search(r"://[^/@ ]*:[^/@ ]+@", json.dumps(service)),
    }


def _told(environment: dict[str, Any]) -> Iterator[str]:
    """Variables that hold a secret instead of saying where it lies."""
    for name, value in environment.items():
        sounds = re.search(r"PASSWORD|SECRET|_KEY|TOKEN|CONN|BROKER_URL|RESULT_BACKEND", name)
        points = str(value).startswith(("/run/secrets/", "cat /run/secrets/", "/airflow/"))
        if sounds and not points and not name.endswith("__SECRET_KEY_CMD"):
            yield name


def test_the_file_breaks_no_promise() -> None:
    assert list(flaws(FILE)) == []
    assert len(FILE["services"]) > 10


BREAKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "redis: health": lambda services: services["redis"].pop("healthcheck"),
    "worker-1: health": lambda services: services["worker-1"].update(healthcheck={"disable": True}),
    "s3: memory": lambda services: services["s3"].pop("mem_limit"),
    "app: restart": lambda services: services["app"].update(restart="always"),
    "postgres: image": lambda services: services["postgres"].update(image="postgres:latest"),
    "mlflow: image": lambda services: services["mlflow"].update(image="mlflow:1.2.3"),
    "app: read-only": lambda services: services["app"].pop("read_only"),
    "s3: capabilities": lambda services: services["s3"].update(cap_drop=["NET_RAW"]),
    "mlflow: privileges": lambda services: services["mlflow"].pop("security_opt"),
    "mlflow: ports": lambda services: services["mlflow"].update(ports=["5000:5000"]),
    "redis: networks": lambda services: services["redis"].pop("networks"),
    "postgres: no secret in the environment": lambda services: services["postgres"][
        "environment"
    ].update(POSTGRES_PASSWORD="postgres"),
    "worker-2: no secret in the environment": lambda services: services["worker-2"][
        "environment"
    ].update(AIRFLOW__CORE__FERNET_KEY="abc"),
    "airflow-init: no secret in the command": lambda services: services["airflow-init"].update(
        command=["connections", "add", "x", "postgresql://airflow:airflow@postgres/airflow"]
    ),
}


@pytest.mark.parametrize("promise", BREAKS)
def test_a_broken_promise_is_noticed(promise: str) -> None:
    file = copy.deepcopy(FILE)
    BREAKS[promise](file["services"])
    assert promise in list(flaws(file))


def test_a_secret_in_the_file_and_a_way_out_are_noticed() -> None:
    file = copy.deepcopy(FILE)
    file["secrets"]["redis_password"] = {"file": "/etc/redis"}
    file["networks"]["back"] = {}
    assert len(list(flaws(file))) == 2


def test_no_step_may_take_longer_than_redis_waits_for_its_worker() -> None:
    """Otherwise a training that still runs is handed to another worker."""
    longest = max(row.hours for row in (*PIPELINE, *BESIDE)) * 3600
    environment = FILE["services"]["worker-1"]["environment"]
    assert longest < environment[VISIBILITY]


def test_a_worker_takes_each_queue_that_tasks_wait_in() -> None:
    machines = {row.machine for row in (*PIPELINE, *BESIDE)}
    for worker in ("worker-1", "worker-2"):
        queues = FILE["services"][worker]["command"][-1].partition(":-")[2].rstrip("}")
        assert machines <= set(queues.split(","))
    environment = FILE["services"]["worker-1"]["environment"]
    assert environment["AIRFLOW__OPERATORS__DEFAULT_QUEUE"] in machines
    assert environment["MELANOMA_QUEUES"] == "yes"


@pytest.mark.parametrize(
    ("init", "server"), [("mlflow-init", "mlflow"), ("airflow-init", "worker-1")]
)
def test_a_server_starts_after_its_database_was_brought_up(init: str, server: str) -> None:
    """After an upgrade a server may refuse the database of an older version."""
    services = FILE["services"]
    done = {"condition": "service_completed_successfully"}

    assert services[server]["depends_on"][init] == done
    assert services[init]["restart"] == "no"


def made(folder: Path, *argv: str) -> dict[str, str]:
    """The secrets that stack.sh makes in a folder."""
    done = subprocess.run(
        [SCRIPT, *(argv or ("secrets",))],
        env={"PATH": os.environ["PATH"], "STACK": str(folder), "COMPOSE": "docker-compose"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_text() for path in (folder / "secrets").iterdir()}


@pytest.fixture
def openssl() -> None:
    if subprocess.run(["sh", "-c", "command -v openssl"], capture_output=True).returncode:
        lacking("no openssl", install="apt-get install openssl")


def test_every_secret_is_made_once_for_its_owner_alone(openssl: None, tmp_path: Path) -> None:
    first = made(tmp_path / "one")
    again = made(tmp_path / "one")
    other = made(tmp_path / "two")

    assert set(first) == set(FILE["secrets"]) | {"s3_backup"}  # which a cluster's CronJob has
    assert first == again
    assert all(first[name] != other[name] for name in first), "a secret that all stacks share"
    folder = tmp_path / "one"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "secrets")] == [
        0o700,
        0o700,
    ]
    # Containers of other users read them; nobody else gets into the folder.
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder / "secrets").iterdir()} == {0o444}


def without(folder: Path, *absent: str) -> dict[str, str]:
    """An environment of a machine without some programs, nor Docker or a compose."""
    folder.mkdir()
    for name in ("sh", "dirname", "mkdir", "chmod", "head", "od", "tr", "cat", "mv", "sed",
                 "base64", "openssl", "mktemp", "rm"):  # fmt: skip
        if name not in absent:
            (folder / name).symlink_to(str(shutil.which(name)))
    return {"PATH": str(folder), "STACK": str(folder.with_name(f"stack-of-{folder.name}"))}


def called(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, command], env=environment, capture_output=True, text=True, check=False
    )


def test_secrets_for_a_cluster_need_no_compose(openssl: None, tmp_path: Path) -> None:
    bare = without(tmp_path / "bare")
    done = called("secrets", bare)

    assert done.returncode == 0, done.stderr
    assert set(FILE["secrets"]) <= {each.name for each in Path(bare["STACK"], "secrets").iterdir()}
    for command in ("up", "stop", "backup"):
        refused = called(command, bare)
        assert refused.returncode == 64
        assert "There is no compose" in refused.stderr


def test_without_openssl_no_empty_certificate_is_kept(openssl: None, tmp_path: Path) -> None:
    bare = without(tmp_path / "bare", "openssl")
    done = called("secrets", bare)

    assert done.returncode == 64
    assert "apt-get install openssl" in done.stderr
    assert not Path(bare["STACK"], "secrets").exists()


def test_what_airflow_reads_ends_without_a_line(openssl: None, tmp_path: Path) -> None:
    secrets = made(tmp_path / "one")
    for name in FILE["services"]["worker-1"]["secrets"]:
        if isinstance(name, str) and name.startswith("airflow_"):
            assert secrets[name] == secrets[name].strip()
    assert re.fullmatch(r"redis://:[0-9a-f]{48}@redis:6379/0", secrets["airflow_broker"])


def test_compose_accepts_the_file_with_the_settings_that_are_made(
    openssl: None, tmp_path: Path
) -> None:
    need_compose()
    made(tmp_path / "one")
    settings = ["--env-file", str(tmp_path / "one" / "environment")]
    done = subprocess.run(
        ["docker-compose", *settings, "--file", str(COMPOSE), "config"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["services"]["worker-1"]["hostname"] == "worker-1"

    # Without secrets it does not start with empty ones.
    bare = subprocess.run(
        ["docker-compose", "--file", str(COMPOSE), "config"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert bare.returncode != 0
    assert "stack.sh up" in bare.stderr
