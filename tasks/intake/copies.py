"""Find copies of pictures: cropped, turned by any angle, mirrored, framed, written on, recoloured,
photographed again.

`tasks.intake.candidates` proposes pairs. A pair is confirmed if the features of one lie in the
other where one affine map puts them. A ruler, a frame, a line of text or a watermark lies alike in
pictures of different lesions; so the features that agree must also be a good part of all features
that both pictures show, be spread over what both show, and not lie in one narrow strip: a strip and
one feature elsewhere, which agrees by chance, are all that fixes an affine map.

Two photographs of one lesion, taken alike, are found as well: the skin has the same features in
both. `tasks.intake.same_pixels` tells them from copies. docs/benchmarks.md says how often, and what
is known of the few pairs of which the tables name two lesions.
"""

from typing import Any

import cv2
import numpy as np
import pandas as pd

from tasks.intake.candidates import TURNS, candidates
from tasks.intake.local_features import (
    ANGLES,
    SIDE_PX,
    SIZES,
    LocalFeatures,
    mirrored,
    side_by_side,
)

Array = np.ndarray[Any, Any]

# A feature is matched if the next best is clearly farther (Lowe 2004).
RATIO = 0.8
TOLERANCE_PX = 3.0  # of a feature to where the map puts it, in the square of 128 px
TRIALS, CONFIDENCE = 300, 0.999  # of RANSAC, which OpenCV begins with the same seed each time
LARGEST_STRETCH = 3.0  # of a map, in any direction

FEWEST_ALIKE = 6  # matches that turn and grow alike, before a map is sought
FEWEST_INLIERS = 10
MEASURES = ("inliers", "share", "fields", "outside")
NOTHING = (0, 0.0, 0.0, 0)
FIELDS = 4  # fields across what both pictures show, for the spread
STRIP_PX, STRIPS = 12.0, 12  # width of a strip in the square, and the directions that are tried
# Limits of the other measures. Of planted copies at the strongest alterations, 2 in 100 have a
# share below 0.08 or 0.38 of the fields. Of 250 images of ISIC 2017 under one line of text, two,
# or a stamp, 582 pairs passed all other limits with at most 5 inliers outside of a strip; of
# 200 copies of each kind at most 1 has fewer than 6, but for those photographed from a screen.
LEAST_SHARE, LEAST_FIELDS, FEWEST_OUTSIDE = 0.06, 0.25, 6


def copies_among(features: LocalFeatures, of: Array | None = None) -> pd.DataFrame:
    """Pairs of pictures that are copies of each other.

    Args:
        features: Of all pictures, n of them.
        of: bool ``(n,)``; which pictures to compare with all others; all, if left out. Several
            calls that together cover all pictures find the same pairs as one call for all.

    Returns:
        One row per pair, in order: ``first`` < ``second`` (positions), ``mirrored``, and `MEASURES`
        (see `measured`).
    """
    return confirmed(measured(features, proposed(features, of)))


def proposed(features: LocalFeatures, of: Array | None = None) -> pd.DataFrame:
    """Pairs that may be copies, each once: ``first`` < ``second``, ``mirrored``; see
    `copies_among`."""
    chosen = np.arange(len(features.counts)) if of is None else np.flatnonzero(of)
    found = candidates(features, chosen)
    ends = np.sort(found[["picture", "other"]].to_numpy(int), axis=1)
    return pd.DataFrame(
        {"first": ends[:, 0], "second": ends[:, 1], "mirrored": found["mirrored"].astype(bool)}
    ).drop_duplicates(ignore_index=True)


def are_confirmed(told: pd.DataFrame) -> pd.Series:
    """Whether each measured pair has enough in common."""
    sure = (told["inliers"] >= FEWEST_INLIERS) & (told["share"] >= LEAST_SHARE)
    return sure & (told["fields"] >= LEAST_FIELDS) & (told["outside"] >= FEWEST_OUTSIDE)


def confirmed(told: pd.DataFrame) -> pd.DataFrame:
    """The measured pairs with enough in common; of a pair, the better of plain and mirrored."""
    ends = ["first", "second"]
    best = told[are_confirmed(told)].sort_values(["inliers", "mirrored"], ascending=[False, True])
    return best.drop_duplicates(ends).sort_values(ends, ignore_index=True)


def measured(features: LocalFeatures, found: pd.DataFrame) -> pd.DataFrame:
    """What the pictures of each candidate pair have in common.

    Args:
        features: Of all pictures.
        found: ``first``, ``second``, ``mirrored``.

    Returns:
        `found` with `MEASURES`: ``inliers``, features that agree; ``share``, of the features that
        both pictures show, 0 to 1; ``fields``, of the fields of the overlap that hold features, 0
        to 1; ``outside``, inliers outside of the strip that holds most, in the picture where that
        is more.
    """
    ends = list(found[["first", "second", "mirrored"]].itertuples(index=False, name=None))
    told = side_by_side(lambda each: _measured(features, *each), ends)
    return found.assign(
        **{name: np.array([each[at] for each in told], float) for at, name in enumerate(MEASURES)}
    )


