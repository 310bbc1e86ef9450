"""Tell a copy of a photograph from another photograph of the same lesion, by their pixels.

Local features of the skin are the same in both. But the other photograph has other hair, light and
folds, and the skin is stretched otherwise. So one picture is laid over the other by the map that
the features give, refined by the pixels (Evangelidis and Psarakis 2008, ECC), and field by field
the fine structure of one is predicted from the three colours of the other. In a copy nearly all of
it can be predicted, whatever was done to its colours.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from tasks.intake.local_features import SIDE_PX

Array = np.ndarray[Any, Any]

FIELD_PX = 16
# Structure between these widths of a Gaussian, in pixels of the square; JPEG and a resize change
# what is finer. The coarse one is for pictures that lie alike in their frames: strong compression
# leaves no more, and no second photograph lies so.
FINE, COARSE = (0.8, 5.0), (2.0, 100.0)
WIDE = 20.0  # pixels; a wider Gaussian is computed on a quarter of the side
# Agreement of a copy. Of 465 pairs of photographs of one lesion in the nine-class set's training
# folder, 48 have it; of planted copies most, see docs/benchmarks.md.
LEAST_AGREEMENT = 0.95
LEAST_STRUCTURE = 1.0  # variance of grey levels in a field that says anything
FEWEST_FIELDS = 4
# Where no corner moves farther, the pictures are also compared without any move: of a strongly
# compressed picture, features tell the map no better.
STILL_PX = 8.0
GREY = np.array([0.299, 0.587, 0.114], np.float32)
REFINING = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
BAND = (1.5, 6.0)  # the structure by which the map is refined
NEAR_PX, TRIALS = 2.0, 300  # of the perspective map
SLACK = 0.05  # of the least squares, so that a grey picture predicts too
WHOLE = 0.99  # of a pixel that one picture must cover, and
COUNTED = 0.9  # of a field
AROUND_PX = 9  # side of what is shown around a feature


def squares(pixels: Array) -> Array:
    """uint8 ``(n, 128, 128, 3)``: packed pixels as `agreement` compares them."""
    if pixels.shape[1] == SIDE_PX:
        return pixels
    size = (SIDE_PX, SIDE_PX)
    return np.stack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in pixels])


def agreement(one: Array, two: Array, matrix: Array, here: Array, there: Array) -> float:
    """How much of the structure of two pictures is the same, where features agree.

    Args:
        one, two: uint8 ``(128, 128, 3)``, RGB.
        matrix: float ``(2, 3)``, the affine map from `one` to `two`, in pixels.
        here, there: float ``(n, 2)``, features of `one` and `two` that agree by it.

    Returns:
        0 to 1: the median over the fields, of the share of a field's variance that the other
        picture predicts; the smaller of both directions. Once a copy is sure, by
        `LEAST_AGREEMENT`, no better map is sought.
    """
    best = 0.0
    for found in _agreements(one, two, _best_map(matrix, here, there), _shown(there)):
        best = max(best, found)
        if best >= LEAST_AGREEMENT:
            break
    return best


def _agreements(one: Array, two: Array, over: Array, shown: Array) -> Iterator[float]:
    """The agreement by each map, the quickest first."""
    fine = _structure(two, FINE)

    def by(each: Array) -> float:
        laid = _laid(one.astype(np.float32), each)
        inside = (_laid(np.ones((SIDE_PX, SIDE_PX), np.float32), each) > WHOLE) & shown
        return _predicted(_structure(laid, FINE), fine, inside)

    yield by(over)
    still = _still(over)
    if still is not None:
        laid, everywhere = _laid(one, still), np.ones((SIDE_PX, SIDE_PX), bool)
        yield _predicted(_structure(laid, FINE), fine, everywhere)
        yield _predicted(_structure(laid, COARSE), _structure(two, COARSE), everywhere, SIDE_PX)
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).astype(np.float32) for each in (one, two)]
    yield by(_refined(grey[0], grey[1], over, shown))


def _shown(there: Array) -> Array:
    """bool: the part of the second picture between features that agree. What was laid over the
    picture, a frame, a bar or a disc, lies outside for the most part."""
    mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(there).astype(np.int32)), 1)
    return np.asarray(cv2.dilate(mask, np.ones((AROUND_PX, AROUND_PX), np.uint8)) > 0)


def _best_map(matrix: Array, here: Array, there: Array) -> Array:
    """float ``(3, 3)``: of the affine map and a perspective one, the one that fits better."""
    maps = [np.vstack([matrix, [0, 0, 1]])]
    seen, _ = cv2.findHomography(here, there, cv2.RANSAC, NEAR_PX, maxIters=TRIALS)
    if seen is not None:
        maps.append(seen)
    away = [
        np.median(np.linalg.norm(cv2.perspectiveTransform(here[None], each)[0] - there, axis=1))
        for each in maps
    ]
    return maps[int(np.argmin(away))]


def _still(over: Array) -> Array | None:
    """float ``(3, 3)``: the map that only turns by quarters and mirrors, if this one nearly does:
    corners come to corners."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float) * (SIDE_PX - 1)
    moved = cv2.perspectiveTransform(corners[None], over)[0]
    away = np.linalg.norm(moved[:, None] - corners[None], axis=2)
    nearest = away.argmin(axis=1)
    if away.min(axis=1).max() > STILL_PX or len(set(nearest)) < len(corners):
        return None
    return np.asarray(
        cv2.getPerspectiveTransform(corners.astype(np.float32), corners[nearest].astype(np.float32))
    )


