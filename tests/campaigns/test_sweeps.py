"""The laws of stores and of the ledger, with other random examples each time, on every backend."""

import os
import subprocess
import sys

import pytest

from tests.support.campaigns import found
from tests.support.paths import ROOT

SWEEPS = int(os.environ.get("SWEEPS", "20"))
FILES = (
    *("tests/engine/test_storage.py", "tests/engine/test_ledger.py", "tests/engine/test_parts.py"),
    *("tests/splitting", "tests/text", "tests/test_statistics.py", "tests/validation"),
)


@pytest.mark.parametrize("seed", range(SWEEPS))
def test_the_laws_hold_for_other_examples(seed: int) -> None:
    argv = ["-m", "pytest", "-q", f"--hypothesis-seed={seed}", "-p", "no:cacheprovider", *FILES]
    done = subprocess.run(
        [sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    found("sweeps", {f"seed {seed}": {"said": done.stdout.strip().splitlines()[-1].strip("= ")}})


def test_several_devices_learn_what_one_learns_with_class_weights_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/training/test_devices.py"],
        cwd=ROOT,
        env=os.environ | {"RECIPES_ON_DEVICES": "residual balanced"},
        check=False,
    )
    assert done.returncode == 0
