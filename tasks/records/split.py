"""The record of ``split``: each lesion, whole, on one of three sides."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.lesions import Diagnosis
from tasks.records.record import Artifact, Frozen, LedgerHead, Record

Side = Literal["train", "validation", "test"]


class Stratum(Frozen):
    """How the groups of one class or one source are spread over the sides."""

    by: Literal["class", "source"] = Field(description="Kind of stratum.")
    name: str = Field(description="The class or the source.")
    groups: dict[Side, int] = Field(description="Groups on each side.")
    chance: float | None = Field(
        description="P-value of the spread, 0 to 1: how often chance alone departs at least this "
        "far from the configured shares (exact binomial, two-sided, Bonferroni over test and "
        "validation). None for a delivered test part."
    )


class Split(Record):
    """The three parts."""

    # The head of the ledger depends on the store. The sides of the images are in `parts`.
    NOT_CONTENT: ClassVar[dict[str, Any]] = {"ledger": True}
    ADDED: ClassVar[tuple[str, ...]] = ("renamed",)

    parts: Artifact = Field(
        description="Parquet, the accepted rows with ``group``, ``decided_by`` and ``side``."
    )
    proof: Artifact = Field(
        description="CSV, the columns from which anybody can recompute that no group stands on two "
        "sides; see `tasks.splitting.sides.flaw_in`."
    )
    left_out: Artifact = Field(
        description="CSV, the images left out because their group reaches a more protected side: "
        "key, image_id, label, side (the side that they left), reason, counterpart."
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
        description="Images whose side was decided by a lesion or patient that the tables no "
        "longer name. They keep their side.",
    )
    ledger: LedgerHead | None = Field(
        None,
        description="Head of the ledger after this split; None in records older than the ledger's "
        "chain.",
    )
