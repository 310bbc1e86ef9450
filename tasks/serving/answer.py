"""What the app answers about one lesion: the words of the API, the page and the table."""

from typing import Literal

from pydantic import Field

from tasks.evaluation.traces import Decision
from tasks.records.record import Frozen
from tasks.records.refusals import Ground


class Counted(Frozen):
    """A share of lesions, with its exact two-sided 95 % interval (Clopper & Pearson)."""

    successes: int = Field(description="Lesions of which it was so.")
    n: int = Field(description="Lesions that were counted.")
    lower: float = Field(description="Lower bound of the share, 0 to 1.")
    upper: float = Field(description="Upper bound of the share, 0 to 1.")


class Judged(Frozen):
    """How the model did on labelled lesions that it had not learned from, at its threshold."""

    where: str = Field(description="Name of the external set; empty: the model's own test part.")
    found: Counted = Field(description="Melanomas that the model called melanoma.")
    cleared: Counted = Field(description="Other lesions that the model did not call melanoma.")
    refused: Counted | None = Field(
        None,
        description="Lesions about which the app would give no answer; None where the model has no "
        "judge of images.",
    )
    melanomas_refused: Counted | None = Field(
        None, description="Melanomas among `refused`; None likewise."
    )


class PredictiveValue(Frozen):
    """How often the call melanoma is right at the prevalence of this clinic."""

    prevalence: float = Field(description="Share of melanomas among the lesions, 0 to 1.")
    value: float = Field(description="Positive predictive value, 0 to 1.")
    lower: float = Field(description="Lower bound, 0 to 1.")
    upper: float = Field(description="Upper bound, 0 to 1.")


class ModelFacts(Frozen):
    """The model that answers."""

    version: int = Field(description="Number of the version in MLflow.")
    standing: Literal["champion", "challenger"] = Field(description="In use, or waiting.")
    sha256: str = Field(description="SHA-256 of the ``.keras`` file that was judged.")
    recipe: str = Field(description="Recipe of the training.")
    trained: str = Field(description="When the training ended, UTC, ISO 8601.")
    images: int = Field(description="Images that it learned from, without drawn copies.")
    run: str = Field(description="Name of the run that made it.")
    synthetic: bool = Field(description="Whether it learned from drawn lesions alone.")
    threshold: float = Field(description="Melanoma probability from which melanoma is called.")
    judged: tuple[Judged, ...] = Field(description="Its own test part first, then each set.")
    predictive_value: PredictiveValue | None = Field(
        description="None where the installation states no prevalence."
    )


class Refused(Frozen):
    """Why the model must not answer about an image."""

    image: int = Field(description="Which of the images that were sent, from 1.")
    ground: Ground = Field(description="What is wrong with the image.")
    measured: str = Field(description="The figure, its limit, and the unit, in words.")


class Answer(Frozen):
    """The answer about one lesion, from one or several images of the lesion."""

    decision: Decision = Field(description="The call at the model's threshold, or none.")
    probabilities: dict[str, float] = Field(
        description="Calibrated probability of each class, 0 to 1, melanoma first, then the most "
        "probable; the mean over the images. Empty where the model cannot judge."
    )
    refused: tuple[Refused, ...] = Field(
        description="Why the model cannot judge; empty where it answers."
    )
    images: int = Field(description="Images of the lesion that were sent.")
    model: ModelFacts = Field(description="The model that answered.")
    attention: tuple[str, ...] = Field(
        (),
        description="PNG of each image, as a data URL, that shows what speaks for melanoma (red) "
        "and against melanoma (blue); only where asked for.",
    )
    lesion: str = Field(
        "",
        description="Number under which the images are kept, for the diagnosis that comes later; "
        "empty where none is kept.",
    )
    not_kept: str = Field(
        "", description="Why images that were to be kept are not; empty where nothing is wrong."
    )
    notice: str = Field(description="What this answer is not.")
