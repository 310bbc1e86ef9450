"""Steps in processes of their own, killed for real."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tasks.config import Retraining
from tasks.engine.run import open_run
from tasks.engine.storage import open_store
from tasks.intake.deliver import deliver
from tasks.intake.kept_features import DIGEST
from tasks.intake.synthesize import synthesize
from tasks.pipeline import PIPELINE
from tasks.records.record import Record, artifacts_of, sha256
from tests.support.paths import ROOT

STEPS = [step.name for step in PIPELINE]
CONFIG = json.dumps(
    {
        "image_size": 32,
        "packed_size": 64,
        "recipes": ["baseline"],
        "epochs": 1,
        "minimum_groups": 3,
        "policy": "smoke",  # so that there is something to register
    }
)


def delivered_to(folder: Path) -> Path:
    """A store with synthetic images under ``raw/``, and nothing else."""
    synthesize(folder / "images", scale=0.3)
    deliver(open_store(str(folder / "store")), folder / "images")
    return folder / "store"


def start(
    step: str, store: Path, name: str = "killed", config: str = CONFIG
) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tasks", step, "--run", f"{store}/runs/{name}"]
    return subprocess.Popen(
        [*argv, "--config", config],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def complete(step: str, store: Path, name: str = "killed", config: str = CONFIG) -> None:
    process = start(step, store, name, config)
    _, said = process.communicate(timeout=900)
    assert process.returncode == 0, said


def record_of(step: str, store: Path, name: str = "killed") -> Record | None:
    return open_run(f"{store}/runs/{name}", Retraining()).record(step)


def files(store: Path) -> set[str]:
    """Everything that a step may write."""
    walks = [step for place in ("runs", "shared") for step in os.walk(store / place)]
    return {os.path.join(base, name) for base, _, names in walks for name in names}


def kill(process: subprocess.Popen[str], when: Callable[[], bool]) -> bool:
    """Kill it as soon as `when` holds; False if it had ended before."""
    while process.poll() is None:
        if when():
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return process.returncode == -signal.SIGKILL
        time.sleep(0.003)
    process.communicate()
    return False


def after_files(store: Path, count: int) -> Callable[[], bool]:
    """Once so many files are there that were not there before."""
    before = files(store)
    return lambda: len(files(store) - before) >= count


def assert_nothing_half_is_trusted(store: Path, step: str, name: str = "killed") -> None:
    """There is no record, or one of which every byte that it vouches for is there."""
    run = open_run(f"{store}/runs/{name}", Retraining())
    record = run.record(step)
    if record:
        for artifact in artifacts_of(record):
            run.fetch(artifact)
    for note in run.store.list("shared/reuse/"):
        of_step = note.key.removeprefix("shared/reuse/").rpartition("/")[0]
        earlier = json.loads(run.store.read(note.key))["run"]
        assert record_of(of_step, store, earlier) is not None
    for shared in run.store.list("shared/"):
        _, kind, name = shared.key.split("/", 2)
        data = run.store.read(shared.key)
        if kind == "features":  # named after the shard; begins with the hash of the rest
            assert sha256(data[DIGEST:]) == data[:DIGEST].hex()
        # All others but these four are named after the hash of what they hold.
        elif kind not in ("reuse", "decoded", "packs", "latest"):
            assert sha256(data) == Path(name).stem
