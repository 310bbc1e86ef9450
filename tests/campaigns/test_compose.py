"""The compose stack, brought up from nothing: a retraining on two workers, of which the one that
trains is killed, while PostgreSQL restarts and S3 is away for a minute; then backup, destruction
and restoration. MELANOMA_TAG names images that are built already."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.airflow_api import PHYSICIAN, PROMOTION, RETRAINING
from demo.place import SYNTHETIC_CONFIG
from tasks.engine.run import CHECKPOINTS, read_record
from tasks.engine.storage import open_store
from tasks.intake.synthesize import synthesize
from tasks.pipeline import PIPELINE
from tasks.registry.versions import MODEL
from tests.support.campaigns import found
from tests.support.environments import of_a_container
from tests.support.paths import ROOT
from tests.support.stack import STORE, Stack, eventually, need_compose, tag_of_images

RUN = "killed"
# The demo's configuration, of one recipe, with a checkpoint every few seconds.
CONFIG = json.loads(SYNTHETIC_CONFIG) | {"recipes": ["residual"], "checkpoint_minutes": 0.05}
STEPS = [step.name for step in PIPELINE]
REPEATABLE = STEPS[: STEPS.index("register")]  # evidence holds times


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    need_compose()
    made = Stack(tmp_path_factory.mktemp("stack") / "settings", tag_of_images())
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, "")  # `Stack.store` sets them
        try:
            began = time.monotonic()
            made("up")
            found("compose", {"from nothing to healthy": {"seconds": _since(began)}})
            yield made
        finally:
            if (made.folder / "environment").exists() and not os.environ.get("KEEP_STACK"):
                made("destroy")


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f}"


@pytest.fixture(scope="module")
def delivery(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn lesions, delivered by a container of the stack."""
    folder = tmp_path_factory.mktemp("delivery")
    folder.parent.chmod(0o755)  # the container is another user
    folder.chmod(0o755)
    synthesize(folder / "images")
    stack(
        *("tasks", "deliver", "--store", STORE, "--images", "/delivery/images"),
        DELIVERY=str(folder),
    )
    return folder


@pytest.fixture(scope="module")
def record(stack: Stack, delivery: Path) -> dict[str, Any]:
    """The run with all its faults, and what was seen of it."""
    stack.airflow.wait_for_dag(RETRAINING)
    idle = stack.memory()
    began = time.monotonic()
    stack.airflow.trigger(RETRAINING, CONFIG, RUN)
    eventually(lambda: _training(stack), 300, "a training")
    eventually(lambda: _checkpoints(stack), 300, "a checkpoint")
    busy = stack.memory()

    first = _training(stack)
    killed_at = time.monotonic()
    stack.docker("kill", stack.container(first))
    second = eventually(lambda: _training(stack, not_on=first), 300, "the other worker")
    taken_over = _since(killed_at)
    eventually(lambda: _resumed(stack), 300, "a training that goes on from a checkpoint")

    stack.docker("restart", stack.container("postgres"))
    time.sleep(15)  # a training with PostgreSQL back
    stack.docker("stop", stack.container("s3"))
    time.sleep(60)
    stack.docker("start", stack.container("s3"))
    state = eventually(lambda: _end(stack), 1200, "the end of the run")
    seconds = _since(began)
    found(
        "compose",
        {
            "the other worker trains after the kill": {"seconds": taken_over},
            "the run, with its faults": {"seconds": seconds},
        }
        | {f"memory of {name}": {"idle": idle[name], "training": busy[name]} for name in idle},
    )
    return {"state": state, "first": first, "second": second}


def _training(stack: Stack, not_on: str = "") -> str:
    """The worker on which the training runs now; empty if on none."""
    task = stack.instance(RUN, "train")
    running = task["state"] == "running" and task["hostname"] != not_on
    return str(task["hostname"]) if running else ""


