"""Small deliveries that tests put together, and the steps run on them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tasks.config import Retraining
from tasks.engine.execute import execute
from tasks.engine.run import Run
from tasks.engine.spreadsheet import csv_of
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.intake.deliver import deliver
from tasks.intake.manifest import parquet_of
from tasks.pipeline import step_named
from tasks.records.record import Artifact, Record

SMALL: dict[str, Any] = {"image_size": 32, "packed_size": 48, "minimum_groups": 2}


# Of runs of the whole pipeline; whether a model learns anything is not the question there.
WHOLE: dict[str, Any] = {
    "image_size": 32,
    "packed_size": 48,
    "recipes": ["baseline"],
    "epochs": 1,
    "minimum_groups": 3,
    "policy": "smoke",
}

# Of the runs of a store with two registered models.
OF_TWO: dict[str, Any] = {
    "epochs": 1, "minimum_groups": 4, "recipes": ("baseline",), "policy": "smoke",
}  # fmt: skip


BEFORE_REGISTER = (
    *("ingest", "validate", "split", "check_balance", "oversample"),
    *("train", "evaluate", "gate"),
)


def picture(number: int, side: int = 48) -> bytes:
    """A PNG whose pixels no other number has."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def put_lesions(store: Store, diagnosis: str, numbers: range, part: str = "Train") -> None:
    """One image of one lesion each, named after its number."""
    for number in numbers:
        store.create(f"raw/first/{part}/{diagnosis}/ISIC_{number:07d}.png", picture(number))


def delivered(images: Path, to: Path) -> Store:
    """A new store to which a folder of images was delivered."""
    store = open_store(str(to))
    deliver(store, images)
    return store


def run_of(store: Store, name: str = "test", **config: Any) -> Run:
    """A run with the policy that fits what lies in the store, if none is given."""
    drawn = any("SYNTHETIC" in entry.key for entry in store.list("raw/"))
    fitting = {"policy": "synthetic"} if drawn else {}
    return Run(store, name, Retraining(**(SMALL | fitting | config)))


def do(run: Run, *steps: str) -> Any:
    """Execute steps as the command line does; returns the last record."""
    record: Record | None = None
    for name in steps:
        record = execute(step_named(name), Run(run.store, run.name, run.config, name))
    return record


def judged_run(drawn: Path, to: Path) -> Run:
    """A run of drawn lesions in a new store whose model the gate lets pass: ready to register."""
    run = run_of(
        delivered(drawn, to), epochs=1, minimum_groups=4, policy="smoke", recipes=("baseline",)
    )
    do(run, *BEFORE_REGISTER)
    return run


def table_of(run: Run, artifact: Artifact) -> pd.DataFrame:
    data = run.fetch(artifact)
    return csv_of(data) if artifact.key.endswith(".csv") else parquet_of(data)


def folder_of(path: Path) -> set[str]:
    return {item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file()}


def delivering(store: Path, images: Path, *more: str) -> list[str]:
    return ["deliver", "--store", str(store), "--images", str(images), *more]
