"""Which images show what a model knows already."""

import numpy as np
import pandas as pd

from tasks.intake.images import THUMBNAIL_PX
from tasks.intake.likeness import near_duplicates

SHARED = {
    "image_id": "the same image as",
    "pixel_hash": "the same pixels as",
    "lesion_id": "the same lesion as",
    "patient_id": "the same patient as",
}


def overlap(
    rows: pd.DataFrame, known: pd.DataFrame, how: str = "which it learned from"
) -> pd.Series:
    """Which rows show what the model learned from, and how that is known.

    Args:
        rows, known: With ``image_id``, ``pixel_hash``, ``thumbnail``, ``lesion_id``,
            ``patient_id``; index 0 to n - 1.
        how: What is said of the known images.

    Returns:
        str, indexed by those of `rows`: in words, with the image that is known.
    """
    found: dict[int, str] = {}
    for column, words in SHARED.items():
        seen = (
            known.dropna(subset=[column])
            .drop_duplicates(column)
            .set_index(column, drop=False)["image_id"]
        )
        for row, value in rows[column].dropna().items():
            if value in seen.index:
                found.setdefault(int(str(row)), f"{words} {seen[value]}, {how}")
    planes = [
        np.frombuffer(b"".join(each["thumbnail"]), np.uint8).reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)
        for each in (rows, known)
    ]
    ours = np.arange(len(rows) + len(known)) < len(rows)
    pairs = near_duplicates(np.concatenate(planes), ours)
    across = pairs[(pairs["first"] < len(rows)) & (pairs["second"] >= len(rows))]
    places = across[["first", "second"]].to_numpy(int)
    for (first, second), correlation in zip(places, across["correlation"], strict=True):
        like = known["image_id"].iloc[second - len(rows)]
        found.setdefault(
            int(first),
            f"a near duplicate (correlation {correlation:.2f}) of {like}, {how}",
        )
    return pd.Series(found, dtype="str").sort_index()
