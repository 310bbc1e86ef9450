"""Keep what comparing two pictures told, so that no pair is compared twice.

The tables lie under ``shared/compared/``, in a folder named after the code that compares. Each run
that compared adds one; none is rewritten. A picture's name is made of its content, and a pair is
compared in the order of its names, so what is told does not depend on what was delivered before.
An erasure removes all of these tables.
"""

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tasks.engine.run import Run
from tasks.engine.store import read_many
from tasks.intake.copies import MEASURES
from tasks.intake.feature_files import compared_now
from tasks.intake.manifest import parquet_of, to_parquet

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
PAIR = ["one", "other", "mirrored"]
TOLD = [*MEASURES, "agreement"]


def names_of(rows: pd.DataFrame) -> Array:
    """A name of each picture by its content, the stored pixels and those it is packed to.

    Args:
        rows: Rows of manifests with ``pixel_hash`` and ``thumbnail``.

    Returns:
        str ``(n,)``, 32 hexadecimal digits each.
    """
    both = zip(rows["pixel_hash"], rows["thumbnail"], strict=True)
    told = [hashlib.sha256(f"{digest}".encode() + bytes(plane)) for digest, plane in both]
    return np.array([each.hexdigest()[:32] for each in told], object)


def compared(
    run: Run,
    names: Array,
    asked: pd.DataFrame,
    compare: Callable[[pd.DataFrame], pd.DataFrame],
) -> pd.DataFrame:
    """What is told of pairs, by an earlier run or by `compare`.

    Args:
        run: Names the store.
        names: Of each picture, see `names_of`.
        asked: ``first`` and ``second`` (positions in `names`), ``mirrored``.
        compare: Adds the columns `TOLD` to such pairs. Only what is not known is asked.

    Returns:
        `asked` with `TOLD`; ``first`` and ``second`` are in the order of their names.
    """
    ends = asked[["first", "second"]].to_numpy(int, copy=True)
    swap = names[ends[:, 0]] > names[ends[:, 1]]
    ends[swap] = ends[swap, ::-1]
    pairs = asked.assign(first=ends[:, 0], second=ends[:, 1])
    named = pairs.assign(one=names[ends[:, 0]], other=names[ends[:, 1]]).astype(
        {"one": "str", "other": "str"}
    )
    known = named.merge(_known(run), on=PAIR, how="left")
    new = known[TOLD[0]].isna().to_numpy()
    if new.any():
        told = compare(pairs[new])
        known.loc[new, TOLD] = told[TOLD].to_numpy(float)
        fresh = known.loc[new, [*PAIR, *TOLD]].drop_duplicates(PAIR)
        folder = compared_now().removeprefix("shared/").removesuffix("/")
        run.share(folder, to_parquet(fresh.sort_values(PAIR, ignore_index=True)), ".parquet")
    log.info("%d pairs compared now, %d known from earlier runs.", new.sum(), (~new).sum())
    return known.drop(columns=["one", "other"])


def _known(run: Run) -> pd.DataFrame:
    keys = [entry.key for entry in run.store.list(compared_now())]
    tables = []
    for key, data in zip(keys, read_many(run.store, keys), strict=True):
        if hashlib.sha256(data).hexdigest() == key.rpartition("/")[2].removesuffix(".parquet"):
            tables.append(parquet_of(data))
        else:
            log.warning("%s was damaged; its pairs are compared again.", key)
    types: dict[str, Any] = {"one": "str", "other": "str", "mirrored": bool}
    types |= dict.fromkeys(TOLD, float)
    if not tables:
        return pd.DataFrame({name: [] for name in types}).astype(types)
    return pd.concat(tables, ignore_index=True).astype(types).drop_duplicates(PAIR)
