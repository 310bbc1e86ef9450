"""`RUNNER=docker make demo`: the DAGs through Airflow, on a directory and on a real S3 server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.airflow_api import PHYSICIAN, RETRAINING, Airflow
from demo.engine import CONTAINER_USER
from demo.settings import passwords_file
from tasks.engine.run import read_record
from tasks.engine.storage import open_store
from tasks.pipeline import PIPELINE
from tasks.registry.promotions import promotions_in
from tests.support.containers import eventually
from tests.support.demo import PASSING, SCHEDULE, Demo, run_demo
from tests.support.paths import ROOT
from tests.support.servers import S3Server, free_port


@pytest.fixture(scope="module")
def demo(
    gateway: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, str], Airflow]]:
    """The environment of a demo with containers, and the address of its Airflow."""
    folder = tmp_path_factory.mktemp("demo")
    drawing = ["tasks", "synthesize", "--to", str(folder / "delivery"), "--scale", "0.3"]
    subprocess.run([sys.executable, "-m", *drawing], cwd=ROOT, check=True)
    unset = ("METADATA", "MELANOMA_STORE", "STORE")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {
        "RUNNER": "docker",
        "DEMO_HOME": str(folder / "home"),
        "IMAGES": str(folder / "delivery"),
        "CONFIG": json.dumps(PASSING | {"parts": 2}),
        "AIRFLOW_PORT": str(free_port()),
        "MLFLOW_PORT": str(free_port()),
        "APP_PORT": str(free_port()),
        "MELANOMA_SCHEDULE": SCHEDULE,
    }
    try:
        address = f"http://127.0.0.1:{environment['AIRFLOW_PORT']}"
        yield environment, Airflow(address, passwords_file(folder / "home" / "images"))
    finally:
        run_demo("stop", environment)


def check_run(airflow: Airflow, store: str, engine: Any) -> str:
    """That the last run is whole and was done by containers; returns all that Airflow shows."""
    runs = airflow.request("GET", f"dags/{RETRAINING}/dagRuns", order_by="-start_date")
    name = runs["dag_runs"][0]["dag_run_id"]
    path = f"dags/{RETRAINING}/dagRuns/{name}/taskInstances"
    tasks = airflow.request("GET", path)["task_instances"]
    shown = json.dumps(tasks)
    for task in tasks:
        if task["task_id"] in ("parts", "recipes"):  # Airflow asks itself into how many
            continue
        if (task["task_id"], task["state"]) == ("train_part", "skipped"):  # one recipe
            continue
        assert (task["state"], task["operator"]) == ("success", "Container"), task
        index = task["map_index"]
        said = "\n".join(airflow.log(RETRAINING, name, task["task_id"], map_index=index))
        assert "of image sha256:" in said
        shown += said
    ids = [
        engine.inspect_image(f"melanoma-retraining/{each}:latest")["Id"]
        for each in ("data", "train")
    ]
    for step in PIPELINE:
        record = read_record(open_store(store), name, step.name)
        assert record
        assert record.provenance
        assert record.provenance.image in ids
    label = {"label": "melanoma-retraining.work"}

    def gone() -> bool:  # that of `ask` may just run: a registered model is put before people
        left = engine.containers(all=True, filters=label)
        return not [each for each in left if name in str(each)]

    eventually(gone)
    return shown


def test_the_dag_runs_in_containers_on_a_directory(demo: Any, engine: Any) -> None:
    environment, airflow = demo
    done = run_demo("start", environment)
    assert done.returncode == 0, done.stdout + done.stderr

    store = Path(environment["DEMO_HOME"], "images", "store")
    shown = check_run(airflow, str(store), engine)

    assert "docker run --rm --read-only" in shown  # the line to type
    assert f"ingest --run {store}/runs/" in shown
    assert "epoch 1/2" in shown  # the log of the step is the log of the task
    records = [path.stat().st_uid for path in store.rglob("record.json")]
    assert set(records) == {CONTAINER_USER if os.geteuid() == 0 else os.geteuid()}


def test_people_decide_and_the_containers_promote(demo: Any) -> None:
    """Airflow's worker writes the answers, and a container of another user reads them."""
    environment, airflow = demo
    physician = Airflow(airflow.address, airflow.passwords, PHYSICIAN)
    standing = Demo(Path(environment["DEMO_HOME"]), environment, airflow, physician)
    states = standing.answer(standing.waiting_promotion(), "Approve")
    assert (states["ask"], states["promote"]) == ("success", "success")
    store = open_store(f"{environment['DEMO_HOME']}/images/store")
    champion = promotions_in(store).champion
    assert champion is not None
    assert champion.version == 1


def test_the_dag_runs_in_containers_on_s3_and_shows_no_secret(
    demo: Any,
    engine: Any,
    radosgw: S3Server,
    reachable: Callable[[int], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment, airflow = demo
    secret = tmp_path / "aws"
    secret.write_text(
        f"[default]\naws_access_key_id = {radosgw.access_key}\n"
        f"aws_secret_access_key = {radosgw.secret_key}\n"
    )
    secret.chmod(0o400)
    if os.geteuid() == 0:
        os.chown(secret, CONTAINER_USER, CONTAINER_USER)
    settings = {
        "AWS_ENDPOINT_URL": f"http://{reachable(int(radosgw.endpoint.rpartition(':')[2]))}",
        "AWS_SHARED_CREDENTIALS_FILE": str(secret),
    }
    store = f"s3://{radosgw.new_bucket()}/melanoma"
    # Another seed: the same model from another store would be nothing new to the registry.
    other = {"STORE": store, "CONFIG": json.dumps(PASSING | {"parts": 2, "seed": 7})}
    done = run_demo("start", environment | settings | other)
    assert done.returncode == 0, done.stdout + done.stderr

    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    shown = check_run(airflow, store, engine)

    assert radosgw.secret_key not in shown + done.stdout + done.stderr
    for log in Path(environment["DEMO_HOME"]).rglob("*.log"):
        assert radosgw.secret_key not in log.read_text(errors="replace")
