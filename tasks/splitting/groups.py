"""Which images belong together: they must stand on the same side of the split."""

import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Two images that share any of these show the same thing.
LINKS = ("image_id", "pixel_hash", "lesion_id", "patient_id", "near_duplicate")


def groups_of(frame: pd.DataFrame) -> pd.Series:
    """Name of the group of each row: rows linked by any chain of shared `LINKS` get one name.

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
    # A bipartite graph, images on one side and what they share on the other.
    total = len(frame) + width
    graph = coo_array(
        ([1] * len(rows), (rows, [column + len(frame) for column in columns])), shape=(total, total)
    )
    _, component = connected_components(graph, directed=False)
    members = pd.Series(component[: len(frame)], index=frame.index)
    return frame["image_id"].groupby(members).transform("min").astype("str")


def straddling(rows: pd.DataFrame) -> list[str]:
    """The groups that stand on more than one side, found anew from what the images share.

    Args:
        rows: Of the manifest, with ``side``; a column ``group`` is not believed.
    """
    sides = rows["side"].groupby(groups_of(rows)).nunique()
    return sorted(str(group) for group in sides[sides > 1].index)
