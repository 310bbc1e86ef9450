"""Runs of the pipeline that benchmarks are about, each in a process of its own as Airflow's are."""

import subprocess
import sys
from pathlib import Path

from tasks.config import Retraining
from tasks.engine.run import Run, open_run
from tasks.records.trained import TrainedRecipe


def run_until(
    step: str, images: Path, metadata: Path, store: Path | str, name: str, config: Retraining
) -> Run:
    """Deliver a folder, and run the pipeline up to a step; what the store holds of it stands."""
    argv = ["run", "--store", str(store), "--name", name, "--until", step]
    delivery = ["--images", str(images), "--metadata", str(metadata)]
    told = ["--config", config.model_dump_json()]
    subprocess.run([sys.executable, "-m", "tasks", *argv, *delivery, *told], check=True)
    return open_run(f"{store}/runs/{name}", config)


def images_shown(trained: TrainedRecipe, config: Retraining) -> int:
    """How many images one epoch showed; ``residual`` and ``travel`` show whole batches only."""
    batch = config.residual_batch_size if trained.recipe in ("residual", "travel") else 1
    return trained.images // batch * batch