def _checkpoints(stack: Stack) -> list[str]:
    entries = stack.store().list(f"runs/{RUN}/train/")
    return [entry.key for entry in entries if f"/{CHECKPOINTS}/" in entry.key]


def _end(stack: Stack) -> str:
    state = stack.airflow.state(RETRAINING, RUN)
    return state if state in ("success", "failed") else ""


def _log(stack: Stack, task: str) -> list[str]:
    tries = stack.instance(RUN, task)["try_number"]
    airflow = stack.airflow
    return [line for n in range(tries) for line in airflow.log(RETRAINING, RUN, task, n + 1)]


def _resumed(stack: Stack) -> list[str]:
    return [line for line in _log(stack, "train") if "Resumed in epoch" in line]


def test_the_engine_is_told_no_secret(stack: Stack) -> None:
    secrets = {path.name: path.read_text().strip() for path in (stack.folder / "secrets").iterdir()}
    said = json.dumps(stack.inspected())
    assert "postgres_password" in said  # the paths are there, so this looked at the right thing
    assert [name for name, secret in secrets.items() if secret in said] == []


def test_without_a_login_nobody_gets_anything(stack: Stack) -> None:
    for port, path in (
        ("AIRFLOW_PORT", "/api/v2/dags"),
        ("MLFLOW_PORT", "/api/2.0/mlflow/experiments/search?max_results=1"),
        ("APP_PORT", "/model"),
    ):
        answer = httpx.get(f"http://127.0.0.1:{stack.ports[port]}{path}", trust_env=False)
        assert answer.status_code == 401, f"{port}: {answer.status_code}"
    address, login = stack.mlflow
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert httpx.get(address + path, auth=login, trust_env=False).status_code == 200


def _failures(stack: Stack) -> dict[str, list[str]]:
    """The last lines of each task that failed."""
    tasks = stack.airflow.tasks(RETRAINING, RUN).values()
    return {task.name: _log(stack, task.id)[-40:] for task in tasks if task.state == "failed"}


def test_the_run_ends_well(stack: Stack, record: dict[str, Any]) -> None:
    assert record["state"] == "success", json.dumps(_failures(stack), indent=1)


def test_the_other_worker_goes_on_from_the_checkpoint(stack: Stack, record: dict[str, Any]) -> None:
    assert {record["first"], record["second"]} == {"worker-1", "worker-2"}
    resumed = _resumed(stack)
    assert resumed
    found("compose", {"the training went on": {"said": resumed[0].partition("Resumed ")[2]}})


def test_every_step_has_a_record_and_the_evidence_verifies(
    stack: Stack, record: dict[str, Any]
) -> None:
    store = stack.store()
    assert [name for name in STEPS if read_record(store, RUN, name) is None] == []
    said = stack("tasks", "verify", "--evidence", f"{STORE}/runs/{RUN}/evidence")
    assert "holds: pass" in said, said


def test_the_records_are_those_of_processes(
    stack: Stack, record: dict[str, Any], delivery: Path, tmp_path: Path
) -> None:
    config = json.dumps(CONFIG)
    store = str(tmp_path / "store")
    deliver = ["deliver", "--store", store, "--images", str(delivery / "images")]
    for argv in (
        deliver,
        *([step, "--run", f"{store}/runs/{RUN}", "--config", config] for step in REPEATABLE),
    ):
        done = [sys.executable, "-m", "tasks", *argv]
        subprocess.run(done, cwd=ROOT, env=of_a_container(), check=True, capture_output=True)
    ours, theirs = open_store(store), stack.store()
    for name in REPEATABLE:
        by_process, in_stack = read_record(ours, RUN, name), read_record(theirs, RUN, name)
        assert by_process
        assert in_stack
        assert by_process.content_hash == in_stack.content_hash, name


def _objects(stack: Stack) -> dict[str, str]:
    store = stack.store()
    return {
        entry.key: hashlib.sha256(store.read(entry.key)).hexdigest() for entry in store.list("")
    }


