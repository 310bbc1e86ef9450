"""One run by process, one by containers: the same records."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.engine import NETWORK, give_to_containers
from tasks.config import Retraining
from tasks.engine.run import open_run
from tasks.pipeline import PIPELINE
from tests.support.containers import execute
from tests.support.paths import ROOT

CONFIG = '{"image_size": 32, "packed_size": 48, "minimum_groups": 3, "policy": "smoke"}'
STEPS = [step.name for step in PIPELINE]
# Training is not repeated bit by bit on every machine; all before it must be.
REPEATABLE = [step for step in PIPELINE if STEPS.index(step.name) < STEPS.index("train")]
each_step = pytest.mark.parametrize("step", REPEATABLE, ids=lambda step: step.name)


@pytest.fixture(scope="module")
def stores(
    container: Any, gateway: str, delivery: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A run in each place, up to training, from the same delivery."""
    from dags.places.docker import task_of

    folder = tmp_path_factory.mktemp("records")
    stores = {"process": folder / "process", "docker": folder / "docker"}
    for store in stores.values():
        shutil.copytree(delivery, store)
    give_to_containers(stores["docker"])
    for name in (step.name for step in REPEATABLE):
        options = ("--config", CONFIG, "--run")
        argv = ["-m", "tasks", name, *options, f"{stores['process']}/runs/same"]
        subprocess.run([sys.executable, *argv], cwd=ROOT, check=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MELANOMA_NETWORK", NETWORK)
            execute(task_of(name, *options, f"{stores['docker']}/runs/same"))
    return stores


def record_of(store: Path, step: str) -> Any:
    return open_run(f"{store}/runs/same", Retraining()).record(step)


@each_step
def test_a_step_gives_the_same_record_in_both_places(stores: dict[str, Path], step: Any) -> None:
    by_process, by_docker = (record_of(store, step.name) for store in stores.values())

    assert by_process.content_hash == by_docker.content_hash
    assert bool(step.needs) <= (
        by_process.provenance.fingerprint == by_docker.provenance.fingerprint
    )  # but for ingest's, which holds the time stamps of raw/


@each_step
def test_each_record_names_the_image_that_made_it(
    stores: dict[str, Path], engine: Any, step: Any
) -> None:
    image = engine.inspect_image(f"melanoma-retraining/{step.image}:latest")["Id"]

    assert record_of(stores["docker"], step.name).provenance.image == image
    assert record_of(stores["process"], step.name).provenance.image is None


@each_step
def test_the_code_of_a_step_is_the_same_in_its_image(stores: dict[str, Path], step: Any) -> None:
    by_process, by_docker = (record_of(store, step.name) for store in stores.values())

    assert by_process.provenance.code == by_docker.provenance.code
