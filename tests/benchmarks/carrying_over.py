"""What was tried so that a model carries over to other sources, and did not become a recipe."""

from typing import Any

import numpy as np
from keras import ops

Array = np.ndarray[Any, Any]

MOST_REPEATS = 4  # times that one image is drawn in one pass; more would be learned by heart
GREY = 180.0  # light of a steadied image, 0 to 255


def even_counts(cells: Array, total: int) -> Array:
    """How many images to draw from each cell, so that cells are as equal as `MOST_REPEATS` allows.

    Returns:
        int, one for each number up to the highest cell; they add up to `total`, or to as many as
        can be drawn.
    """
    most = np.bincount(cells) * MOST_REPEATS
    total = min(total, int(most.sum()))
    low, high = 0.0, float(most.max(initial=0))
    for _ in range(60):  # the level to which all cells are filled
        level = (low + high) / 2
        low, high = (low, level) if np.minimum(most, level).sum() >= total else (level, high)
    counts = np.floor(np.minimum(most, low)).astype(int)
    room = np.flatnonzero(counts < most)
    rest = total - int(counts.sum())
    counts[room[np.argsort(-(most[room] - counts[room]), kind="stable")][:rest]] += 1
    return counts


def drawn_evenly(generator: np.random.Generator, cells: Array, total: int) -> Array:
    """Indices of the images of one pass, int, in random order: `even_counts` of each cell.

    Within a cell no image comes a second time before each has come once.
    """
    chosen = [np.empty(0, int)]
    for cell, count in enumerate(even_counts(cells, total)):
        own = np.flatnonzero(cells == cell)
        rounds = [generator.permutation(own) for _ in range(-(-count // max(1, len(own))))]
        chosen += [np.concatenate(rounds)[:count]] if rounds else []
    return generator.permutation(np.concatenate(chosen))


def in_grey_light(images: Any) -> Any:
    """Images in grey light of one brightness: shades of gray, with the norm of order 6 (Finlayson &
    Trezzi, CIC 2004). A factor on a channel, as of another white balance, changes nothing."""
    light = ops.mean(ops.power(ops.maximum(images, 0.0) / 255.0, 6), axis=(1, 2), keepdims=True)
    return images * (GREY / ops.power(light + 1e-6, 1 / 6) / 255.0)


def standardized(images: Any) -> Any:
    """Images whose channels all have the mean and the standard deviation of skin, roughly."""
    mean = ops.mean(images, axis=(1, 2), keepdims=True)
    spread = ops.sqrt(ops.mean(ops.square(images - mean), axis=(1, 2), keepdims=True) + 16.0)
    return (images - mean) / spread * 32.0 + 141.0
