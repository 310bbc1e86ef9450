"""What Airflow makes of the files in dags/, and of a command's exit code. No Airflow is started."""

import ast
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.errors import BadInput
from tasks.pipeline import BESIDE, PIPELINE
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # Importing Airflow writes a configuration file into AIRFLOW_HOME.
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags.places import process

    return process


@pytest.fixture
def exceptions(process: Any) -> Any:
    from airflow.sdk import exceptions

    return exceptions


def run(process: Any, code: str) -> None:
    task = process.Process(task_id="step", argv=[sys.executable, "-c", code, "--run", "s/runs/a"])
    type(task).execute.__wrapped__(task, {})


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_exit_code_0_is_success(process: Any) -> None:
    run(process, "print('done')")


def test_exit_code_99_is_skipped_with_the_last_line_as_the_reason(
    process: Any, exceptions: Any
) -> None:
    with pytest.raises(exceptions.AirflowSkipException, match="the gate did not pass"):
        run(process, "print('the gate did not pass'); raise SystemExit(99)")


def test_exit_code_64_is_a_failure_without_retry(process: Any, exceptions: Any) -> None:
    with pytest.raises(exceptions.AirflowFailException, match=r"no retry\. Do: correct it"):
        run(process, "print('  Do: correct it'); raise SystemExit(64)")


@pytest.mark.parametrize("code", [75, 1])
def test_another_exit_code_is_a_failure_that_is_retried(
    process: Any, exceptions: Any, code: int
) -> None:
    with pytest.raises(exceptions.AirflowException, match=f"exit code {code}") as raised:
        run(process, f"raise SystemExit({code})")
    assert not isinstance(raised.value, exceptions.AirflowFailException)


def test_a_killed_process_is_a_failure_that_is_retried(process: Any, exceptions: Any) -> None:
    with pytest.raises(exceptions.AirflowException, match="SIGKILL"):
        run(process, "import os; os.kill(os.getpid(), 9)")


def test_the_argv_passes_through_no_shell(process: Any, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    argv = [sys.executable, "-c", "pass", "--run", f"$(touch {trap}); touch {trap}"]
    task = process.Process(task_id="step", argv=argv)
    type(task).execute.__wrapped__(task, {})
    assert not trap.exists()


# Both as Airflow does it, whose tasks lead a process group each.
STOPPED = (
    "signal.signal(signal.SIGTERM, lambda *_: task.on_kill())\n"
    "type(task).execute.__wrapped__(task, {})"
)
OUT_OF_TIME = (
    "from datetime import timedelta\n"
    "from airflow.sdk.execution_time.task_runner import _run_execute_callable\n"
    "task.execution_timeout = timedelta(seconds=6)\n"
    "_run_execute_callable({}, task.execute, task)"
)


@pytest.mark.slow
@pytest.mark.parametrize("way", [STOPPED, OUT_OF_TIME], ids=["stopped", "out of time"])
def test_ending_a_task_ends_its_process_and_what_that_started(tmp_path: Path, way: str) -> None:
    pids = tmp_path / "pids"
    child = (
        "import os, subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{other.pid}}')\n"
        "time.sleep(60)"
    )
    task = (
        "import signal, sys\n"
        "from dags.places.process import Process\n"
        f"task = Process(task_id='step', argv=[sys.executable, '-c', {child!r}])\n{way}"
    )
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path)}
    begun = subprocess.Popen(
        [sys.executable, "-c", task], env=environment, process_group=0, stderr=subprocess.DEVNULL
    )
    while not (pids.exists() and pids.read_text().count(" ")):
        assert begun.poll() is None
        time.sleep(0.1)
    if way == STOPPED:
        begun.terminate()
    assert begun.wait(40) != 0
    assert not any(lives(int(pid)) for pid in pids.read_text().split())


