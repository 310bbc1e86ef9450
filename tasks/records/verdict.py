"""The record of ``gate``: the verdict, with each rule that led to it."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.records.record import Frozen, LedgerHead, Record

Decision = Literal["pass", "fail", "insufficient evidence"]


class Rule(Frozen):
    """One rule of the gate."""

    name: str = Field(description="Name of the rule, with the figure or subgroup that it judges.")
    figure: float | None = Field(description="The measured figure; None if it is not measurable.")
    lower: float | None = Field(
        description="Lower bound of `figure`, by `method`; None without a bound."
    )
    upper: float | None = Field(
        description="Upper bound of `figure`, by `method`; None without a bound."
    )
    threshold: float | None = Field(
        description="The value that the policy asks for; None for a rule that only observes."
    )
    asks: Literal["at least", "at most"] = Field(
        description="Whether the figure must be at least or at most the threshold."
    )
    successes: int | None = Field(
        description="Number of successes, if the figure is a proportion; else None."
    )
    n: int = Field(description="Lesions that the figure was counted on.")
    decision: Decision | Literal["not applicable"] = Field(
        description='The decision of this rule; "not applicable" neither passes nor fails the '
        "model."
    )
    reason: str = Field(description="Reason of the decision, in words.")
    method: str = Field(description="Statistical method of figure and bounds.")
    more_needed: int | None = Field(
        description="About how many more lesions would settle the rule at the same rate; None if "
        "the rule is settled, or if no number of lesions would settle it."
    )


class Departed(Frozen):
    """An image that a model was judged on, and that is no longer in the test part."""

    image_id: str = Field(description="Id of the image.")
    lesion: str = Field(description="The lesion that the image shows.")
    label: str = Field(description="The label under which the image was judged.")


class Superseded(Frozen):
    """A lesion whose label a named person replaced after a model was judged on it."""

    lesion: str = Field(description="Name of the lesion.")
    judged_as: str = Field(description="The label under which a model was judged.")
    label: str = Field(description="The label now.")
    by: str = Field(description="The person who replaced the label.")
    reason: str = Field(description="The reason, in that person's words.")


class Relabelled(Frozen):
    """An image of an external set that a model was judged on as another one than now."""

    name: str = Field(description="Name of the external set.")
    image_id: str = Field(description="Id of the image.")
    judged_as: str = Field(description="The label under which a model was judged.")
    label: str = Field(description="The label now.")
    moved: bool = Field(description="Whether it is of one lesion with other images now.")


class Looks(Frozen):
    """How often the test part has been used, and how often it can still be used."""

    look: int = Field(
        description="Number of models judged on these images so far, this model included."
    )
    confidence: float = Field(
        description="Confidence of each bound at this look, 0 to 1, by the policy's spending."
    )
    left: int | None = Field(
        None,
        description="How many further models can be judged before even a model that misses no "
        "melanoma cannot pass; None if the policy spends nothing.",
    )
    left_at_this_rate: int | None = Field(
        None,
        description="How many further models with the melanoma sensitivity of this one can be "
        "judged before such a model cannot pass; None if the policy spends nothing.",
    )
    lesions_that_renew: int = Field(
        0,
        description="Number of new melanoma lesions in the test part that restart the count of "
        "looks.",
    )


class PolicyReference(Frozen):
    """The policy that judged, released or an installation's own, named by its bytes."""

    name: str = Field(description="Name of the policy.")
    version: int = Field(description="Version of the policy, from 1.")
    sha256: str = Field(description="SHA-256 of the file's bytes, hex.")


class Verdict(Record):
    """Whether this model may become a challenger."""

    # 1 knew no images of external sets under other labels than before
    FORMAT: ClassVar[int] = 2
    NOT_CONTENT: ClassVar[dict[str, Any]] = {"ledger": True}
    ADDED: ClassVar[tuple[str, ...]] = ("looks", "departed", "superseded", "relabelled")

    decision: Decision = Field(description="Whether the model passed.")
    rules: tuple[Rule, ...] = Field(description="Every rule of the policy, judged.")
    reason: str = Field(description="Reason of the decision, in words.")
    warnings: tuple[str, ...] = Field(description="Warnings to a person who relies on the verdict.")
    policy: PolicyReference = Field(description="The policy that judged.")
    leaks: int = Field(
        description="Number of groups of images that stand on more than one side of the split."
    )
    earlier_evaluations: int = Field(
        description="Number of models judged on at least half of these test images before."
    )
    looks: Looks | None = Field(
        None,
        description="How often the test part can still be used; None in records from before looks "
        "cost anything.",
    )
    departed: tuple[Departed, ...] = Field(
        (),
        description="Images that models were judged on and that are no longer in the test part. "
        "The verdict is the worse of two: without these images, and with each as a miss.",
    )
    superseded: tuple[Superseded, ...] = Field(
        (),
        description="Lesions judged under another label before. The verdict is the worse of two: "
        "under the earlier label, and under the new one.",
    )
    relabelled: tuple[Relabelled, ...] = Field(
        (),
        description="Images of external sets judged under another label, or as another lesion, "
        "before. The verdict is the worse of two: as they were judged first, and as they are now.",
    )
    ledger: LedgerHead | None = Field(
        None,
        description="Head of the ledger when this model was judged; None in records older than "
        "the ledger's chain.",
    )
