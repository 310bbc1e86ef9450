"""The record of ``oversample``: copies of training images."""

from pydantic import Field

from tasks.lesions import Diagnosis
from tasks.records.record import Artifact, Record


class Oversampled(Record):
    """Augmentor's copies of training images."""

    copies: Artifact = Field(
        description="Parquet, one row per copy: ``source_key``, ``source_id``, ``copy`` (its "
        "number among the copies of its source), ``operations``, ``label``, ``group``, ``shard``, "
        "``shard_sha256``, ``index``."
    )
    shards: tuple[Artifact, ...] = Field(
        description="``.npy`` files, uint8 ``(n, packed_px, packed_px, 3)``, RGB, 0 to 255."
    )
    counts: dict[Diagnosis, int] = Field(
        description="Images of each class, originals and copies together."
    )
