"""The trace that an answer of the app leaves: figures of the image, and what was answered.

A trace holds no image, no name of a file, no patient and no minute. Traces are kept by hour in
``monitoring/traces/2026-11-30/14-<random>.parquet``, a new object for each batch, created once. The
drift test reads them.
"""

import io
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from tasks.engine.store import Store, read_many
from tasks.errors import BadInput, Corrupt
from tasks.evaluation.appearance import BORDER, sharpness
from tasks.evaluation.descriptor import DIMENSIONS, VERSION, descriptors_of
from tasks.intake.images import Decoded
from tasks.lesions import MELANOMA
from tasks.records.record import Frozen

Array = np.ndarray[Any, Any]

FOLDER = "monitoring/traces/"
HOUR = "%Y-%m-%dT%H"
Decision = Literal["melanoma", "not melanoma", "cannot judge"]
# Figures of the pixels, in the order of `acquisition_of`.
ACQUISITION = (
    *("red", "green", "blue", "sharpness"),
    *("border_red", "border_green", "border_blue"),
)


class Trace(Frozen):
    """One image that the app was asked about."""

    hour: str = Field(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}$", description="Hour of the answer, UTC: 2026-11-30T14."
    )
    lesion: str = Field(
        pattern=r"^[0-9a-f]{16}$",
        description="Random; the images of one lesion in one request share it, and nothing else.",
    )
    version: int = Field(ge=1, description="Number of the model's version in MLflow.")
    model_sha256: str = Field(description="SHA-256 of the model's ``.keras`` file.")
    width: int = Field(ge=1, description="Width of the image as it was sent, pixels, upright.")
    height: int = Field(ge=1, description="Height, pixels, upright.")
    format: str = Field(description="Format of the file, as ingest names it, such as JPEG.")
    encoding: str = Field(description="As `tasks.intake.encoding` names it; empty for no JPEG.")
    packed_px: int = Field(ge=1, description="Side to which the pixels were squeezed.")
    red: float = Field(description="Mean of all pixels, 0 to 255.")
    green: float = Field(description="Mean of all pixels, 0 to 255.")
    blue: float = Field(description="Mean of all pixels, 0 to 255.")
    sharpness: float = Field(description="See `tasks.evaluation.appearance.sharpness`.")
    border_red: float = Field(description="Median of the border, which shows skin, 0 to 255.")
    border_green: float = Field(description="Median of the border, 0 to 255.")
    border_blue: float = Field(description="Median of the border, 0 to 255.")
    descriptor_version: int = Field(ge=1, description="`tasks.evaluation.descriptor.VERSION`.")
    descriptor: tuple[float, ...] = Field(description="`tasks.evaluation.descriptor.NAMES`.")
    melanoma_probability: float | None = Field(
        ge=0, le=1, description="Of the lesion, calibrated; None where the model cannot judge."
    )
    answered: str | None = Field(
        description="The most probable class of the lesion; None where the model cannot judge."
    )
    decision: Decision = Field(description="The app's call for the lesion.")
    refused: tuple[str, ...] = Field(
        description="Why the model could not judge this image, in the app's words; empty where "
        "nothing was wrong with it."
    )

    @field_validator("descriptor")
    @classmethod
    def _is_whole(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) != DIMENSIONS or not np.isfinite(value).all():
            raise ValueError(f"a descriptor is {DIMENSIONS} finite numbers")
        return value


def new_lesion() -> str:
    """A random number for the images of one lesion in one request."""
    return secrets.token_hex(8)


def traces_of(
    images: Sequence[Decoded],
    *,
    now: datetime,
    lesion: str,
    version: int,
    model_sha256: str,
    probabilities: dict[str, float],
    decision: Decision,
    refused: Sequence[tuple[str, ...]],
) -> list[Trace]:
    """The traces of the images of one lesion.

    Args:
        images: The images as `tasks.intake.contents.pictures_of` gives them, packed as for the
            model's training. What `tasks.intake.images.decode` alone gives names no encoding.
        now: Time of the answer, with a time zone; only the hour is kept.
        lesion: See `new_lesion`.
        version, model_sha256: The model that answered.
        probabilities: Calibrated probability of each class for the lesion; empty where the model
            could not judge.
        decision: The app's call for the lesion.
        refused: What is wrong with each image; empty where nothing is.
    """
    pixels = np.stack([image.pixels for image in images])
    figures, described = acquisition_of(pixels), descriptors_of(pixels)
    most = max(probabilities, key=lambda name: probabilities[name]) if probabilities else None
    return [
        Trace(
            hour=now.astimezone(UTC).strftime(HOUR),
            lesion=lesion,
            version=version,
            model_sha256=model_sha256,
            width=image.width,
            height=image.height,
            format=image.format,
            encoding=image.encoding,
            packed_px=pixels.shape[1],
            **dict(zip(ACQUISITION, map(float, row), strict=True)),
            descriptor_version=VERSION,
            descriptor=tuple(map(float, vector)),
            melanoma_probability=probabilities.get(MELANOMA),
            answered=most,
            decision=decision,
            refused=wrong,
        )
        for image, row, vector, wrong in zip(images, figures, described, refused, strict=True)
    ]


