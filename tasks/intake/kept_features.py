"""Keep the local features of each shard, so that no picture is described twice.

They lie under ``shared/features/``, in a folder named after the code that finds them. A file holds
the features of one shard of packed pixels, and begins with the SHA-256 of the rest. An erasure
removes the file; what is left in the shard is then described anew.
"""

import hashlib
import io
import logging
from typing import Any

import numpy as np
import pandas as pd

from tasks.engine.run import Run
from tasks.errors import NotFound
from tasks.intake.feature_files import SUFFIX, folder_now
from tasks.intake.local_features import Array, LocalFeatures, features_of, together
from tasks.records.record import Artifact, sha256

log = logging.getLogger(__name__)

DIGEST = 32  # bytes of a SHA-256


def features_at(run: Run, rows: pd.DataFrame, of: Array | None = None) -> LocalFeatures:
    """The local features of a table's pictures, in the order of its rows.

    Args:
        run: Names the store with the shards.
        rows: Rows of the manifest with ``shard``, ``shard_sha256`` and ``index``, none missing.
        of: bool ``(rows,)``; the rows of this part of the step, all if there are no parts. Their
            shards come first, while the other parts describe theirs.

    Raises:
        Corrupt: A shard that has to be read is not the one that the table names.
    """
    numbered = rows.reset_index(drop=True)
    own = np.ones(len(rows), bool) if of is None else of
    places, parts = [], []
    groups = _ours_first(numbered, own)
    for done, ((key, digest), mine) in enumerate(groups, start=1):
        found = _of_shard(run, str(key), str(digest))
        places.append(mine.index.to_numpy())
        parts.append(found.of(mine["index"].to_numpy(int)))
        run.progress(done, len(groups), f"features of {done} of {len(groups)} shards")
    order = np.argsort(np.concatenate([*places, np.zeros(0, int)]))
    return together(parts).of(order)


def _ours_first(rows: pd.DataFrame, own: Array) -> list[Any]:
    """The rows of each shard: first the shards with rows of this part, then those of the others.

    What another part has described is read. What is still missing, each part takes in an order of
    its own, so that two parts that are early do not describe the same shards.
    """
    ours: list[Any] = []
    others: list[Any] = []
    for place, mine in rows.groupby(["shard", "shard_sha256"], sort=True):
        (ours if own[mine.index.to_numpy()].any() else others).append((place, mine))
    salt = str([place for place, _ in ours])
    others.sort(key=lambda group: sha256(f"{salt}{group[0]}".encode()))
    return [*ours, *others]


def _of_shard(run: Run, shard: str, digest: str) -> LocalFeatures:
    key = f"{folder_now()}{shard.rpartition('/')[2].removesuffix('.npy')}{SUFFIX}"
    try:
        data = run.store.read(key)
        if hashlib.sha256(data[DIGEST:]).digest() == data[:DIGEST]:
            return _unpacked(data[DIGEST:])
        log.warning("%s was damaged; the features are found again.", key)
    except NotFound:
        pass
    pixels = np.load(
        io.BytesIO(run.fetch(Artifact(key=shard, sha256=digest, size_bytes=0))), allow_pickle=False
    )
    found = features_of(pixels)
    packed = _packed(found)
    run.store.replace(key, hashlib.sha256(packed).digest() + packed)
    return found


def _packed(found: LocalFeatures) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, counts=found.counts.astype(np.int32), codes=found.codes, places=found.places)
    return buffer.getvalue()


def _unpacked(data: bytes) -> LocalFeatures:
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        return LocalFeatures(found["counts"].astype(np.int64), found["codes"], found["places"])
