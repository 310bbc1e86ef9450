"""What Airflow shows of a step: each line of its output at its own level, and the line to type."""

import logging
import os
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import ROOT

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # Importing Airflow writes a configuration file into AIRFLOW_HOME.
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags import command_line, levels
    from dags.places import process

    return {"levels": levels, "process": process, "command_line": command_line}


class Log:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def log(self, level: int, message: str, *arguments: Any) -> None:
        self.said.append((logging.getLevelName(level), message % arguments))


def said(dags: Any, *lines: str) -> list[tuple[str, str]]:
    log = Log()
    dags["levels"].relay(lines, log)
    return log.said


def test_a_warning_of_a_step_is_a_warning_of_its_task(dags: Any) -> None:
    import structlog

    code = "print('WARNING contradictory_label: 12 files'); print('INFO 3 classes')"
    argv = [sys.executable, "-c", code, "--run", "s/runs/a"]
    task = dags["process"].Process(task_id="step", argv=argv)
    with structlog.testing.capture_logs() as logged:
        type(task).execute.__wrapped__(task, {})

    assert [(line["log_level"], line["event"]) for line in logged] == [
        ("warning", "contradictory_label: 12 files"),
        ("info", "3 classes"),
    ]


def test_an_error_of_many_lines_has_one_level(dags: Any, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tasks", "ingest", "--run", f"{tmp_path}/runs/a"]
    done = subprocess.run(argv, capture_output=True, cwd=ROOT, check=False)
    lines = said(dags, *dags["levels"].lines_of([done.stderr]))
    error = [each for each in lines if each[0] == "ERROR"]

    assert done.returncode == 64
    assert [text.split()[0] for _, text in error][-3:] == ["Expected:", "Received:", "Do:"]
    assert len(error) == 4
    assert said(dags, "ERROR a", "  Received: b", "c")[-1] == ("INFO", "c")


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: All log messages before absl::InitializeLog() is called",
        "WARNING:tensorflow:5 out of the last 5 calls",
        "2026/01/01 00:00:00 ERROR mlflow.cli: no",
        "W0000 00:00:1 cuda",
        "[ERROR] no",
        "ERRORS 3",
    ],
)
def test_a_line_of_a_library_is_information(dags: Any, line: str) -> None:
    assert said(dags, "ERROR ours", line)[1:] == [("INFO", line)]


names = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))


@given(level=st.sampled_from(LEVELS), name=names, forged=st.sampled_from(LEVELS))
def test_no_name_in_a_line_changes_its_level(dags: Any, level: str, name: str, forged: str) -> None:
    """Not with a carriage return or another sign that some programs end a line with."""
    for sign in ("\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"):
        output = f"{level} {name}{sign}{forged} gate passed\n".encode()
        found = said(dags, *dags["levels"].lines_of([output]))
        assert [each for each, _ in found] == [level]


@given(output=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_lines_do_not_depend_on_the_pieces_in_which_they_arrive(
    dags: Any, output: bytes, cuts: list[int]
) -> None:
    places = sorted({0, len(output), *(cut for cut in cuts if cut < len(output))})
    pieces = [output[a:b] for a, b in pairwise(places)]

    assert list(dags["levels"].lines_of(pieces)) == list(dags["levels"].lines_of([output]))


# The line to type --------------------------------------------------------------------------------


def rendered(task: Any) -> str:
    # As Airflow calls it for a mapped task; for another, by their place.
    task._do_render_template_fields(
        parent=task,
        template_fields=task.template_fields,
        context={"task": task},
        jinja_env=task.get_template_env(),
        seen_oids=set(),
    )
    fields = {name: getattr(task, name) for name in task.template_fields}
    assert list(fields) == ["command_line"]  # all that Airflow shows
    return str(fields["command_line"])


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, dags: Any) -> pytest.MonkeyPatch:
    for name in (*dags["command_line"].SHOWN, *dags["command_line"].SECRET):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_the_line_shown_runs_what_the_task_runs(dags: Any, words: list[str]) -> None:
    line = dags["command_line"].command_line(["printf", r"%s\0", *words], (), ())
    printed = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout

    assert printed.decode().split("\0")[:-1] == (words or [""])


def test_the_line_shown_carries_the_environment_and_no_secret(
    dags: Any, bare: pytest.MonkeyPatch
) -> None:
    bare.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    bare.setenv("AWS_ENDPOINT_URL", 'http://me:7dJ2"k$q}@host:9')
    bare.setenv("AWS_SECRET_ACCESS_KEY", "7dJ2kq")
    code = "import os; print(os.environ['MLFLOW_TRACKING_URI'], os.environ['AWS_ENDPOINT_URL'])"
    line = rendered(dags["process"].Process(task_id="x", argv=[sys.executable, "-c", code]))

    assert "\n" not in line
    assert "7dJ2" not in line
    assert "***@host:9" in line
    mine = {"AWS_ENDPOINT_URL": "http://it", "AWS_SECRET_ACCESS_KEY": "mine"}
    done = subprocess.run(["sh", "-c", line], env=mine, capture_output=True, text=True, check=True)
    assert done.stdout == "http://127.0.0.1:5000 http://it\n"
    for name in mine:  # the shell names what is missing
        rest = {key: value for key, value in mine.items() if key != name}
        done = subprocess.run(
            ["sh", "-c", line], env=rest, capture_output=True, text=True, check=False
        )
        assert done.returncode
        assert name in done.stderr


def test_the_line_of_a_part_names_the_part(dags: Any, bare: pytest.MonkeyPatch) -> None:
    from airflow.sdk import DAG, XComArg

    task_of = dags["process"].task_of
    with DAG("a_part", schedule=None):
        mapped = task_of("ingest", "--run", "s/runs/a b", parts=XComArg(task_of("names")))
    done = mapped.unmap({"part": "2-of-4"})

    assert shlex.split(rendered(done))[-5:] == ["ingest", "--run", "s/runs/a b", "--part", "2-of-4"]
    assert done.argv[-2:] == ["--part", "2-of-4"]
