"""Recognize black corners, ink and hairs on images, and take them off.

Hairs: Lee, Ng, Gallagher, Coldman & McLean, "DullRazor: a software approach to hair removal from
images", Computers in Biology and Medicine 27:533-543 (1997): a hair is what a closing by a line
removes. Corners and ink lie beside the lesion, and get the colour of the skin there.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from scipy.ndimage import binary_dilation, grey_closing

Array = np.ndarray[Any, Any]
Removable = Literal["black corners", "ink", "hair"]

REMOVABLE: tuple[Removable, ...] = get_args(Removable)
DARK = 48  # of 255: the mean of red, green and blue of a black corner is lower
FIELD = 0.42  # of the side: farther from the middle, darkness and violet are no lesion
DEPTH = 24  # of 255: a hair is so much darker than its closing
LENGTH = 0.05  # of the side: wider than a hair, narrower than a lesion
# Shares of an image: fewer pixels are chance, more are no such thing.
LEAST: dict[Removable, float] = {"black corners": 0.02, "ink": 0.002, "hair": 0.01}
MOST_HAIR = 0.25


def without(kind: Removable, image: Array) -> Array | None:
    """An image without one kind of thing; None where it is not recognized.

    Args:
        kind: What to take off.
        image: uint8 ``(side, side, 3)``, RGB, 0 to 255; not changed.
    """
    found = FINDERS[kind](image)
    share = float(found.mean())
    if share < LEAST[kind] or (kind == "hair" and share > MOST_HAIR):
        return None
    changed = image.copy()
    if kind == "hair":
        wide = _length(image)
        for channel in range(3):
            plane = image[..., channel]
            changed[..., channel][found] = grey_closing(plane, size=(wide, wide))[found]
        return changed
    skin = _outside(image.shape[0]) & ~found & (image.mean(axis=2) >= DARK)
    around = image[skin] if skin.any() else image[~found]
    if not len(around):
        return None
    changed[binary_dilation(found, iterations=2) & _outside(image.shape[0])] = np.median(
        around, axis=0
    ).astype(np.uint8)
    return changed


def _corners(image: Array) -> Array:
    return np.asarray((image.mean(axis=2) < DARK) & _outside(image.shape[0]))


def _ink(image: Array) -> Array:
    """Violet or blue beside the lesion, which skin is not."""
    red, green, blue = np.moveaxis(image.astype(np.int16), -1, 0)
    violet = (blue > red + 12) & (blue > green + 25) & _outside(image.shape[0])
    return np.asarray(violet)


def _hair(image: Array) -> Array:
    green, wide = image[..., 1], _length(image)
    closed = np.maximum(grey_closing(green, size=(1, wide)), grey_closing(green, size=(wide, 1)))
    return np.asarray(closed.astype(np.int16) - green > DEPTH)


def _length(image: Array) -> int:
    return max(3, round(LENGTH * len(image)))


def _outside(side: int) -> Array:
    line = np.arange(side) - (side - 1) / 2
    return np.asarray(np.hypot(line[:, None], line[None, :]) > FIELD * side)


FINDERS: dict[Removable, Callable[[Array], Array]] = {
    "black corners": _corners,
    "ink": _ink,
    "hair": _hair,
}
