"""Merge the small packs that many small deliveries leave.

A delivery makes a pack in each bucket that it reaches, however few its files are, and a step that
reads pixels asks the store once for each pack. So a part that fetches new files also copies the
pixels of small packs together, bucket by bucket.

Nothing is rewritten. A merged pack is a new object, and a new table under ``shared/decoded/`` names
its places, which `contents.in_largest_packs` prefers. Records of earlier runs go on naming the
packs that they named; `prune` removes a small pack once no needed run names the pack.
"""

import logging
from collections.abc import Iterator

import pandas as pd

from tasks.engine.run import Run
from tasks.figures import plural
from tasks.intake.manifest import IMAGES_PER_SHARD, file_of, pixels_of, to_npy
from tasks.parts import bucket_of

log = logging.getLogger(__name__)

SMALL = IMAGES_PER_SHARD // 2  # images; a pack of fewer is worth copying
# Small packs of one bucket that stay as they are. More packs cost requests at each reading, fewer
# cost copying at each delivery: an image of a bucket that gains one image with each delivery is
# copied at most SMALL / MOST_SMALL = 32 times, and 3 kB of its 97 kB a delivery.
MOST_SMALL = 8
PLACE = ["shard", "shard_sha256", "index"]


def merged(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of files that earlier runs decoded, with the new places of those that were merged.

    The places depend on the rows and their buckets alone, so a killed attempt and any number of
    parts give the same.

    Args:
        run: Names the store.
        rows: Files with `contents.FILE_COLUMNS`. Where pixels are packed, ``shard`` is not missing.

    Returns:
        Only the rows whose pixels have a new place, with the same index as in `rows`.

    Raises:
        Corrupt: A pack is not the one that the rows name.
    """
    packed = rows[rows["shard"].notna()]
    told = []
    for _, mine in packed.groupby(file_of(packed).map(bucket_of), sort=True):
        count = mine.groupby("shard")["index"].nunique()
        small = count.index[count < SMALL]
        if len(small) > MOST_SMALL:
            told.append(_together(run, mine[mine["shard"].isin(small)]))
            log.info("%s of fewer than %d images are merged.", plural(len(small), "pack"), SMALL)
    return pd.concat(told) if told else rows[:0]


def _together(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of small packs, in as few packs as hold them."""
    # A content that has several names has one place.
    places = rows.sort_values("key")[PLACE].drop_duplicates(["shard", "index"])
    now = pd.concat(list(_packed(run, places)), ignore_index=True)
    old = pd.MultiIndex.from_frame(rows[["shard", "index"]])
    new = now.set_index(pd.MultiIndex.from_frame(now[["shard", "index"]]))
    told = new.loc[old, ["to", "to_sha256", "at"]].set_index(rows.index)
    return rows.assign(shard=told["to"], shard_sha256=told["to_sha256"], index=told["at"])


def _packed(run: Run, places: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(0, len(places), IMAGES_PER_SHARD):
        mine = places[start : start + IMAGES_PER_SHARD]
        pack = run.share("shards", to_npy(pixels_of(run, mine)), ".npy")
        at = pd.array(range(len(mine)), dtype="Int64")
        yield mine.assign(to=pack.key, to_sha256=pack.sha256, at=at)
