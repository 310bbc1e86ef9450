"""What tells melanoma without its lesion: of the data, as validate finds it, and of a model, as
evaluate finds it.
"""

from typing import Literal, get_args

from pydantic import Field

from tasks.records.figures import Estimate
from tasks.records.record import Frozen


class Telling(Frozen):
    """How well one thing beside the lesion tells melanoma from all other lesions."""

    about: str = Field(description="The thing, such as the corners or the file.")
    auc: Estimate = Field(
        description="Area under the ROC curve, by lesion, of a classifier that sees nothing else. "
        "Each lesion was scored by a classifier that had not learned from it."
    )
    most: str = Field(
        "",
        description="Of the figures about a shortcut, the one that alone tells most; else empty.",
    )
    shortcut: bool = Field(
        description="Whether it tells so much that a network may learn it instead of the lesion."
    )


class TellingSource(Frozen):
    """A source of images, as far as the files show it, and what it tells."""

    source: str = Field(description="The source in words: archive, numbers, dimensions, format.")
    lesions: int = Field(description="Lesions from the source.")
    melanomas: int = Field(description="How many of them are melanomas.")
    auc: Estimate = Field(
        description="Area under the ROC curve of the rule 'from this source', or of its opposite."
    )
    shortcut: bool = Field(description="As `Telling.shortcut`.")


class Beside(Frozen):
    """Everything but the lesion, asked for melanoma."""

    images: int = Field(description="Accepted images that were looked at.")
    melanomas: int = Field(description="Melanoma lesions.")
    others: int = Field(description="Other lesions.")
    everything: Telling = Field(
        description="All figures of border and file together, without the source. It is never "
        "counted as a shortcut: large lesions reach the border, and such signs add up by right."
    )
    things: tuple[Telling, ...] = Field(description="Each group of figures, what tells most first.")
    with_lesion: Telling = Field(
        description="The colour of the whole image, lesion included: it may tell by right."
    )
    sources: tuple[TellingSource, ...] = Field(
        description="The sources that hold enough lesions, what tells most first."
    )


# What is done to each image before the model is asked again.
Change = Literal[
    "border masked", "centre masked", "in grey", "ruler drawn on", "ink drawn on", "hair drawn on",
    "black corners drawn on", "bubbles drawn on", "black corners taken off", "ink taken off",
    "hair taken off",
]  # fmt: skip
CHANGES: tuple[Change, ...] = get_args(Change)


class Turned(Frozen):
    """How many of the model's answers turn, each lesion at the model's own threshold."""

    lesions: int = Field(description="Lesions that were asked about.")
    right_before: int = Field(description="How many answers were right on the images as they are.")
    lost: int = Field(description="Right answers that are wrong on the changed images.")
    gained: int = Field(description="Wrong answers that are right on the changed images.")
    lower: float = Field(
        description="One-sided 95 % bound of the difference of the shares of right answers, "
        "changed less unchanged, -1 to 1, by Tango's score statistic for pairs."
    )
    upper: float = Field(description="The bound from above.")


class Probe(Frozen):
    """The model asked again after one change of its images."""

    change: Change = Field(description="What was done to each image.")
    melanomas: Turned = Field(description="Melanomas; called melanoma is the right answer.")
    others: Turned = Field(description="Other lesions; not called melanoma is the right answer.")
    auc: Estimate = Field(
        description="Area under the ROC curve of the melanoma probability on the changed images. "
        "With the centre masked, hardly any lesion is left to see: what is above 0.5 is a shortcut."
    )


class Probes(Frozen):
    """The model asked again about lesions of the test part, after changes that change no lesion.

    Each answer stands in a column of `Evaluated.predictions`, so that anybody can count again.
    """

    images: int = Field(description="Images that were asked about.")
    melanomas: int = Field(description="Melanoma lesions among them.")
    others: int = Field(description="Other lesions among them.")
    probes: tuple[Probe, ...] = Field(
        description="One for each change. Taking off is asked only of lesions on whose images the "
        "thing was recognized, and has no entry where there is none."
    )