def _refined(one: Array, two: Array, over: Array, shown: Array) -> Array:
    """The map, moved until the pixels fit best; as it is where that does not end."""
    try:
        _, rest = cv2.findTransformECC(
            _structure(two, BAND), _structure(_laid(one, over), BAND), np.eye(3, dtype=np.float32),
            cv2.MOTION_HOMOGRAPHY, REFINING, shown.astype(np.uint8), 1,
        )  # fmt: skip
    except cv2.error:
        return over
    refined = np.linalg.inv(rest.astype(float)) @ over
    return refined if np.isfinite(refined).all() else over


def _laid(picture: Array, over: Array) -> Array:
    """The picture where the map puts it; black elsewhere."""
    return np.asarray(cv2.warpPerspective(picture, over, (SIDE_PX, SIDE_PX)))


def _structure(picture: Array, band: tuple[float, float]) -> Array:
    """What is wider than the first and finer than the second width of a Gaussian."""
    values = picture.astype(np.float32)
    near, far = (_blurred(values, width) for width in band)
    return np.asarray(near - far)


def _blurred(values: Array, width: float) -> Array:
    if width < WIDE:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), width))
    # A kernel as wide as the picture costs more than all else, and shows nothing small.
    small = cv2.resize(values, (SIDE_PX // 4, SIDE_PX // 4), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cv2.GaussianBlur(small, (0, 0), width / 4), (SIDE_PX, SIDE_PX)))


def _predicted(one: Array, two: Array, inside: Array, side: int = FIELD_PX) -> float:
    """The median over the fields, of the share of a field's grey variance in one picture that the
    three colours of the other predict by least squares; the smaller of both directions.
    """
    shares, strong = [], []
    for source, target in ((one, two), (two, one)):
        known, wanted = _fields(source, side), _fields(target @ GREY, side)[..., 0]
        counted = _fields(inside.astype(np.float32), side)[..., 0]
        number = counted.sum(axis=1)
        known = (known - _mean(known, counted)) * counted[..., None]
        wanted = (wanted - _mean(wanted[..., None], counted)[..., 0]) * counted
        square = np.einsum("fpi,fpj->fij", known, known)
        square += SLACK * np.maximum(number, 1)[:, None, None] * np.eye(3)
        factors = np.linalg.solve(square, np.einsum("fpi,fp->fi", known, wanted)[..., None])
        left = wanted - (known @ factors)[..., 0]
        total = (wanted**2).sum(axis=1)
        shares.append(1 - (left**2).sum(axis=1) / np.maximum(total, 1e-6))
        strong.append((total / np.maximum(number, 1)) * (number > COUNTED * side**2))
    share, structure = np.minimum(*shares), np.minimum(*strong)
    useful = structure >= LEAST_STRUCTURE
    fewest = min(FEWEST_FIELDS, len(share))
    if useful.sum() < fewest:
        useful = structure > 0
    return float(max(np.median(share[useful]), 0.0)) if useful.sum() >= fewest else 0.0


def _mean(values: Array, counted: Array) -> Array:
    total = (values * counted[..., None]).sum(axis=1, keepdims=True)
    return np.asarray(total / np.maximum(counted.sum(axis=1), 1)[:, None, None])


def _fields(plane: Array, side: int) -> Array:
    """float ``(fields, pixels, channels)``."""
    of = SIDE_PX // side
    cut = plane.reshape(of, side, of, side, -1).transpose(0, 2, 1, 3, 4)
    return cut.reshape(of * of, side**2, -1)