def _measured(
    features: LocalFeatures, first: int, second: int, turned: bool
) -> tuple[int, float, float, int]:
    """`MEASURES` of two pictures."""
    agree = agreeing(features, first, second, turned)
    if agree is None:
        return NOTHING
    matrix, agreed, others = agree
    distinct, each_once = np.unique(others, axis=0, return_index=True)
    inliers = len(distinct)
    if inliers < FEWEST_INLIERS:
        return NOTHING
    here, there = _places(features, first), _places(features, second)
    mapped = here @ matrix[:, :2].T + matrix[:, 2]
    returned = (there - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    both = here[_inside(mapped)]
    shown = min(len(both), int(_inside(returned).sum()))
    cells = _fields(both, both)
    return (
        inliers,
        min(1.0, inliers / max(shown, 1)),
        len(_fields(both, agreed) & cells) / len(cells),
        max(_outside(agreed[each_once]), _outside(distinct)),
    )


def agreeing(
    features: LocalFeatures, first: int, second: int, turned: bool
) -> tuple[Array, Array, Array] | None:
    """The affine map from one picture to another, and the features that agree by it.

    Returns:
        float ``(2, 3)``, ``(n, 2)`` and ``(n, 2)``: the map, and the places of these features in
        both, in pixels of the square; None where no map fits.
    """
    mine, other = (features.of(np.array([each])) for each in (first, second))
    codes = mirrored(mine.codes) if turned else mine.codes
    all_mine, all_other = _matches(codes, other.codes)
    some_mine, some_other = _alike(mine.places, other.places, all_mine, all_other, turned)
    here, there = _places(features, first), _places(features, second)
    matrix = _map(here[some_mine], there[some_other])
    if matrix is None:
        return None
    mapped = here[all_mine] @ matrix[:, :2].T + matrix[:, 2]
    near = np.linalg.norm(mapped - there[all_other], axis=1) <= TOLERANCE_PX
    return matrix, here[all_mine[near]], there[all_other[near]]


def _places(features: LocalFeatures, picture: int) -> Array:
    """float ``(features, 2)``: where a picture's features lie, in pixels of the square."""
    return features.of(np.array([picture])).places[:, :2] / 2


def _map(here: Array, there: Array) -> Array | None:
    """float ``(2, 3)``: the affine map by which most of the points agree; None without one."""
    if len(here) < FEWEST_ALIKE:
        return None
    matrix, _ = cv2.estimateAffine2D(
        here, there,
        ransacReprojThreshold=TOLERANCE_PX, maxIters=TRIALS, confidence=CONFIDENCE,
    )  # fmt: skip
    if matrix is None or not np.isfinite(matrix).all():
        return None
    stretch = np.linalg.svd(matrix[:, :2], compute_uv=False)
    fits = stretch[0] <= LARGEST_STRETCH and stretch[1] >= 1 / LARGEST_STRETCH
    return np.asarray(matrix) if fits else None


def _matches(one: Array, two: Array) -> tuple[Array, Array]:
    """Features of `one`, and the features of `two` that they match."""
    if len(one) < 2 or len(two) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    # A matrix product would begin threads, which costs more than the product where others work.
    away, nearest = cv2.batchDistance(
        one.astype(np.float32), two.astype(np.float32), cv2.CV_32F,
        normType=cv2.NORM_L2SQR, K=2,
    )  # fmt: skip
    clear = away[:, 0] < RATIO**2 * away[:, 1]
    return np.flatnonzero(clear), nearest[clear, 0]


def _alike(one: Array, two: Array, mine: Array, other: Array, turned: bool) -> tuple[Array, Array]:
    """The matches that turn and grow alike, so that few trials find the map."""
    if not len(mine):
        return mine, other
    a, b = one[mine].astype(int), two[other].astype(int)
    turn = (b[:, 2] + a[:, 2] if turned else b[:, 2] - a[:, 2]) % ANGLES * TURNS // ANGLES
    growth = (b[:, 3] - a[:, 3]) // SIZES * 2 + (b[:, 3] - a[:, 3]) % SIZES * 2 // SIZES
    votes = np.zeros((TURNS, 64), int)
    np.add.at(votes, (turn, growth + 32), 1)
    windows = votes + np.roll(votes, -1, axis=0)
    windows[:, :-1] += windows[:, 1:].copy()
    best, low = np.unravel_index(windows.argmax(), windows.shape)
    wanted = ((turn - best) % TURNS <= 1) & ((growth + 32 - low >= 0) & (growth + 32 - low <= 1))
    return mine[wanted], other[wanted]


def _outside(points: Array) -> int:
    """How many points lie outside of the strip that holds most of them."""
    turns = np.pi * np.arange(STRIPS) / STRIPS
    across = np.sort(points @ np.stack([np.cos(turns), np.sin(turns)]), axis=0)
    ends = [np.searchsorted(each, each + STRIP_PX, side="right") for each in across.T]
    held = max(int((each - np.arange(len(points))).max()) for each in ends)
    return len(points) - held


def _inside(points: Array) -> Array:
    return np.asarray(((points >= 0) & (points < SIDE_PX)).all(axis=1))


def _fields(both: Array, points: Array) -> set[tuple[int, int]]:
    low, high = both.min(axis=0), both.max(axis=0)
    cells = np.clip((points - low) / np.maximum(high - low, 1) * FIELDS, 0, FIELDS - 1).astype(int)
    return {(int(x), int(y)) for x, y in cells}