def test_a_mapped_task_ends_its_argv_with_the_part_that_it_does(process: Any) -> None:
    from airflow.sdk import DAG, XComArg
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    with DAG("parts", schedule=None):
        names = XComArg(process.task_of("names"))
        mapped = process.task_of("ingest", "--run", "s/runs/a", parts=names)
        whole = process.task_of("ingest", "--run", "s/runs/a")
    assert isinstance(mapped, MappedOperator)
    done: Any = mapped.unmap({"part": "2-of-4"})
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
    process: Any, params: dict[str, Any], parts: list[str], recipes: list[str], tmp_path: Path
) -> None:
    from dags.melanoma_retraining import names_of_parts

    assert names_of_parts("parts", f"{tmp_path}/runs/a", params) == parts
    assert names_of_parts("recipes", f"{tmp_path}/runs/a", params) == recipes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image_size": 96, "packed_size": 64}, "image_size must be at most packed_size"),
        ({"validation_share": 0.4, "test_share": 0.4}, "must leave at least 0.4 of the lesions"),
        ({"recipes": ["residual", "best"]}, "best is the former name of residual"),
    ],
)
def test_fields_that_contradict_each_other_end_a_run_before_its_first_step(
    process: Any, exceptions: Any, given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """Airflow checks the fields of its form one by one."""
    from dags.melanoma_retraining import names_of_parts, steps

    for over in ("parts", "recipes"):
        with pytest.raises(exceptions.AirflowFailException, match=said):
            names_of_parts(over, f"{tmp_path}/runs/a", given)
    assert not list(tmp_path.iterdir())
    dag = steps["ingest"].dag
    assert dag
    assert dag.get_task("parts").upstream_task_ids == set()
    everything = {task.task_id for task in dag.tasks}
    assert dag.get_task("parts").get_flat_relative_ids() == everything - {"parts"}


def test_the_graph_is_three_boxes_and_the_report_and_no_id_names_a_box(process: Any) -> None:
    from dags.melanoma_retraining import BOXES, steps

    dag: Any = steps["ingest"].dag
    top = dag.task_group.children
    assert list(top) == [*BOXES, "report"]
    held = [list(top[box].children) for box in BOXES]
    assert [set(each) & {row.name for row in PIPELINE} for each in held] == [
        {"ingest", "validate", "split"},
        {"check_balance", "oversample", "train"},
        {"evaluate", "gate", "register"},
    ]
    assert {"parts", "ingest_part", "validate_part"} < set(held[0])
    assert {"recipes", "train_part"} < set(held[1])
    assert sorted(dag.task_ids) == sorted([*held[0], *held[1], *held[2], "report"])


@pytest.mark.parametrize(
    ("said", "expression"),
    [("", "0 3 * * 0"), ("30 1 * * 1-5", "30 1 * * 1-5"), ("@monthly", "0 0 1 * *")],
)
def test_the_times_of_retraining_are_those_that_the_house_sets(
    process: Any, monkeypatch: pytest.MonkeyPatch, said: str, expression: str
) -> None:
    from dags.melanoma_retraining import schedule

    monkeypatch.setenv("MELANOMA_SCHEDULE", said)
    times: Any = schedule().timetable
    assert (times.expression, str(times.timezone)) == (expression, "UTC")


def test_a_dag_that_airflow_sees_for_the_first_time_does_not_make_up_for_a_run_that_was_due(
    process: Any, monkeypatch: pytest.MonkeyPatch
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
        found = read.next_dagrun_info(last_automated_data_interval=None, restriction=never_ran)
        assert found
        moment: datetime = found.run_after
        return moment

    now = datetime.now(UTC)
    hourly = f"{now.minute} * * * *"  # it was due less than a minute ago
    monkeypatch.setenv("MELANOMA_SCHEDULE", hourly)
    assert first(schedule()) > now
    assert first(CronTriggerTimetable(hourly, timezone="UTC")) <= now


def test_times_that_are_no_cron_expression_are_refused_by_name(
    process: Any, monkeypatch: pytest.MonkeyPatch
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
        ("_mine", "run_mine-8be8d94c97d2"),
    ],
)
def test_a_run_id_becomes_a_name_that_a_store_takes(
    process: Any, monkeypatch: pytest.MonkeyPatch, run_id: str, name: str
) -> None:
    from dags.argv import address
    from tasks.engine.run import RUN_NAME

    monkeypatch.setenv("MELANOMA_STORE", "s3://bucket/melanoma/")
    assert address(run_id) == f"s3://bucket/melanoma/runs/{name}"
    assert RUN_NAME.fullmatch(name)


def test_without_a_store_a_task_says_which_variable_to_set(
    process: Any, exceptions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.argv import address

    monkeypatch.delenv("MELANOMA_STORE", raising=False)
    with pytest.raises(exceptions.AirflowFailException, match="MELANOMA_STORE"):
        address("any")


# The folder --------------------------------------------------------------------------------------

DAGS = ROOT / "dags"


def read_by_airflow(folder: Path) -> set[str]:
    """The files of a folder of DAGs that Airflow looks for DAGs in."""
    from airflow.utils.file import list_py_file_paths

    found = list_py_file_paths(folder, safe_mode=False)
    return {str(Path(each).relative_to(folder)) for each in found}


def defining_a_dag(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if any(
            isinstance(node, ast.Call) and ast.unparse(node.func) == "DAG"
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }


def test_airflow_reads_what_defines_a_dag_and_nothing_else(process: Any) -> None:
    assert len(defining_a_dag(DAGS)) >= 2
    assert read_by_airflow(DAGS) == defining_a_dag(DAGS)


def test_a_file_that_is_read_for_nothing_or_left_out_would_be_found(
    process: Any, tmp_path: Path
) -> None:
    shutil.copytree(DAGS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "shared.py").write_text("X = 1\n")
    (tmp_path / "places/new.py").write_text('from airflow.sdk import DAG\n\nDAG("new")\n')

    assert read_by_airflow(tmp_path) - defining_a_dag(tmp_path) == {"shared.py"}
    assert defining_a_dag(tmp_path) - read_by_airflow(tmp_path) == {"places/new.py"}


@pytest.mark.parametrize("place", ["", "process", "docker"])
def test_the_place_is_the_one_that_the_house_names(
    process: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    from dags.places.choice import PLACES, task_of

    monkeypatch.setenv("MELANOMA_RUNNER", place)
    made = task_of("ingest", "--run", "s/runs/a")

    assert type(made).__module__ == PLACES[place or "process"]


@pytest.mark.parametrize("place", ["process", "docker"])
def test_an_attempt_may_take_as_long_as_the_row_of_its_step_says(
    process: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    from dags.places.choice import task_of

    monkeypatch.setenv("MELANOMA_RUNNER", place)
    for row in (*PIPELINE, *BESIDE):
        made = task_of(row.name, "--run", "s/runs/a")
        assert row.hours > 0
        assert made.execution_timeout == timedelta(hours=row.hours)


@pytest.mark.parametrize("pool", ["", "gpus"])
def test_only_steps_for_a_gpu_take_a_slot_of_the_gpus_pool(
    process: Any, monkeypatch: pytest.MonkeyPatch, pool: str
) -> None:
    from dags.places.choice import task_of

    monkeypatch.setenv("MELANOMA_GPU_POOL", pool)
    pools = {row.name: task_of(row.name, "--run", "s/runs/a").pool for row in PIPELINE}

    assert pools.pop("train") == (pool or "default_pool")
    assert set(pools.values()) == {"default_pool"}


def test_a_place_that_there_is_not_is_refused_by_name(
    process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.places.choice import task_of

    monkeypatch.setenv("MELANOMA_RUNNER", "cloud")
    with pytest.raises(BadInput, match="MELANOMA_RUNNER=cloud"):
        task_of("ingest")


@pytest.mark.slow
def test_airflow_finds_the_dags_and_what_they_import(process: Any, tmp_path: Path) -> None:
    """As its processes read them: as files, by path, with the folder itself on the path too."""
    code = (
        "from airflow.dag_processing.dagbag import DagBag\n"
        f"bag = DagBag({str(DAGS)!r}, bundle_path=None)\n"
        "print(sorted(bag.dags), bag.import_errors)\n"
        "for dag in bag.dags.values():\n"
        "    starts = [each.value for each in dag.allowed_run_types]\n"
        "    print(dag.catchup, 'backfill' in starts, 'manual' in starts)"
    )
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(DAGS.parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )

    assert done.stdout.splitlines()[-6:] == [
        "['melanoma_monitoring', 'melanoma_policy', 'melanoma_promotion', 'melanoma_retraining', "
        "'melanoma_rollback'] {}",
        *["False False True"] * 5,  # nothing runs for a day of the past
    ], done.stderr
