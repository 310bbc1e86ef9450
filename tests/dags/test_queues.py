"""In which queue a task waits, which GPUs it gets, how often it is tried. No Airflow is started."""

import os
from typing import Any

import pytest

from tasks.errors import BadInput
from tasks.pipeline import BESIDE, PIPELINE


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # Importing Airflow writes a configuration file into AIRFLOW_HOME.
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags.places import process

    return process


@pytest.mark.parametrize("place", ["process", "docker"])
def test_with_queues_each_task_waits_for_a_worker_of_its_machine(
    process: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    from airflow.sdk import DAG, XComArg

    from dags.places.choice import task_of

    monkeypatch.setenv("MELANOMA_RUNNER", place)
    monkeypatch.setenv("MELANOMA_QUEUES", "yes")
    for row in (*PIPELINE, *BESIDE):
        assert task_of(row.name, "--run", "s/runs/a").queue == row.machine
    with DAG("parts", schedule=None):
        mapped: Any = task_of("train", parts=XComArg(process.task_of("names", *())))
    assert mapped.partial_kwargs["queue"] == "gpu"

    monkeypatch.setenv("MELANOMA_QUEUES", "no")
    queues = {task_of(row.name, "--run", "s/runs/a").queue for row in PIPELINE}
    assert queues == {"default"}


def test_an_answer_about_queues_that_is_none_is_refused(
    process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.places.choice import task_of

    monkeypatch.setenv("MELANOMA_QUEUES", "small,large")
    with pytest.raises(BadInput, match="MELANOMA_QUEUES=small,large"):
        task_of("ingest")


@pytest.mark.parametrize(
    ("said", "ids", "count", "by_hand"),
    [
        ("all", [], -1, "--gpus all "),
        ("2", [], 2, "--gpus 2 "),
        ("device=1", ["1"], 0, "--gpus device=1 "),
        ("device=0,GPU-3a-7", ["0", "GPU-3a-7"], 0, """--gpus '"device=0,GPU-3a-7"' """),
    ],
)
def test_a_step_gets_the_gpus_that_are_named_and_devices_of_its_own_at_the_same_time(
    process: Any,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    ids: list[str],
    count: int,
    by_hand: str,
) -> None:
    from dags.places.docker import task_of

    monkeypatch.setenv("MELANOMA_GPUS", said)
    monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE", raising=False)
    made: Any = task_of("train", "--run", "s3://bucket/store/runs/a")
    (request,) = made._gpu_request()

    assert (request["DeviceIDs"], request["Count"] or 0) == (ids, count)
    assert by_hand in made._by_hand()
    # Who shares the engine's GPUs takes turns; who has its own does not.
    assert made.max_active_tis_per_dag == (None if ids else 1)


@pytest.mark.parametrize("said", ["0", "some", "device=", "device=0,", "device=0 1", "-1"])
def test_what_says_nothing_about_gpus_is_refused(
    process: Any, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    from dags.places.docker import task_of

    monkeypatch.setenv("MELANOMA_GPUS", said)
    with pytest.raises(BadInput, match=f"MELANOMA_GPUS={said}"):
        task_of("train", "--run", "s3://bucket/store/runs/a")
    task_of("ingest", "--run", "s3://bucket/store/runs/a")  # which gets none anyway


@pytest.mark.parametrize(("said", "times"), [("", 2), ("0", 0), ("8", 8)])
def test_a_task_is_tried_again_as_often_as_the_environment_says(
    process: Any, monkeypatch: pytest.MonkeyPatch, said: str, times: int
) -> None:
    from dags.default_args import retries

    monkeypatch.setenv("MELANOMA_RETRIES", said)
    assert retries() == times


@pytest.mark.parametrize("said", ["-1", "many", "1.5", "101"])
def test_a_number_of_retries_that_is_none_is_refused(
    process: Any, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    from dags.default_args import retries

    monkeypatch.setenv("MELANOMA_RETRIES", said)
    with pytest.raises(BadInput, match=f"MELANOMA_RETRIES={said}"):
        retries()
