"""Which images the model must not be asked about, and how often that is so."""

from typing import Literal, get_args

from pydantic import Field

from tasks.records.figures import Proportion
from tasks.records.record import Artifact, Frozen

# Why the model cannot judge an image.
Ground = Literal[
    "too small",
    "too dark",
    "too bright",
    "blurred",
    "no lesion",
    "not dermoscopy",
    "far from what was learned",
]
GROUNDS: tuple[Ground, ...] = get_args(Ground)

# Where the images of a kind come from.
Origin = Literal["drawn", "derived from test images", "photographs"]


class RefusedKind(Frozen):
    """Images of one kind that should be refused. None of them helped to make the judge."""

    kind: str = Field(description="What the images show.")
    origin: Origin = Field(description="Where they come from.")
    skin: bool = Field(description="Whether they show skin.")
    refused: Proportion = Field(description="Images that are refused.")
    at_least: float = Field(
        description="One-sided 95 % lower bound of the share that is refused, 0 to 1, exact."
    )
    target: float = Field(description="Share that should be refused, 0 to 1.")
    grounds: dict[Ground, int] = Field(description="Images by ground; one may have several.")


class Answered(Frozen):
    """Labelled lesions under the refusals. A lesion is refused where one of its images is."""

    name: str = Field(description="Name of the external set; empty: the own test part.")
    refused: Proportion = Field(description="Lesions that are refused.")
    melanomas_refused: Proportion = Field(description="Melanoma lesions that are refused.")
    sensitivity: Proportion = Field(description="Melanoma sensitivity among the others.")
    specificity: Proportion = Field(description="Melanoma specificity among the others.")


class Refusals(Frozen):
    """The judge of images that goes with the model, and what it refuses."""

    judge: Artifact = Field(
        description="NPZ: figures and limits, see `tasks.evaluation.answerable.Answerable`."
    )
    learned_from: int = Field(description="Images of the training part that the judge was fit on.")
    fit_kinds: tuple[str, ...] = Field(
        description="Kinds of unsound images, drawn and derived, that the judge was fit on. What "
        "`kinds` tells is of other kinds."
    )
    allowed: float = Field(description="Share of sound images that the limits give up, 0 to 1.")
    validation: Proportion = Field(
        description="Images of the validation part that are refused. The limits were set on them."
    )
    lesions: tuple[Answered, ...] = Field(
        description="The own test part first, then each external set with images that count."
    )
    kinds: tuple[RefusedKind, ...] = Field(description="What should be refused.")
    not_measured: tuple[str, ...] = Field(
        description="Kinds that should be refused, and of which there are no images."
    )
