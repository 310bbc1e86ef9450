"""What ``split`` promises: each lesion, whole, on one of three sides."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.lesions import Diagnosis
from tasks.records.record import Artifact, Frozen, LedgerHead, Record

Side = Literal["train", "validation", "test"]


class Stratum(Frozen):
    """The groups of one class or one source, over the sides."""

    by: Literal["class", "source"] = Field(description="What kind of stratum it is.")
    name: str = Field(description="The class or the source.")
    groups: dict[Side, int] = Field(description="Groups on each side.")
    chance: float | None = Field(
        description="How often a split by hash is at least as far from the configured shares "
        "(exact binomial, two-sided, Bonferroni over test and validation), 0 to 1; None if the "
        "test part is a delivered one."
    )


class Split(Record):
    """The three parts."""

    # Where a chain stands is a matter of the store; which side an image stands on is in `parts`.
    NOT_CONTENT: ClassVar[dict[str, Any]] = {"ledger": True}
    ADDED: ClassVar[tuple[str, ...]] = ("renamed",)

    parts: Artifact = Field(
        description="Parquet, the accepted rows with ``group``, ``decided_by`` and ``side``."
    )
    proof: Artifact = Field(
        description="CSV, what it takes to recompute that no group straddles; see "
        "`tasks.splitting.sides.flaw_in`."
    )
    left_out: Artifact = Field(
        description="CSV, the images that left because their group reaches a more protected side: "
        "key, image_id, label, side (that they left), reason, counterpart."
    )
    counts: dict[Side, dict[Diagnosis, int]] = Field(
        description="Images of each class on each side."
    )
    groups: dict[Side, int] = Field(description="Groups on each side.")
    strata: tuple[Stratum, ...] = Field(
        description="How evenly each class and each source is spread."
    )
    bridging: int = Field(description="Rows of `left_out`.")
    renamed: int = Field(
        0,
        description="Images of which the tables no longer say the lesion or patient by which they "
        "were put on their side when they were first split; they stay there.",
    )
    ledger: LedgerHead | None = Field(
        None,
        description="Head of the ledger after this split; None in records from before there was a "
        "chain.",
    )
