"""The exit codes of a command, as Airflow's tasks read them. No Airflow is started."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.errors import BadInput


@pytest.fixture(scope="module")
def runners(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # Importing Airflow writes a configuration file into AIRFLOW_HOME.
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags import runners

    return runners


@pytest.fixture
def exceptions(runners: Any) -> Any:
    from airflow.sdk import exceptions

    return exceptions


def run(runners: Any, code: str) -> None:
    task = runners.Process(task_id="step", argv=[sys.executable, "-c", code, "--run", "s/runs/a"])
    type(task).execute.__wrapped__(task, {})


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_exit_code_0_is_success(runners: Any) -> None:
    run(runners, "print('done')")


def test_exit_code_99_is_skipped_with_the_last_line_as_the_reason(
    runners: Any, exceptions: Any
) -> None:
    with pytest.raises(exceptions.AirflowSkipException, match="the gate did not pass"):
        run(runners, "print('the gate did not pass'); raise SystemExit(99)")


def test_exit_code_64_is_a_failure_without_retry(runners: Any, exceptions: Any) -> None:
    with pytest.raises(exceptions.AirflowFailException, match="no retry"):
        run(runners, "raise SystemExit(64)")


@pytest.mark.parametrize("code", [75, 1])
def test_another_exit_code_is_a_failure_that_is_retried(
    runners: Any, exceptions: Any, code: int
) -> None:
    with pytest.raises(exceptions.AirflowException, match=f"exit code {code}") as raised:
        run(runners, f"raise SystemExit({code})")
    assert not isinstance(raised.value, exceptions.AirflowFailException)


def test_a_killed_process_is_a_failure_that_is_retried(runners: Any, exceptions: Any) -> None:
    with pytest.raises(exceptions.AirflowException, match="SIGKILL"):
        run(runners, "import os; os.kill(os.getpid(), 9)")


def test_the_argv_passes_through_no_shell(runners: Any, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    argv = [sys.executable, "-c", "pass", "--run", f"$(touch {trap}); touch {trap}"]
    task = runners.Process(task_id="step", argv=argv)
    type(task).execute.__wrapped__(task, {})
    assert not trap.exists()


def test_ending_a_task_ends_its_process_and_what_that_started(tmp_path: Path) -> None:
    # As Airflow does it: the task leads a process group, and its SIGTERM handler calls on_kill.
    pids = tmp_path / "pids"
    child = (
        "import os, subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{other.pid}}')\n"
        "time.sleep(60)"
    )
    task = (
        "import signal, sys\n"
        "from dags.runners import Process\n"
        f"task = Process(task_id='step', argv=[sys.executable, '-c', {child!r}])\n"
        "signal.signal(signal.SIGTERM, lambda *_: task.on_kill())\n"
        "type(task).execute.__wrapped__(task, {})"
    )
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path)}
    begun = subprocess.Popen(
        [sys.executable, "-c", task], env=environment, process_group=0, stderr=subprocess.DEVNULL
    )
    while not (pids.exists() and pids.read_text().count(" ")):
        assert begun.poll() is None
        time.sleep(0.1)
    begun.terminate()
    assert begun.wait(30) != 0
    assert not any(lives(int(pid)) for pid in pids.read_text().split())


def test_a_mapped_task_ends_its_argv_with_the_part_that_it_does(runners: Any) -> None:
    from airflow.sdk import DAG, XComArg
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    with DAG("parts", schedule=None):
        names = XComArg(runners.process("names"))
        mapped = runners.process("ingest", "--run", "s/runs/a", parts=names)
        whole = runners.process("ingest", "--run", "s/runs/a")
    assert isinstance(mapped, MappedOperator)
    done = mapped.unmap({"part": "2-of-4"})
    done.render_template_fields({"task": done})

    assert mapped.task_id == "ingest_part"
    assert list(done.argv[1:]) == ["-m", "tasks", "ingest", "--run", "s/runs/a", "--part", "2-of-4"]
    assert "--part" not in whole.argv


@pytest.mark.parametrize(
    ("params", "parts", "recipes"),
    [
        ({"parts": 1, "recipes": ["balanced"]}, [], []),
        (
            {"parts": 3, "recipes": ["balanced", "baseline"]},
            ["1-of-3", "2-of-3", "3-of-3"],
            ["balanced", "baseline"],
        ),
    ],
)
def test_a_step_of_one_part_is_mapped_over_none(
    runners: Any, params: dict[str, Any], parts: list[str], recipes: list[str]
) -> None:
    from dags.melanoma_retraining import names_of_parts

    assert names_of_parts("parts", params) == parts
    assert names_of_parts("recipes", params) == recipes


@pytest.mark.parametrize(
    ("said", "expression"),
    [("", "0 3 * * 0"), ("30 1 * * 1-5", "30 1 * * 1-5"), ("@monthly", "0 0 1 * *")],
)
def test_the_times_of_retraining_are_those_that_the_house_sets(
    runners: Any, monkeypatch: pytest.MonkeyPatch, said: str, expression: str
) -> None:
    from dags.melanoma_retraining import schedule

    monkeypatch.setenv("MELANOMA_SCHEDULE", said)
    times = schedule().timetable
    assert (times.expression, str(times.timezone)) == (expression, "UTC")


def test_a_dag_that_airflow_sees_for_the_first_time_does_not_make_up_for_a_run_that_was_due(
    runners: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import CronTriggerTimetable
    from airflow.serialization.decoders import decode_timetable
    from airflow.serialization.encoders import encode_timetable
    from airflow.timetables.base import TimeRestriction

    from dags.melanoma_retraining import schedule

    def first(timetable: Any) -> datetime:
        """When the scheduler would begin the first run of a DAG with this timetable."""
        never_ran = TimeRestriction(earliest=None, latest=None, catchup=False)
        read = decode_timetable(encode_timetable(timetable))
        found: datetime = read.next_dagrun_info(
            last_automated_data_interval=None, restriction=never_ran
        ).run_after
        return found

    now = datetime.now(UTC)
    hourly = f"{now.minute} * * * *"  # it was due less than a minute ago
    monkeypatch.setenv("MELANOMA_SCHEDULE", hourly)
    assert first(schedule()) > now
    assert first(CronTriggerTimetable(hourly, timezone="UTC")) <= now


def test_times_that_are_no_cron_expression_are_refused_by_name(
    runners: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.melanoma_retraining import schedule

    monkeypatch.setenv("MELANOMA_SCHEDULE", "every Sunday")
    with pytest.raises(BadInput, match="MELANOMA_SCHEDULE=every Sunday"):
        schedule()


@pytest.mark.parametrize(
    ("run_id", "name"),
    [
        ("scheduled__2026-01-04T03:00:00+00:00", "scheduled__2026-01-04T03-00-00-00-00"),
        ("demo-1", "demo-1"),
        ("_mine", "run_mine"),
    ],
)
def test_a_run_id_becomes_a_name_that_a_store_takes(
    runners: Any, monkeypatch: pytest.MonkeyPatch, run_id: str, name: str
) -> None:
    from tasks.engine.run import RUN_NAME

    monkeypatch.setenv("MELANOMA_STORE", "s3://bucket/melanoma/")
    assert runners.address(run_id) == f"s3://bucket/melanoma/runs/{name}"
    assert RUN_NAME.fullmatch(name)


def test_without_a_store_a_task_says_which_variable_to_set(
    runners: Any, exceptions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MELANOMA_STORE", raising=False)
    with pytest.raises(exceptions.AirflowFailException, match="MELANOMA_STORE"):
        runners.address("any")
