"""What is measured of a model on labelled images, each figure with its bounds."""

from typing import Literal

from pydantic import Field

from tasks.lesions import Diagnosis
from tasks.records.record import Frozen

Trait = Literal["source", "age", "sex", "site", "skin tone (estimate)", "sharpness"]


class Proportion(Frozen):
    """Successes out of n with an exact (Clopper-Pearson) two-sided 95 % interval."""

    successes: int = Field(description="How many of `n` succeeded.")
    n: int = Field(description="How many were counted.")
    estimate: float | None = Field(description="`successes` / `n`, 0 to 1; None where `n` is 0.")
    lower: float = Field(description="Lower bound, 0 to 1.")
    upper: float = Field(description="Upper bound, 0 to 1.")


class Estimate(Frozen):
    """A figure that is no simple proportion, with its two-sided 95 % interval."""

    value: float | None = Field(
        description="None where the data cannot say: no lesion of a kind, for example."
    )
    lower: float | None = Field(
        description="Lower bound; None where there is no value, or one lesion of a kind only."
    )
    upper: float | None = Field(description="Upper bound; None where `lower` is.")
    n: int = Field(description="Lesions that the figure was counted on.")
    method: str = Field(description="How the interval was made.")


class ClassFigures(Frozen):
    """One class against all others, by the most probable class of a lesion."""

    recall: Proportion = Field(
        description="Lesions of the class that were called the class (sensitivity)."
    )
    specificity: Proportion = Field(description="Other lesions that were not called the class.")
    prevalence: float | None = Field(
        description="Share of the class where the model will be used, as configured; None if the "
        "share is not stated."
    )
    ppv: Estimate | None = Field(
        description="Positive predictive value at that prevalence; None without a prevalence."
    )
    auc: Estimate = Field(
        description="Area under the ROC curve of the class's probability, lesions of the class "
        "against all others."
    )


class CalibrationBin(Frozen):
    """Lesions of similar melanoma probability."""

    predicted: float = Field(description="Mean of their melanoma probabilities, 0 to 1.")
    observed: Proportion = Field(description="How many of them are melanoma.")


class Calibration(Frozen):
    """Whether a melanoma probability of 30 % means 3 of 10 lesions."""

    expected_error: Estimate = Field(
        description="Expected calibration error over `bins`, 0 to 1. It is never 0, not even for a "
        "perfect model: with few lesions a bin is off by chance."
    )
    brier: Estimate = Field(
        description="Mean squared distance of the probability from the truth, 0 to 1."
    )
    bins: tuple[CalibrationBin, ...] = Field(
        description="The reliability curve; bins of equally many lesions."
    )


class WithinSource(Frozen):
    """Melanoma against nevus among the lesions of one archive: the archive cannot give it away."""

    source: str = Field(description="The archive.")
    melanomas: int = Field(description="Melanoma lesions of the archive.")
    nevi: int = Field(description="Nevus lesions of the archive.")
    auc: Estimate = Field(
        description="Area under the ROC curve of the melanoma probability among these lesions."
    )


class Subgroup(Frozen):
    """The lesions that share a trait."""

    trait: Trait = Field(description="By what the lesions are grouped.")
    value: str = Field(description="What they share.")
    lesions: int = Field(description="How many there are.")
    sensitivity: Proportion = Field(description="Of the melanoma lesions among them.")
    specificity: Proportion = Field(description="Of the other lesions among them.")
    auc: Estimate = Field(
        description="Area under the ROC curve of the melanoma probability among them."
    )
    sufficient: bool = Field(
        description="False where there are fewer melanomas or other lesions than a figure needs; "
        "the figures are then too uncertain to be shown as such."
    )


class Figures(Frozen):
    """What a model does on a set of labelled images.

    All count lesions, each once, by the mean of its images' probabilities, because the images of
    one lesion are not independent; two figures by image are there to compare with others' results.
    """

    images: int = Field(description="How many images there are.")
    lesions: int = Field(description="How many lesions the images show.")
    classes: tuple[Diagnosis, ...] = Field(description="Order of `confusion`.")
    threshold: float | None = Field(
        description="Melanoma probability at or above which a lesion is called melanoma; None "
        "where several models made the predictions, each with its own."
    )
    sensitivity: Proportion = Field(
        description="Melanoma lesions that are called melanoma, at the threshold."
    )
    specificity: Proportion = Field(
        description="Other lesions that are not called melanoma, at the threshold."
    )
    prevalence: float | None = Field(
        description="Share of melanomas where the model will be used, as configured."
    )
    ppv: Estimate | None = Field(
        description="Positive predictive value of the call melanoma, at that prevalence; None "
        "without a prevalence."
    )
    auc: Estimate = Field(
        description="Area under the ROC curve: melanoma lesions against all others."
    )
    partial_auc: Estimate = Field(
        description="The part of `auc` where sensitivity is above 80 %: 0 to 0.2, and 0.02 for a "
        "model that knows nothing."
    )
    accuracy: Proportion = Field(description="Of the most probable class.")
    balanced_accuracy: Estimate = Field(
        description="Mean recall over the classes that occur, 0 to 1."
    )
    accuracy_of_images: Estimate = Field(description="`accuracy`, by image.")
    balanced_accuracy_of_images: Estimate = Field(description="`balanced_accuracy`, by image.")
    per_class: dict[Diagnosis, ClassFigures] = Field(description="Figures of each class.")
    confusion: tuple[tuple[int, ...], ...] = Field(
        description="Rows: true class; columns: most probable class; lesions."
    )
    calibration: Calibration = Field(description="Of the melanoma probability.")
    within_source: tuple[WithinSource, ...] = Field(
        description="One for each archive that holds melanomas and nevi."
    )
    subgroups: tuple[Subgroup, ...] = Field(description="One for each trait that is known.")
    called: dict[Diagnosis, Proportion] | None = Field(
        None,
        description="Of each class, the lesions that are called melanoma, at the threshold; None "
        "in records from before they were kept.",
    )
