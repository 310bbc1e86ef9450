"""Local features of a picture: RootSIFT, by which a copy is found however it was cut or turned.

OpenCV finds the points and describes the patch around each (Lowe 2004, SIFT). The square root of a
description (Arandjelović and Zisserman 2012, RootSIFT) is transformed by cosines over the patch and
over the angle, and only `NUMBERS` low frequencies are kept. On 60 images of the nine-class set they
hold four fifths of the variance. The features of a picture take at most 9.4 kB, a tenth of its
packed pixels at 180 px.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import cv2
import numpy as np

Array = np.ndarray[Any, Any]
Asked = TypeVar("Asked")
Told = TypeVar("Told")

CORES = os.cpu_count() or 1
SIDE_PX = 128  # of the grey square in which the points are sought
MOST = 200  # features of a picture, the strongest
# Contrast is equalized in tiles (CLAHE), so that a dark or pale photograph has features as well.
CLIP_LIMIT, TILES = 3.0, (4, 4)
CONTRAST = 0.01  # below SIFT's own 0.04, because skin is smooth

# SIFT counts gradients in 4 x 4 fields, by 8 angles. Of the cosines over rows and columns (0 to 3)
# and the waves over the angles (0 to 4), these are kept, as (row, column, wave): the strongest.
KEPT = tuple(
    (row, column, wave)
    for row in range(4)
    for column in range(4)
    for wave in range(5)
    if 0 < row + column + wave <= (4 if wave in (1, 2) else 3)
)
STEPS = 256  # of a kept number, which is -0.5 to 0.5
PLACES = ("x", "y", "angle", "size")
ANGLES = 256  # steps of a full turn
SIZES = 16  # steps of an octave


@dataclass(frozen=True)
class LocalFeatures:
    """The features of several pictures, one after the other.

    Attributes:
        counts: int ``(n,)``, features of each picture, 0 to `MOST`.
        codes: int8 ``(features, NUMBERS)``; a code stands for the middle of its step, code + 0.5.
        places: uint8 ``(features, 4)``: x and y in halves of a pixel of the square, the angle in
            steps of 1 / `ANGLES` turn, the size in steps of 1 / `SIZES` octave above 1 pixel.
    """

    counts: Array
    codes: Array
    places: Array

    @property
    def starts(self) -> Array:
        """int ``(n + 1,)``: where the features of each picture begin, and the end."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def of(self, chosen: Array) -> "LocalFeatures":
        """The features of the pictures at these positions, in this order."""
        starts = self.starts
        rows = [np.arange(*starts[each : each + 2]) for each in chosen]
        taken = np.concatenate([*rows, np.zeros(0, int)])
        return LocalFeatures(self.counts[chosen], self.codes[taken], self.places[taken])


def together(parts: list[LocalFeatures]) -> LocalFeatures:
    """Features of several sets of pictures as one."""
    return LocalFeatures(
        np.concatenate([np.zeros(0, np.int64), *(each.counts for each in parts)]),
        np.concatenate([np.zeros((0, NUMBERS), np.int8), *(each.codes for each in parts)]),
        np.concatenate([np.zeros((0, len(PLACES)), np.uint8), *(each.places for each in parts)]),
    )


def features_of(pixels: Array) -> LocalFeatures:
    """Find and describe the features of pictures.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, RGB, as ingest packs them.

    Returns:
        The same for the same pixels, in any number of calls.
    """
    groups = np.array_split(pixels, min(len(pixels), 4 * CORES)) if len(pixels) else []
    found = [each for group in side_by_side(_all_described, groups) for each in group]
    return _coded(found) if found else together([])


def side_by_side(ask: Callable[[Asked], Told], of: Sequence[Asked]) -> list[Told]:
    """The answers for many pictures or pairs, on all cores. OpenCV and NumPy release the GIL; a
    picture is too small to be shared by threads, so OpenCV begins none."""
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(CORES) as threads:
        return list(threads.map(ask, of))


def _coded(found: list[tuple[Array, Array]]) -> LocalFeatures:
    numbers = np.concatenate([each for _, each in found])
    root = np.sqrt(numbers / np.maximum(numbers.sum(axis=1, keepdims=True), 1e-6))
    points = np.concatenate([each for each, _ in found])
    places = np.stack(
        [
            2 * points[:, 0],
            2 * points[:, 1],
            (points[:, 2] / 360 * ANGLES + 0.5) % ANGLES - 0.5,
            SIZES * np.log2(np.maximum(points[:, 3], 1)),
        ],
        axis=1,
    )
    return LocalFeatures(
        np.array([len(each) for each, _ in found]),
        np.clip(np.floor(root @ _waves() * STEPS), -128, 127).astype(np.int8),
        np.clip(np.floor(places + 0.5), 0, 255).astype(np.uint8),
    )


def _all_described(pictures: Array) -> list[tuple[Array, Array]]:
    sift = cv2.SIFT.create(nfeatures=MOST, contrastThreshold=CONTRAST)
    evened = cv2.createCLAHE(CLIP_LIMIT, TILES)
    return [_described(each, sift, evened) for each in pictures]


def _described(picture: Array, sift: Any, evened: Any) -> tuple[Array, Array]:
    """The points of one picture, (x, y, angle, size, strength), and SIFT's numbers."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    if grey.shape[0] != SIDE_PX:
        finer = cv2.INTER_AREA if grey.shape[0] > SIDE_PX else cv2.INTER_CUBIC
        grey = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=finer)
    found, numbers = sift.detectAndCompute(evened.apply(grey), None)
    if numbers is None:
        return np.zeros((0, 5)), np.zeros((0, 128), np.float32)
    points = np.array([(*p.pt, p.angle, p.size, p.response) for p in found])
    # Points of equal strength are all found, so that there may be a few more than asked.
    order = np.lexsort((*points.T[3::-1], -points[:, 4]))[:MOST]
    return points[order], numbers[order]


@cache
def _waves() -> Array:
    """float32 ``(128, NUMBERS)``: the kept waves over the 4 x 4 x 8 numbers of a description."""
    fields = (np.arange(4) + 0.5) * np.pi / 4
    cosines = np.array([np.cos(f * fields) * (0.5 if f == 0 else np.sqrt(0.5)) for f in range(4)])
    turns = 2 * np.pi * np.arange(8) / 8
    shapes = {0: [np.ones(8) / np.sqrt(8)], 4: [np.cos(4 * turns) / np.sqrt(8)]}
    shapes |= {wave: [np.cos(wave * turns) / 2, np.sin(wave * turns) / 2] for wave in (1, 2, 3)}
    kept = [
        np.einsum("a,b,c->abc", cosines[row], cosines[column], shape).ravel()
        for row, column, wave in KEPT
        for shape in shapes[wave]
    ]
    return np.array(kept, np.float32).T


def _odd() -> Array:
    """bool ``(NUMBERS,)``: which kept numbers change their sign where the picture is mirrored.

    In a mirrored picture the rows of fields come in the other order, and the angles run backwards.
    """
    return np.array(
        [
            (row % 2 == 1) != is_sine
            for row, _, wave in KEPT
            for is_sine in ((False,) if wave in (0, 4) else (False, True))
        ]
    )


ODD = _odd()
NUMBERS = len(ODD)


def mirrored(codes: Array) -> Array:
    """The codes of the same patches in the mirrored picture."""
    return np.where(ODD, ~codes, codes)
