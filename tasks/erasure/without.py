"""Bytes without what is erased: tables, shards, golden images, lists.

A row of a sealed table stays, with the image's id, its side, its label and its scores: the figures
and the split of a sealed bundle follow from them, and the append-only ledger names the id anyway.
Its pictures, and what was told of image and patient, go.
"""

import io
import json

import numpy as np
import pandas as pd
from PIL import Image

from tasks.engine.spreadsheet import csv_of, to_csv
from tasks.erasure.scope import Scope
from tasks.intake.images import FORMATS
from tasks.intake.manifest import parquet_of, to_npy, to_parquet
from tasks.records.record import sha256
from tasks.release.golden import Answers

# Columns that go, of a row that stays.
FACTS = (
    *("size_bytes", "sha256", "width", "height", "mode", "format", "thumbnail"),
    *("red", "green", "blue", "perceptual_hash", "reason", "shard", "shard_sha256", "index"),
    *("encoding", "camera", "surroundings"),
    *("lesion_id", "patient_id", "age_years", "sex", "site", "archive_diagnosis"),
    *("contradiction", "other_metadata", "skin_tone", "sharpness", "tags"),
)
PAIR = {"first", "second"}
GREY = 128


def table_without(data: bytes, scope: Scope) -> bytes:
    """A table (Parquet) without the facts about erased images; the same bytes if it has none."""
    frame = parquet_of(data)
    own = scope.holds(frame)
    if set(frame) >= PAIR:
        return to_parquet(frame[~own].reset_index(drop=True)) if own.any() else data
    if "source_key" in frame:  # copies: what is in their rows is not about the image
        return data
    cleared = _cleared(frame, own)
    return data if cleared is None else to_parquet(cleared)


def csv_without(data: bytes, scope: Scope) -> bytes:
    """As `table_without`, of a table that `to_csv` wrote."""
    frame = csv_of(data)
    cleared = _cleared(frame, scope.holds(frame))
    return data if cleared is None else to_csv(cleared)


def index_without(data: bytes, scope: Scope, etags: dict[str, str]) -> bytes:
    """An index of decoded files without the rows of erased images; the same bytes if it has none.

    Args:
        data: The index.
        scope: What is erased.
        etags: The present ETag of each shard, by its key: what was blackened is read no second time
            by each run to come.
    """
    frame = parquet_of(data)
    own = scope.holds(frame)
    stays = frame[~own].reset_index(drop=True)
    blackened = stays["shard"].isin(list(scope.places))
    now = stays["shard"].map(etags)
    stale = blackened & (now != stays["shard_etag"])
    if not own.any() and not stale.any():
        return data
    stays.loc[stale, "shard_etag"] = now[stale]
    return to_parquet(stays)


def _cleared(frame: pd.DataFrame, own: pd.Series) -> pd.DataFrame | None:
    """The table with empty cells in `FACTS` of some rows; None if they are empty already."""
    changed, told = False, frame.copy()
    for name in (each for each in FACTS if each in frame):
        numbers = frame[name].dtype == "int64"  # of a column that has no empty cells
        text = name == "sha256"
        held = frame.loc[own, name]
        full = (held != 0) if numbers else (held.notna() & ~held.isin([""]))
        if full.any():
            changed = True
            told.loc[own, name] = 0 if numbers else "" if text else None
    return told if changed else None


def shard_without(data: bytes, rows: tuple[int, ...]) -> bytes:
    """A shard whose given images are black; the same bytes if they are black already."""
    pixels = np.load(io.BytesIO(data), allow_pickle=False)
    if not pixels[list(rows)].any():
        return data
    told = pixels.copy()
    told[list(rows)] = 0
    return to_npy(told)


def golden_without(pixels: bytes, answers: bytes, scope: Scope) -> tuple[bytes, bytes]:
    """The files of a bundle's golden images, without those that are erased. A kill may have left
    the one without them, and the other with them."""
    told = Answers.model_validate_json(answers)
    stays = [n for n, each in enumerate(told.images) if each.image_id not in scope.images]
    if len(stays) == len(told.images):
        return pixels, answers
    kept = told.model_copy(update={"images": tuple(told.images[n] for n in stays)})
    packed = np.load(io.BytesIO(pixels), allow_pickle=False)
    if len(packed) == len(told.images):
        buffer = io.BytesIO()
        np.save(buffer, packed[stays], allow_pickle=False)
        pixels = buffer.getvalue()
    return pixels, kept.model_dump_json(indent=1).encode()


def picture_without(data: bytes) -> bytes:
    """A grey picture of the same size, as PNG."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        size = image.size
    buffer = io.BytesIO()
    Image.new("L", size, GREY).save(buffer, "PNG")
    return buffer.getvalue()


def list_without(data: bytes, scope: Scope) -> bytes:
    """The files that a run found delivered, without those that are erased."""
    entries = json.loads(data)
    stay = [each for each in entries if each["key"] not in scope.keys]
    return data if len(stay) == len(entries) else json.dumps(stay).encode()


def digest_of(data: bytes | None) -> str:
    """SHA-256 of an object's bytes; empty for an object that goes."""
    return "" if data is None else sha256(data)
