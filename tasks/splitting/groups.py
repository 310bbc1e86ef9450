"""Find groups of images that must stand on the same side of the split."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Two images that share any of these belong to the same group.
LINKS = ("image_id", "pixel_hash", "lesion_id", "patient_id", "near_duplicate")


def groups_of(frame: pd.DataFrame) -> pd.Series:
    """The group of each row: rows that are connected by a chain of shared `LINKS` form a group.

    Args:
        frame: Rows of the manifest.

    Returns:
        str, aligned with `frame`: the smallest image id of the group.
    """
    rows, columns, width = [], [], 0
    for link in LINKS:
        if link not in frame:
            continue
        codes, values = pd.factorize(frame[link])  # missing values get -1 and link nothing
        present = codes >= 0
        rows += list(present.nonzero()[0])
        columns += list(codes[present] + width)
        width += len(values)
    # A bipartite graph: images on one side, shared values on the other.
    total = len(frame) + width
    graph = coo_array(
        ([1] * len(rows), (rows, [column + len(frame) for column in columns])), shape=(total, total)
    )
    _, component = connected_components(graph, directed=False)
    members = pd.Series(component[: len(frame)], index=frame.index)
    return frame["image_id"].groupby(members).transform("min").astype("str")


def straddling(rows: pd.DataFrame) -> list[str]:
    """The groups that stand on more than one side. The groups are found anew.

    Args:
        rows: Rows of the manifest, with ``side``; a column ``group`` is ignored.
    """
    sides = rows["side"].groupby(groups_of(rows)).nunique()
    return sorted(str(group) for group in sides[sides > 1].index)


def with_near_duplicates(manifest: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The manifest with a name for each set of near duplicates."""
    # Each pair is a link; rows that are connected by links get one name.
    links = pd.concat(
        [
            pd.DataFrame({"image_id": ends, "lesion_id": np.arange(len(pairs)).astype(str)})
            for ends in (pairs["first"], pairs["second"])
        ]
    ).astype("str")
    names = dict(zip(links["image_id"], groups_of(links), strict=True))
    return manifest.assign(near_duplicate=manifest["key"].map(names).astype("str"))
