"""Recognize pictures that models were judged on before, though files or names are others now.

Whoever codes or names the images of an external set anew has no new set.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.engine.judged import DIGITS, Judged
from tasks.intake.cells import spelling
from tasks.intake.likeness import MAXIMUM_DISTANCE
from tasks.intake.scopes import ALIKE, LOCAL

Array = np.ndarray[Any, Any]

LIKENESS = "likeness"  # column of predictions on an external set: the perceptual hash
BLOCK = 512  # rows that are compared at once: 512 x 10,000 hashes take 40 MiB


def matches(rows: pd.DataFrame, images: Sequence[Judged], *, one_place: bool) -> pd.DataFrame:
    """Pairs of a row and a judged image that show the same picture.

    They have the same pixels; or the same id in any spelling, where cameras do not write such ids
    or both are of one set; or perceptual hashes that differ in at most `MAXIMUM_DISTANCE` bits. Of
    400 images of the public nine-class set, coded anew at JPEG quality 80, the hash knows 398; at
    quality 50 and 80 % of the size, 374. Of 400 images of another archive it takes at most 4 for
    one of these 400.

    Args:
        rows: ``image_id``, ``pixel_hash``, and `LIKENESS` or ``perceptual_hash`` if known.
        images: The judged images.
        one_place: Whether rows and images are of one external set.

    Returns:
        ``row`` and ``image`` (positions), and ``other``: whether the pictures look different
        though their ids are the same. The surest match of a row comes first.
    """
    mine = _named(rows["pixel_hash"].astype(str).str[:DIGITS], rows["image_id"], "row")
    theirs = _named([each.pixels for each in images], [each.image_id for each in images], "image")
    named = mine[mine["id"] != ""]
    if not one_place:
        named = named[~named["id"].map(_is_local).astype(bool)]
    one, other = _numbers(_likeness_of(rows)), _numbers([each.likeness for each in images])
    found = [
        mine.merge(theirs[theirs["pixels"] != ""], on="pixels").assign(sure=0),
        named.merge(theirs, on="id").assign(sure=1),
        _alike(one, other).assign(sure=2),
    ]
    pairs = pd.concat([each[["row", "image", "sure"]] for each in found], ignore_index=True)
    pairs = pairs.astype(int).sort_values(["row", "sure"])
    pairs = pairs.drop_duplicates(["row", "image"], ignore_index=True)
    ours, others = one[pairs["row"].to_numpy(int)], other[pairs["image"].to_numpy(int)]
    far = np.bitwise_count(ours ^ others) > ALIKE
    known = (ours != 0) & (others != 0)
    return pairs.assign(other=(pairs["sure"] == 1).to_numpy() & far & known)


def _named(pixels: Iterable[str], ids: Iterable[Any], place: str) -> pd.DataFrame:
    """The names of images, in the spelling that counts, with their positions in a column."""
    names = [spelling(str(each)) for each in ids]
    frame = pd.DataFrame({"pixels": list(pixels), "id": names}, dtype="str")
    return frame.assign(**{place: np.arange(len(frame))})


def _is_local(name: str) -> bool:
    return bool(LOCAL.fullmatch(name))


def _likeness_of(rows: pd.DataFrame) -> Sequence[Any]:
    name = LIKENESS if LIKENESS in rows else "perceptual_hash"
    return list(rows[name]) if name in rows else [None] * len(rows)


def _numbers(hashes: Sequence[Any]) -> Array:
    """Hashes as numbers of 64 bits; 0 where there is none."""
    return np.array([int(each, 16) if isinstance(each, str) and each else 0 for each in hashes],
                    np.uint64)  # fmt: skip


def _alike(one: Array, other: Array) -> pd.DataFrame:
    """The pairs of hashes that differ in few bits."""
    here, there = np.flatnonzero(one), np.flatnonzero(other)
    rows, images = [np.empty(0, int)], [np.empty(0, int)]
    for start in range(0, len(here), BLOCK):
        block = here[start : start + BLOCK]
        apart = np.bitwise_count(one[block, None] ^ other[None, there])
        near, of = np.nonzero(apart <= MAXIMUM_DISTANCE)
        rows.append(block[near])
        images.append(there[of])
    return pd.DataFrame({"row": np.concatenate(rows), "image": np.concatenate(images)})
