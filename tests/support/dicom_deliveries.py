"""Deliveries of DICOMs, and what ingest makes of them."""

from pathlib import Path
from typing import Any

import pandas as pd

from tasks.engine.storage import open_store
from tasks.intake.deliver import deliver
from tasks.intake.manifest import BYTES, read_parquet
from tasks.records.ingested import Ingested
from tests.support.deliveries import do, run_of
from tests.support.dicoms import encapsulated, jpeg, photograph


def put(folder: Path, name: str, number: int, **tags: Any) -> Path:
    """A DICOM below a folder, with pixels of its own."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = photograph(number)
    path.write_bytes(encapsulated(jpeg(rgb), rgb, number=number, **tags))
    return path


def table(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.csv").write_text(text)
    return folder


def text_of(manifest: pd.DataFrame, record: Ingested) -> str:
    return manifest.drop(columns=list(BYTES)).to_csv() + record.model_dump_json()


def manifest_of(
    to: Path, images: Path, metadata: Path | None = None, name: str = "test"
) -> tuple[pd.DataFrame, Ingested]:
    store = open_store(str(to / "store"))
    deliver(store, images, metadata)
    return ingested(to, name)


def ingested(to: Path, name: str = "test") -> tuple[pd.DataFrame, Ingested]:
    run = run_of(open_store(str(to / "store")), name)
    record = do(run, "ingest")
    return read_parquet(run, record.manifest).set_index("image_id"), record
