"""Many kills at moments that nobody chose: nothing half done is trusted, and the work completes."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.campaigns import found
from tests.support.kills import (
    STEPS,
    after_files,
    assert_nothing_half_is_trusted,
    complete,
    delivered_to,
    kill,
    record_of,
    start,
)
from tests.support.paths import ROOT

KILLS = int(os.environ.get("KILLS", "1000"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delivered_to(tmp_path_factory.mktemp("kills"))


def moment(store: Path, chance: random.Random) -> Callable[[], bool]:
    """After the first files of an attempt, or any time within the usual length of a step."""
    if chance.random() < 0.5:
        return after_files(store, chance.randint(1, 4))
    deadline = time.monotonic() + chance.uniform(0.2, 8)
    return lambda: time.monotonic() > deadline


@pytest.mark.parametrize("step", STEPS)
def test_no_kill_at_any_moment_leaves_anything_that_is_trusted(place: Path, step: str) -> None:
    for earlier in STEPS[: STEPS.index(step)]:
        if record_of(earlier, place) is None:
            complete(earlier, place)
    before = place.with_name("before")
    shutil.copytree(place, before)
    chance, killed, ended = random.Random(step), 0, 0
    while killed < KILLS // len(STEPS):
        if record_of(step, place) is not None:  # it was faster than its killer
            ended += 1
            assert ended < KILLS, "the step ends before it can be killed"
            shutil.rmtree(place)
            shutil.copytree(before, place)
        killed += kill(start(step, place), moment(place, chance))
        assert_nothing_half_is_trusted(place, step)
    shutil.rmtree(before)
    complete(step, place)
    assert_nothing_half_is_trusted(place, step)
    found("kills", {step: {"killed": killed, "ended before its kill": ended}})


def test_no_kill_while_mlflows_database_is_made_leaves_a_store_that_does_not_work() -> None:
    """After each 3 % of its making."""
    test = "tests/registry/test_database.py::test_a_kill_at_any_moment_of_its_making_leaves_a_store"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"{test}_that_works"],
        cwd=ROOT,
        env=os.environ | {"STEP": "0.03"},
        check=False,
    )
    assert done.returncode == 0
    found("kills", {"the making of MLflow's database": {"killed": "after each 3 %"}})
