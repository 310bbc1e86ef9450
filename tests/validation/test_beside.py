"""Great Expectations works in a process of its own: what fails there is told, nothing is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tasks.config import Retraining
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.errors import Momentary
from tasks.intake.manifest import table
from tasks.records.validated import Finding
from tasks.validation import beside
from tasks.validation.beside import expectations_of
from tasks.validation.library_process import MODULE, connection_to
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

SOUND = {
    "image_id": "a",
    "width": 64,
    "height": 64,
    "pixel_hash": "0" * 64,
    "perceptual_hash": "0" * 16,
    "label": "nevus",
    "shard": "s",
    "index": 0,
    "size_bytes": 1,
}


def manifest(**changed: object) -> pd.DataFrame:
    rows = [SOUND | {"key": "raw/a/sound.jpg"}, SOUND | {"key": "raw/a/odd.jpg"} | changed]
    return table(rows)


def children(of: int) -> list[int]:
    """The processes of Great Expectations that a process has started."""
    told = " ".join(each.read_text() for each in Path(f"/proc/{of}/task").glob("*/children"))
    return [n for n in map(int, told.split()) if MODULE in Path(f"/proc/{n}/cmdline").read_text()]


def test_what_breaks_a_critical_expectation_is_told_by_key() -> None:
    with expectations_of(manifest(width=8)) as expectations:
        assert list(expectations.unexpected()) == ["raw/a/odd.jpg"]
    with expectations_of(manifest(age_years=300.0)) as expectations:
        assert expectations.unexpected() == {}  # a warning, not critical
        assert expectations.told["met"] == expectations.told["of"] - 1


def test_a_process_that_dies_is_a_fault_of_the_moment_and_the_next_works() -> None:
    with expectations_of(manifest()) as asked:
        for child in children(os.getpid()):
            os.kill(child, signal.SIGKILL)
        with pytest.raises(Momentary, match="ended before"):
            asked.unexpected()
    with expectations_of(manifest()) as asked:
        assert asked.unexpected() == {}


def test_what_fails_there_is_told_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "question_of", lambda frame: b"no Parquet")
    with expectations_of(manifest()) as asked, pytest.raises(RuntimeError, match="magic bytes"):
        asked.unexpected()


def test_one_process_answers_one_validation_after_the_other(tmp_path: Path) -> None:
    run = Run(open_store(str(tmp_path)), "first", Retraining(), "validate")
    found = Finding(
        law="undecodable",
        description="",
        count=1,
        severity="warning",
        consequence="",
        remark="",
        examples=(),
    )
    before = connection_to()
    for _ in range(2):
        with expectations_of(manifest()) as asked:
            pages = [each.key.rpartition("/")[2] for each in asked.keep_docs(run, (found,))]
        assert pages[0] == "index.html"
        assert len(pages) == 5
    assert connection_to() is before


def test_the_process_ends_with_the_one_that_asks_even_if_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import time; from tasks.validation.library_process import start; start(); time.sleep(60)"
    )
    asking = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)

    until = time.monotonic() + 20
    while not children(asking.pid) and time.monotonic() < until:
        time.sleep(0.1)
    (child,) = children(asking.pid)
    asking.kill()
    asking.wait()
    while Path(f"/proc/{child}").exists() and time.monotonic() < until + 20:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()
