"""Learn from several sources without learning the sources.

A *cell* is what one source holds of one class. Its number is source times classes plus class. With
one source, the number of a cell is that of its class.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MOST_REPEATS = 4  # times that one image is drawn in one pass; more would be learned by heart
# Images that are added to each source, with the classes of all sources. A class that a source
# lacks stays possible there, else nothing would tell it from the classes that the source holds.
ADDED = 20.0


def cells_of(labels: Array, sources: Array, classes: int) -> Array:
    """The number of each image's cell, int ``(n,)``, from classes and sources, int ``(n,)``."""
    return np.asarray(sources * classes + labels)


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


def log_shares_by_source(counts: Array, classes: int) -> Array:
    """Natural logarithm of the share of each class within each source.

    Args:
        counts: Images that are shown of each cell, ``(sources * classes,)`` or shorter.
        classes: Number of classes.

    Returns:
        float32 ``(sources, classes)``.
    """
    padded = np.pad(counts.astype(float), (0, -len(counts) % classes))
    table: Array = padded.reshape(-1, classes)
    if len(table) > 1:
        table = table + ADDED * table.sum(axis=0) / table.sum()
    shares = table / table.sum(axis=1, keepdims=True)
    return np.asarray(np.log(np.maximum(shares, 1e-9)), np.float32)