def _registry(stack: Stack) -> Any:
    """Each version of the model in MLflow with its run and tags, and the aliases."""
    address, login = stack.mlflow
    asked = httpx.Client(base_url=f"{address}/api/2.0/mlflow", auth=login, trust_env=False)
    with asked as mlflow:
        of_model = mlflow.get("/registered-models/get", params={"name": MODEL})
        question = {"filter": f"name='{MODEL}'"}
        found = mlflow.get("/model-versions/search", params=question)
    versions = found.raise_for_status().json()["model_versions"]
    aliases = of_model.raise_for_status().json()["registered_model"].get("aliases")
    tags = {
        (each["version"], each["run_id"]): {tag["key"]: tag["value"] for tag in each["tags"]}
        for each in versions  # a database gives rows in any order
    }
    return tags, aliases


def _approved(stack: Stack) -> str:
    """How the promotion ends, once the physician has approved the model in Airflow."""
    airflow = stack.airflow_of(PHYSICIAN)
    waiting = {"state": ["awaiting_input"]}

    def asked() -> str:
        found = airflow.request("GET", f"dags/{PROMOTION}/dagRuns/~/taskInstances", **waiting)
        return "".join(each["dag_run_id"] for each in found["task_instances"])

    promotion = eventually(asked, 120, "a question to the physician")
    time.sleep(3)  # Airflow 3.3 asks again if the answer comes before the worker has reported
    path = f"dags/{PROMOTION}/dagRuns/{promotion}/taskInstances/decide/-1/hitlDetails"
    answer = {"chosen_options": ["Approve"], "params_input": {"reason": "For the campaign."}}
    airflow.request("PATCH", path, answer)

    def ended() -> str:
        state = airflow.state(PROMOTION, promotion)
        return state if state in ("success", "failed") else ""

    return str(eventually(ended, 120, "the end of the promotion"))


def _in_use(stack: Stack) -> Any:
    """What the app says of the model in use."""
    name, password = (stack.folder / "secrets" / "app_users").read_text().strip().split(":")
    address = f"http://127.0.0.1:{stack.ports['APP_PORT']}/model"
    answer = httpx.get(address, auth=(name, password), trust_env=False)
    return answer.raise_for_status().json()["champion"]


def _runs(stack: Stack) -> Any:
    runs = stack.airflow.request("GET", f"dags/{RETRAINING}/dagRuns")["dag_runs"]
    return [(run["dag_run_id"], run["state"], run["end_date"]) for run in runs]


def test_what_was_destroyed_is_whole_after_a_restoration(
    stack: Stack, record: dict[str, Any], tmp_path: Path
) -> None:
    stack.docker("start", stack.container(record["first"]))  # the killed worker
    assert _approved(stack) == "success"
    champion = eventually(lambda: _in_use(stack), 120, "a model in use")
    before = _objects(stack), _registry(stack), _runs(stack)
    assert all(before)
    assert before[1][1], "no alias names the champion"
    began = time.monotonic()
    stack("backup", str(tmp_path / "backup"))
    saved = _since(began)
    stack("destroy")
    for path in (stack.folder / "secrets").iterdir():
        path.unlink()
    (stack.folder / "secrets").rmdir()

    began = time.monotonic()
    stack("restore", str(tmp_path / "backup"))
    found(
        "compose",
        {
            "backup": {"seconds": saved, "objects": len(before[0])},
            "restoration until healthy": {"seconds": _since(began)},
        },
    )
    after = eventually(lambda: (_objects(stack), _registry(stack), _runs(stack)), 60, "all")
    for now, then in zip(after, before, strict=True):
        assert now == then
    assert eventually(lambda: _in_use(stack), 120, "a model in use") == champion
    stack("tasks", "ledger", "--store", STORE)
    with pytest.raises(AssertionError, match="This stack has data"):
        stack("restore", str(tmp_path / "backup"))
