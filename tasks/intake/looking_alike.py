"""Find pictures that look alike, by all searches together: thumbnails, local features, pixels.

Two strengths are told apart. A *copy* is the same photograph, whatever was done to it. What only
looks like the same *lesion* may be another photograph of it. Both stand on one side of the split;
only a copy proves that two labels contradict each other.
"""

import numpy as np
import pandas as pd

from tasks.engine.run import Run
from tasks.intake.copies import agreeing, are_confirmed, confirmed, measured, proposed
from tasks.intake.images import THUMBNAIL_PX
from tasks.intake.kept_comparisons import compared, names_of
from tasks.intake.kept_features import features_at
from tasks.intake.likeness import Array, near_duplicates
from tasks.intake.local_features import LocalFeatures, side_by_side
from tasks.intake.manifest import by_shard
from tasks.intake.same_pixels import LEAST_AGREEMENT, agreement, squares

ENDS = ["first", "second"]
BY_THUMBNAIL = ["distance", "correlation"]
BY_FEATURES = ["inliers", "share", "agreement"]
COLUMNS = [*ENDS, *BY_THUMBNAIL, *BY_FEATURES]
TYPES = {"first": int, "second": int} | dict.fromkeys(COLUMNS[2:], float)
AT_ONCE = 2_000  # pairs whose pixels are in memory at the same time


def alike_among(run: Run, rows: pd.DataFrame, of: Array) -> pd.DataFrame:
    """Pairs of pictures that look alike.

    Args:
        run: Names the store with the packed pixels.
        rows: Rows of manifests with ``thumbnail``, ``shard``, ``shard_sha256``, ``index``,
            ``pixel_hash`` and ``key``, none missing.
        of: bool ``(rows,)``; which rows to compare with all others.

    Returns:
        One row per pair: ``first`` and ``second`` (keys), ``distance``, ``correlation``,
        ``inliers``, ``share``, ``agreement``; see `ValidatedPart.pairs`.
    """
    planes = np.frombuffer(b"".join(rows["thumbnail"]), np.uint8)
    seen = near_duplicates(planes.reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX), of)
    found = _by_features(run, rows, features_at(run, rows, of), of)
    types = {name: TYPES[name] for name in (*ENDS, *BY_FEATURES)}
    both = seen.astype({name: TYPES[name] for name in (*ENDS, *BY_THUMBNAIL)}).merge(
        found[list(types)].astype(types), on=ENDS, how="outer"
    )
    keys = rows["key"].to_numpy()
    return both.assign(
        **{end: pd.Series(keys[both[end].to_numpy(int)], dtype="str") for end in ENDS}
    )


def are_copies(pairs: pd.DataFrame) -> pd.Series:
    """Which pairs of `alike_among` the pixels confirm to be the same photograph."""
    return pairs["agreement"].ge(LEAST_AGREEMENT)


def look_like_one_lesion(pairs: pd.DataFrame) -> pd.Series:
    """Which pairs local features alone tell: copies beyond recognition, or two photographs."""
    return pairs["correlation"].isna() & ~are_copies(pairs)


def _by_features(run: Run, rows: pd.DataFrame, features: LocalFeatures, of: Array) -> pd.DataFrame:
    """The pairs that local features confirm, with their agreement. What is known of two pictures
    is not measured again."""

    def compare(pairs: pd.DataFrame) -> pd.DataFrame:
        told = measured(features, pairs).assign(agreement=0.0)
        sure = are_confirmed(told)
        told.loc[sure, "agreement"] = _agreement(run, rows, features, told[sure])
        return told

    told = compared(run, names_of(rows), proposed(features, of), compare)
    ends = np.sort(told[ENDS].to_numpy(int), axis=1)
    return confirmed(told.assign(first=ends[:, 0], second=ends[:, 1]))


def _agreement(run: Run, rows: pd.DataFrame, features: LocalFeatures, found: pd.DataFrame) -> Array:
    """How far the pixels of each pair agree; the same pixels are not looked at."""
    hashes = rows["pixel_hash"].to_numpy()
    told = np.ones(len(found))
    open_ = np.flatnonzero(
        hashes[found["first"].to_numpy(int)] != hashes[found["second"].to_numpy(int)]
    )
    for start in range(0, len(open_), AT_ONCE):
        places = open_[start : start + AT_ONCE]
        ends = list(found.iloc[places][[*ENDS, "mirrored"]].itertuples(index=False, name=None))
        told[places] = _of_pairs(run, rows, features, ends)
    return told


def _of_pairs(
    run: Run, rows: pd.DataFrame, features: LocalFeatures, ends: list[tuple[int, int, bool]]
) -> list[float]:
    wanted = np.unique([each[:2] for each in ends])
    seen = dict(zip(wanted, _squares_of(run, rows.iloc[wanted]), strict=True))

    def agree(pair: tuple[int, int, bool]) -> float:
        found = agreeing(features, *pair)
        return agreement(seen[pair[0]], seen[pair[1]], *found) if found else 0.0

    return side_by_side(agree, ends)


def _squares_of(run: Run, rows: pd.DataFrame) -> list[Array]:
    found: list[Array] = [np.zeros(0)] * len(rows)
    for places, pixels in by_shard(run, rows):
        for place, square in zip(places, squares(pixels), strict=True):
            found[place] = square
    return found
