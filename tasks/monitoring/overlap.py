"""Find images that a model has already learned from, or that show the same lesion or patient."""

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
    """Find the rows that share something with the known images, such as pixels or a lesion.

    Args:
        rows, known: Tables with ``image_id``, ``pixel_hash``, ``thumbnail``, ``lesion_id``,
            ``patient_id``; index 0 to n - 1.
        how: Description of the known images, for the reason.

    Returns:
        str, indexed by the rows found: the reason, with the id of the known image.
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