def acquisition_of(pixels: Array) -> Array:
    """The figures `ACQUISITION` of images.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255.

    Returns:
        float ``(n, 7)``: levels 0 to 255; sharpness has no upper limit.
    """
    side = pixels.shape[1]
    wide = max(1, round(BORDER * side))
    around = np.ones((side, side), bool)
    around[wide:-wide, wide:-wide] = False
    means = pixels.mean(axis=(1, 2))
    borders = np.array([np.median(image[around], axis=0) for image in pixels]).reshape(-1, 3)
    return np.column_stack([means, sharpness(pixels), borders])


def write(store: Store, traces: Iterable[Trace]) -> list[str]:
    """Keep traces: one new object for each hour among them; returns the keys.

    Raises:
        Momentary: The store does not answer.
    """
    hours: dict[str, list[Trace]] = {}
    for trace in traces:
        hours.setdefault(trace.hour, []).append(trace)
    keys = []
    for hour, rows in hours.items():
        day, _, at = hour.partition("T")
        key = f"{FOLDER}{day}/{at}-{secrets.token_hex(8)}.parquet"
        buffer = io.BytesIO()
        table_of(rows).to_parquet(buffer, index=False, compression="zstd")
        store.create(key, buffer.getvalue())
        keys.append(key)
    return keys


def table_of(traces: Iterable[Trace]) -> pd.DataFrame:
    """Traces as a table with the fields of `Trace` as columns."""
    rows = [trace.model_dump() for trace in traces]
    frame = pd.DataFrame(rows, columns=list(Trace.model_fields))
    # A column of None alone would be written without a type.
    return frame.astype({"melanoma_probability": "float64", "answered": "str"})


def read(store: Store, since: datetime, until: datetime) -> pd.DataFrame:
    """The traces of whole hours, `since` at or before the hour, and `until` after it.

    Args:
        store: The store.
        since, until: Times with a time zone.

    Returns:
        The fields of `Trace` as columns, by hour and lesion. ``descriptor`` holds one array a row,
        see `descriptors_in`.

    Raises:
        BadInput: `until` does not come after `since`.
        Corrupt: An object is no table of traces.
    """
    first, last = (each.astimezone(UTC) for each in (since, until))
    if last <= first:
        raise BadInput(
            "There is no time to look at.",
            expected="a time that ends after it begins",
            received=f"from {first.isoformat()} until {last.isoformat()}",
            do="correct the times",
        )
    days = [first.date() + timedelta(days) for days in range((last.date() - first.date()).days + 1)]
    keys = [entry.key for day in days for entry in store.list(f"{FOLDER}{day.isoformat()}/")]
    parts = [_table(key, data) for key, data in zip(keys, read_many(store, keys), strict=True)]
    frame = pd.concat([table_of([]), *parts], ignore_index=True)
    wanted = (frame["hour"] >= first.strftime(HOUR)) & (frame["hour"] < last.strftime(HOUR))
    return frame[wanted].sort_values(["hour", "lesion"], kind="stable", ignore_index=True)


def _table(key: str, data: bytes) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(io.BytesIO(data))
        missing = set(Trace.model_fields) - set(frame.columns)
        problem = f"no column {', '.join(sorted(missing))}" if missing else ""
    except (OSError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
    if problem:
        raise Corrupt(
            "Traces of the app's answers cannot be read.",
            expected=f"{key} as the app wrote it",
            received=problem,
            do="find out who changed it; restore it from a backup, or remove it and say so",
        )
    return frame[list(Trace.model_fields)]


def descriptors_in(frame: pd.DataFrame) -> Array:
    """The descriptors of a table's rows, float32 ``(rows, DIMENSIONS)``."""
    rows = [np.asarray(each, np.float32) for each in frame["descriptor"]]
    return np.array(rows, np.float32).reshape(len(frame), DIMENSIONS)
