"""Learn from several sources without learning the sources.

A *cell* is what one source holds of one class. Its number is source times classes plus class. With
one source, the number of a cell is that of its class.
"""

from typing import Any

import numpy as np
import pandas as pd

from tasks.intake.acquisition import acquisitions_of
from tasks.recipes import Recipe

Array = np.ndarray[Any, Any]

# What told the sources apart where the recipe was chosen; docs/training.md.
TELLING = ["source", "image_id", "width", "height", "format", "mode"]
# Images that are added to each source, with the classes of all sources. A class that a source
# lacks stays possible there, else nothing would tell it from the classes that the source holds.
ADDED = 20.0


def sources_of(rows: pd.DataFrame) -> Array:
    """The number of each row's source, int ``(n,)``, from 0.

    Args:
        rows: Rows of the manifest. Its columns `TELLING` tell the sources apart.
    """
    return pd.factorize(acquisitions_of(rows[TELLING].reset_index(drop=True)), sort=True)[0]


def sources_for(recipe: Recipe, rows: pd.DataFrame) -> Array | None:
    """`sources_of` the rows; None for a recipe that does not look at sources. Rows of copies, which
    `balanced` learns from, have none."""
    return sources_of(rows) if recipe == "travel" else None


def cells_of(labels: Array, sources: Array, classes: int) -> Array:
    """The number of each image's cell, int ``(n,)``, from classes and sources, int ``(n,)``."""
    return np.asarray(sources * classes + labels)


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
