"""Keep the local features of each shard, so that no picture is described twice.

They lie under ``shared/features/``, in a folder named after the code that finds them. A file holds
the features of one shard of packed pixels, and begins with the SHA-256 of the rest. An erasure
removes the file; what is left in the shard is then described anew.
"""

import hashlib
import io
import logging

import numpy as np
import pandas as pd

from tasks.engine.run import Run
from tasks.errors import NotFound
from tasks.intake.feature_files import SUFFIX, folder_now
from tasks.intake.local_features import LocalFeatures, features_of, together
from tasks.records.record import Artifact

log = logging.getLogger(__name__)

DIGEST = 32  # bytes of a SHA-256


def features_at(run: Run, rows: pd.DataFrame) -> LocalFeatures:
    """The local features of a table's pictures, in the order of its rows.

    Args:
        run: Names the store with the shards.
        rows: Rows of the manifest with ``shard``, ``shard_sha256`` and ``index``, none missing.

    Raises:
        Corrupt: A shard that has to be read is not the one that the table names.
    """
    numbered = rows.reset_index(drop=True)
    places, parts = [], []
    groups = numbered.groupby(["shard", "shard_sha256"], sort=True)
    for done, ((key, digest), mine) in enumerate(groups, start=1):
        found = _of_shard(run, str(key), str(digest))
        places.append(mine.index.to_numpy())
        parts.append(found.of(mine["index"].to_numpy(int)))
        run.progress(done, groups.ngroups, f"features of {done} of {groups.ngroups} shards")
    order = np.argsort(np.concatenate([*places, np.zeros(0, int)]))
    return together(parts).of(order)


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
