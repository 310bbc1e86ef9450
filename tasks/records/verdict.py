"""What ``gate`` promises: the verdict, with each rule that it came from."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.records.record import Frozen, LedgerHead, Record

Decision = Literal["pass", "fail", "insufficient evidence"]


class Rule(Frozen):
    """One rule of the gate."""

    name: str = Field(description="Of the rule, and what it is about.")
    figure: float | None = Field(description="What was measured; None if it could not be.")
    lower: float | None = Field(
        description="Lower bound of `figure`, by `method`; None if there is none."
    )
    upper: float | None = Field(
        description="Upper bound of `figure`, by `method`; None if there is none."
    )
    threshold: float | None = Field(description="What is asked; None for a rule that only looks.")
    asks: Literal["at least", "at most"] = Field(
        description="Whether the figure shall be at least or at most the threshold."
    )
    successes: int | None = Field(description="Of a proportion, what was counted.")
    n: int = Field(description="Lesions that the figure was counted on.")
    decision: Decision | Literal["not applicable"] = Field(
        description='"not applicable" neither passes nor refuses.'
    )
    reason: str = Field(description="In words.")
    method: str = Field(description="How figure and bounds were made.")
    more_needed: int | None = Field(
        description="About how many more lesions would settle the rule at the same rate; None if "
        "the rule is settled, or no number would."
    )


class Departed(Frozen):
    """An image that a model was judged on, and that stands in the test part no more."""

    image_id: str = Field(description="The image.")
    lesion: str = Field(description="The lesion that it shows.")
    label: str = Field(description="What it was judged as.")


class Superseded(Frozen):
    """A lesion whose label a named person replaced after a model was judged on it."""

    lesion: str = Field(description="The lesion.")
    judged_as: str = Field(description="The label that a model was judged by.")
    label: str = Field(description="The label now.")
    by: str = Field(description="Who replaced it.")
    reason: str = Field(description="Why, in that person's words.")


class Looks(Frozen):
    """How much the test part has been used, and how much use is left in it."""

    look: int = Field(
        description="This model is the one of this number that was judged on these images, from 1."
    )
    confidence: float = Field(
        description="Of each bound, 0 to 1: what the policy's spending leaves at this look."
    )
    left: int | None = Field(
        None,
        description="So many further models can be judged before even one that misses no melanoma "
        "could not pass any more; None if the policy spends nothing.",
    )
    left_at_this_rate: int | None = Field(
        None, description="The same, for a model that finds the share that this one finds."
    )
    lesions_that_renew: int = Field(
        0,
        description="Melanoma lesions that must be new in the test part for the count to begin "
        "anew.",
    )


class PolicyReference(Frozen):
    """The policy that judged: a file of ``tasks/evaluation/policies/``, by its bytes."""

    name: str = Field(description="Name of the policy.")
    version: int = Field(description="Version of the policy, from 1.")
    sha256: str = Field(description="SHA-256 of the file's bytes, hex.")


class Verdict(Record):
    """Whether this model may become a challenger."""

    NOT_CONTENT: ClassVar[dict[str, Any]] = {"ledger": True}
    ADDED: ClassVar[tuple[str, ...]] = ("looks", "departed", "superseded")

    decision: Decision = Field(description="Whether the model passed.")
    rules: tuple[Rule, ...] = Field(description="Every rule that the policy asks.")
    reason: str = Field(description="Why the decision is what it is, in words.")
    warnings: tuple[str, ...] = Field(
        description="What a person must know who relies on the verdict."
    )
    policy: PolicyReference = Field(description="The policy that judged.")
    leaks: int = Field(
        description="Groups of images that stand on more than one side of the split."
    )
    earlier_evaluations: int = Field(
        description="Models that were judged on at least half of these test images before."
    )
    looks: Looks | None = Field(
        None,
        description="What these looks leave; None in records from before looks cost anything.",
    )
    departed: tuple[Departed, ...] = Field(
        (),
        description="Images that models were judged on and that are not in the test part any more. "
        "The verdict is the worse of two: without them, and with each as a miss.",
    )
    superseded: tuple[Superseded, ...] = Field(
        (),
        description="Lesions judged under another label before. The verdict is the worse of two: "
        "under each label.",
    )
    ledger: LedgerHead | None = Field(
        None,
        description="Head of the ledger when this model was judged; None in records from before "
        "there was a chain.",
    )
