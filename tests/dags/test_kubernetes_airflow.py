"""The place `kubernetes` in Airflow: which tasks it makes, and what Airflow tells a pod."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.pipeline import BESIDE, PIPELINE
from tests.support import kubernetes_place
from tests.support.fake_cluster import NodePod
from tests.support.kubernetes_place import SETTINGS, STORE
from tests.support.paths import ROOT
from tests.support.pod_tasks import Airflow

LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


def context(**more: Any) -> Any:
    """What Airflow gives a task."""
    given = {"dag_id": "melanoma_retraining", "map_index": -1, "try_number": 1}
    given |= {"run_id": "scheduled__2026-01-04T03:00:00+00:00", "task_id": "split"} | more
    instance = SimpleNamespace(**given)
    run = SimpleNamespace(triggering_user_name="Ada", run_type="manual")
    dag = SimpleNamespace(parent_dag=None)
    return {"ti": instance, "run_id": given["run_id"], "dag": dag, "dag_run": run}


@pytest.fixture
def chosen(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> Any:
    from dags.places.choice import task_of

    monkeypatch.setenv("MELANOMA_RUNNER", "kubernetes")
    return task_of


def test_the_house_names_the_place_and_an_attempt_takes_as_long_as_its_row_says(
    chosen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELANOMA_GPU_POOL", "gpus")
    for row in (*PIPELINE, *BESIDE):
        made = chosen(row.name, "--run", f"{STORE}/runs/a")
        assert type(made).__module__ == "dags.places.kubernetes"
        assert made.execution_timeout == timedelta(hours=row.hours)
        assert made.pool == ("gpus" if row.machine == "gpu" else "default_pool")


def test_a_pod_has_a_name_of_its_task_whatever_attempt_it_is(chosen: Any) -> None:
    made = chosen("split", "--run", f"{STORE}/runs/a")
    first, second, other_run, other_part = (
        made._made(context(**more))
        for more in ({}, {"try_number": 2}, {"run_id": "manual"}, {"map_index": 3})
    )

    assert first.metadata.name == second.metadata.name
    assert first.metadata.annotations == second.metadata.annotations
    assert len({pod.metadata.name for pod in (first, other_run, other_part)}) == 3
    assert first.metadata.labels["dag_id"] == "melanoma_retraining"
    for pod in (first, other_part):
        assert all(LABEL.fullmatch(value) for value in pod.metadata.labels.values())


def test_who_triggered_the_run_is_told_to_the_pod_and_is_not_in_the_line_to_type(
    chosen: Any,
) -> None:
    made = chosen("split", "--run", f"{STORE}/runs/a")
    pod = made._made(context())
    told = {each.name: each.value for each in pod.spec.containers[0].env}
    made._do_render_template_fields(made, (), context() | {"task": made}, None, set())

    assert '"Ada"' in told["MELANOMA_PERSON"]
    assert "Ada" not in made.command_line


@pytest.mark.parametrize(("code", "told"), [(0, True), (64, False)])
def test_an_event_carries_the_address_of_the_run_if_the_step_is_done(
    airflow: Airflow, code: int, told: bool
) -> None:
    from airflow.sdk import Asset
    from airflow.sdk.exceptions import AirflowFailException

    def play(pod: NodePod) -> None:
        pod.runs()
        pod.ends(code)

    airflow.cluster.plays = play
    asset = Asset("challenger")
    made = kubernetes_place.task("register", outlets=[asset])
    event = SimpleNamespace(extra={})
    try:
        type(made).execute.__wrapped__(made, context() | {"outlet_events": {asset: event}})
    except AirflowFailException:
        assert not told

    assert event.extra == ({"run": f"{STORE}/runs/a"} if told else {})


@pytest.mark.slow
def test_airflow_reads_and_keeps_every_dag_with_its_steps_as_pods(tmp_path: Path) -> None:
    code = (
        "import json\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "from airflow.serialization.serialized_objects import DagSerialization as Kept\n"
        f"bag = DagBag({str(ROOT / 'dags')!r}, bundle_path=None)\n"
        "assert not bag.import_errors, bag.import_errors\n"
        "for dag in bag.dags.values():\n"
        "    back = Kept.from_dict(json.loads(json.dumps(Kept.to_dict(dag))))\n"
        "    print(dag.dag_id, sorted(each.task_id for each in back.task_dict.values()\n"
        "                             if each.task_type == 'Pod'))"
    )
    environment = (
        os.environ
        | SETTINGS
        | {
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "MELANOMA_RUNNER": "kubernetes",
            "PYTHONPATH": str(ROOT),
        }
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()[-5:]

    assert len(lines) == 5, done.stderr
    assert {line.split()[0] for line in lines} == {
        *("melanoma_monitoring", "melanoma_policy", "melanoma_promotion", "melanoma_retraining"),
        "melanoma_rollback",
    }
    retraining = next(line for line in lines if line.startswith("melanoma_retraining"))
    for row in PIPELINE:
        assert f"{row.name}'" in retraining
