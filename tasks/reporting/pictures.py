"""The pictures of a report: a few of each class, and the melanomas that were missed."""

import io
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from tasks.engine.run import Run
from tasks.errors import BadInput
from tasks.intake.images import FORMATS, THUMBNAIL_PX
from tasks.intake.manifest import pixels_of, read_parquet
from tasks.lesions import DIAGNOSES, MELANOMA, Diagnosis
from tasks.records.evaluated import MissedMelanoma
from tasks.records.record import Artifact

EACH_CLASS = 5  # pictures of each class: the page stays under 1 MB
MISSED_SHOWN = 24
THUMB_PX = 112
SMALL_PX = 72  # side of pictures of quarantined images, which may be many
MOST_UNPACKED = 10_000  # most images in the shards to fetch for pictures: 1 GB at 180 px
MAP_PX = 280  # two pictures side by side


class Picture(NamedTuple):
    """A small picture, as a ``data:`` address, with the id and label of its image."""

    source: str
    image_id: str
    label: str


def samples(run: Run, source: Artifact) -> dict[Diagnosis, list[Picture]]:
    """Some pictures of each class.

    Args:
        run: Names the store with the pixels.
        source: A manifest, or a later table with the same columns.
    """
    rows = _shown(run, source)
    return {
        name: _thumbnails(run, _some(of_class))
        for name in DIAGNOSES
        if len(of_class := rows[rows["label"] == name])
    }


def missed(
    run: Run, source: Artifact, lesions: Sequence[MissedMelanoma]
) -> list[tuple[MissedMelanoma, Picture | None]]:
    """At most 24 missed lesions, each with a picture: the saliency map, else the first image; None
    if the image is not in the table."""
    shown = lesions[:MISSED_SHOWN]
    bare = [each.image_ids[0] for each in shown if each.saliency is None]
    rows = _shown(run, source)
    plain = {
        picture.image_id: picture
        for picture in _thumbnails(
            run, rows[rows["image_id"].isin(bare)].drop_duplicates("image_id")
        )
    }
    return [
        (each, _map(run, each) if each.saliency else plain.get(each.image_ids[0])) for each in shown
    ]


def _map(run: Run, lesion: MissedMelanoma) -> Picture:
    assert lesion.saliency
    with Image.open(io.BytesIO(run.fetch(lesion.saliency)), formats=FORMATS) as image:
        pixels = np.asarray(image.convert("RGB"))
    return Picture(_data_address(pixels, MAP_PX), lesion.image_ids[0], MELANOMA)


def by_key(run: Run, manifest: pd.DataFrame, keys: Sequence[str]) -> dict[str, str]:
    """A ``data:`` address for each of these files that has pixels, by its key.

    The picture is in colour if few shards must be fetched. Otherwise, and where a shard is damaged,
    it is the grey thumbnail of the manifest.
    """
    seen = manifest[manifest["key"].isin(keys) & manifest["thumbnail"].notna()]
    pictures = {
        str(key): _data_address(np.frombuffer(plane, np.uint8).reshape(THUMBNAIL_PX, -1))
        for key, plane in zip(seen["key"], seen["thumbnail"], strict=True)
    }
    often = seen["shard"].value_counts().index
    unpacked = manifest["shard"].value_counts()[often].cumsum()
    near = often[unpacked <= MOST_UNPACKED]
    for _, of_shard in seen[seen["shard"].isin(near)].groupby("shard"):
        with suppress(BadInput):
            pixels = pixels_of(run, of_shard)
            pictures |= {
                str(key): _data_address(each, SMALL_PX)
                for key, each in zip(of_shard["key"], pixels, strict=True)
            }
    return pictures


def _shown(run: Run, source: Artifact) -> pd.DataFrame:
    rows = read_parquet(run, source)
    return rows[rows["shard"].notna() & rows["label"].notna()]


def _some(rows: pd.DataFrame) -> pd.DataFrame:
    """A few rows from one shard, because a shard has 50 MB; one row per lesion if possible."""
    near = rows[rows["shard"] == rows["shard"].mode()[0]]
    lesions = near.assign(lesion=near["lesion_id"].fillna(near["image_id"]))
    apart = lesions.drop_duplicates("lesion")
    enough = apart if len(apart) >= EACH_CLASS else lesions
    some: pd.DataFrame = enough.sample(min(EACH_CLASS, len(enough)), random_state=1)
    return some.sort_values("key")


def _thumbnails(run: Run, rows: pd.DataFrame) -> list[Picture]:
    return [
        Picture(_data_address(pixels), str(image_id), str(label))
        for pixels, image_id, label in zip(
            pixels_of(run, rows), rows["image_id"], rows["label"], strict=True
        )
    ]


def _data_address(pixels: "np.ndarray[Any, np.dtype[np.uint8]]", side: int = THUMB_PX) -> str:
    """Convert pixels, uint8 ``(px, px, 3)`` or ``(px, px)``, to a small JPEG in an address."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode()
