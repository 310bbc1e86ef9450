"""Each step killed for real, at its first file; then run again as if nothing had happened."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.records.record import Record
from tests.support.kills import (
    CONFIG,
    STEPS,
    after_files,
    assert_nothing_half_is_trusted,
    complete,
    delivered_to,
    files,
    kill,
    record_of,
    start,
)
from tests.support.paths import ROOT

# Training is not repeated bit by bit on every machine; all before it must be.
REPEATABLE = STEPS[: STEPS.index("train")]
RANDOM = random.Random(20)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delivered_to(tmp_path_factory.mktemp("kill"))


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_step_leaves_nothing_that_is_trusted_and_completes_when_run_again(
    place: Path, step: str
) -> None:
    for earlier in STEPS[: STEPS.index(step)]:
        if record_of(earlier, place) is None:
            complete(earlier, place)

    if step == "register":
        kill_between_the_registry_and_the_record(place)
    killed = kill(start(step, place), after_files(place, 1))
    assert killed
    assert_nothing_half_is_trusted(place, step)

    complete(step, place)
    assert_nothing_half_is_trusted(place, step)
    record = record_of(step, place)
    assert record
    assert record.reason_to_stop is None


def kill_between_the_registry_and_the_record(store: Path) -> None:
    """The worst moment of all: MLflow holds the new version, and no record says so."""
    killer = (
        "import os, sys, mlflow, tasks.__main__\n"
        "mlflow.MlflowClient.set_registered_model_alias = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "tasks.__main__.main(sys.argv[1:])\n"
    )
    argv = ["register", "--run", f"{store}/runs/killed", "--config", CONFIG]
    killed = subprocess.run([sys.executable, "-c", killer, *argv], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert record_of("register", store) is None


def content(record: Record | None) -> Any:
    """What a record says, without what must differ between two runs: the later one read a ledger
    that the earlier had added to."""
    assert record
    differs = {"provenance", "data_docs", "fetched", "ledger"}
    said = record.model_dump(mode="json", exclude=differs)
    return json.loads(re.sub(r"runs/[^/]+/([a-z_]+)/[0-9a-f]{8}/", r"\1/", json.dumps(said)))


def test_what_the_killed_run_made_equals_what_an_undisturbed_run_makes(place: Path) -> None:
    for step in REPEATABLE:
        if record_of(step, place) is None:
            complete(step, place)
    for remembered in ("reuse", "decoded", "packs", "latest"):
        shutil.rmtree(place / "shared" / remembered)

    for step in REPEATABLE:
        complete(step, place, "undisturbed")

        undisturbed = record_of(step, place, "undisturbed")
        assert undisturbed
        assert undisturbed.provenance
        assert undisturbed.provenance.reused_from is None
        assert content(undisturbed) == content(record_of(step, place))


def test_a_second_model_becomes_the_second_version(place: Path) -> None:
    other = CONFIG.replace('"epochs": 1', '"epochs": 1, "seed": 7')
    argv = ["-m", "tasks", "run", "--store", str(place), "--name", "second", "--config", other]
    subprocess.run([sys.executable, *argv], cwd=ROOT, check=True)

    versions = [record_of("register", place, name) for name in ("killed", "second")]
    assert [each and each.model_dump()["version"] for each in versions] == [1, 2]


# Inside a training ------------------------------------------------------------------------------

TRAINING = json.dumps(
    json.loads(CONFIG) | {"recipes": ["residual"], "residual_epochs": 5, "checkpoint_minutes": 0}
)
KILLS = 2


def checkpoints(store: Path) -> list[str]:
    return [name for name in files(store) if name.endswith(".npz")]


def steps_further(store: Path, count: int, pause: float) -> Callable[[], bool]:
    """Once `count` checkpoints are kept that were not there before, and `pause` seconds more."""
    before, seen, since = set(checkpoints(store)), set[str](), list[float]()

    def reached() -> bool:
        seen.update(set(checkpoints(store)) - before)
        if len(seen) >= count and not since:
            since.append(time.monotonic())
        time.sleep(0.02)  # to look costs processor time, which the training needs
        return bool(since) and time.monotonic() - since[0] >= pause

    return reached


def without_time(record: Record | None) -> Any:
    """What a training says, without how long it took and where MLflow has it."""
    said = content(record)
    for recipe in said["recipes"]:
        del recipe["mlflow_run"], recipe["model"]["key"]
        for epoch in recipe["epochs"]:
            del epoch["seconds"]
    return said


def test_a_training_killed_twice_makes_the_very_model_of_one_that_was_not(place: Path) -> None:
    for step in STEPS[: STEPS.index("train")]:
        for name in ("broken_off", "whole"):
            complete(step, place, name, TRAINING)
    killed = 0
    for _ in range(KILLS):
        when = steps_further(place, RANDOM.randint(1, 2), RANDOM.uniform(0, 0.1))
        killed += kill(start("train", place, "broken_off", TRAINING), when)
    assert killed == KILLS
    assert checkpoints(place)

    complete("train", place, "broken_off", TRAINING)
    assert checkpoints(place) == []  # the record makes them superfluous
    shutil.rmtree(place / "shared" / "reuse")
    complete("train", place, "whole", TRAINING)

    one, other = (record_of("train", place, name) for name in ("broken_off", "whole"))
    assert other
    assert other.provenance
    assert other.provenance.reused_from is None
    assert without_time(one) == without_time(other)  # with the SHA-256 of the model
