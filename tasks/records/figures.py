"""The figures of a model on labelled images, each with its bounds."""

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
    """A figure that is not a simple proportion, with its two-sided 95 % interval."""

    value: float | None = Field(
        description="The figure; None where the data cannot give it, as without any melanoma."
    )
    lower: float | None = Field(
        description="Lower bound; None where there is no value, or only one lesion of a kind."
    )
    upper: float | None = Field(description="Upper bound; None where `lower` is None.")
    n: int = Field(description="Lesions that the figure was counted on.")
    method: str = Field(description="How the interval was made.")


class ClassFigures(Frozen):
    """One class against all others. The most probable class of a lesion is the model's answer."""

    recall: Proportion = Field(
        description="Sensitivity: lesions of the class that the model assigned to the class."
    )
    specificity: Proportion = Field(
        description="Lesions of other classes that the model did not assign to the class."
    )
    prevalence: float | None = Field(
        description="Configured prevalence of the class where the model will be used; None if no "
        "prevalence is stated."
    )
    ppv: Estimate | None = Field(
        description="Positive predictive value at `prevalence`; None without a prevalence."
    )
    auc: Estimate = Field(
        description="Area under the ROC curve of the class's probability: lesions of the class "
        "against all other lesions."
    )


class CalibrationBin(Frozen):
    """Lesions of similar melanoma probability."""

    predicted: float = Field(description="Mean melanoma probability of these lesions, 0 to 1.")
    observed: Proportion = Field(description="How many of these lesions are melanomas.")


class Calibration(Frozen):
    """Whether the model is calibrated: whether, of lesions with a melanoma probability of 30 %,
    3 in 10 are melanomas."""

    expected_error: Estimate = Field(
        description="Expected calibration error over `bins`, 0 to 1. Even a perfectly calibrated "
        "model has an error above 0: with few lesions a bin is off by chance."
    )
    brier: Estimate = Field(
        description="Brier score: mean squared distance of the melanoma probability from the truth "
        "(0 or 1), 0 to 1."
    )
    bins: tuple[CalibrationBin, ...] = Field(
        description="The reliability curve, in bins that each hold equally many lesions."
    )


class WithinSource(Frozen):
    """Melanoma against nevus within one archive, where the archive cannot reveal the class."""

    source: str = Field(description="The archive.")
    melanomas: int = Field(description="Melanoma lesions of the archive.")
    nevi: int = Field(description="Nevus lesions of the archive.")
    auc: Estimate = Field(
        description="Area under the ROC curve of the melanoma probability among these lesions."
    )


class Subgroup(Frozen):
    """The lesions that share one value of a trait."""

    trait: Trait = Field(description="The trait by which lesions are grouped.")
    value: str = Field(description="The value that these lesions share.")
    lesions: int = Field(description="Number of lesions.")
    sensitivity: Proportion = Field(description="Melanoma sensitivity among these lesions.")
    specificity: Proportion = Field(description="Melanoma specificity among these lesions.")
    auc: Estimate = Field(
        description="Area under the ROC curve of the melanoma probability among these lesions."
    )
    sufficient: bool = Field(
        description="False where the subgroup has too few melanomas or too few other lesions. Its "
        "figures are then too uncertain to be shown as results."
    )


class MixedArchives(Frozen):
    """Figures over the archives that hold both melanomas and other lesions.

    A model that knows the archive needs no look at the lesion where an archive holds no melanoma:
    such an archive adds to the specificity and proves nothing. So does one of melanomas alone.
    """

    archives: tuple[str, ...] = Field(description="The archives that count.")
    left_out: dict[str, int] = Field(
        description="The other archives, which hold melanomas alone or none, with their lesions."
    )
    lesions: int = Field(description="Lesions of the archives that count.")
    sensitivity: Proportion = Field(description="Melanoma sensitivity among these lesions.")
    specificity: Proportion = Field(description="Melanoma specificity among these lesions.")
    auc: Estimate = Field(
        description="Area under the ROC curve of the melanoma probability among these lesions."
    )


class Figures(Frozen):
    """The figures of a model on a set of labelled images.

    Every figure counts each lesion once, by the mean probability over the lesion's images, because
    the images of one lesion are not independent. Only `accuracy_of_images` and
    `balanced_accuracy_of_images` count images, for comparison with published results.
    """

    images: int = Field(description="Number of images.")
    lesions: int = Field(description="Number of lesions that the images show.")
    classes: tuple[Diagnosis, ...] = Field(
        description="Classes, in the order of the rows and columns of `confusion`."
    )
    threshold: float | None = Field(
        description="Melanoma probability at or above which a lesion is called melanoma; None "
        "where several models, each with its own threshold, made the predictions."
    )
    sensitivity: Proportion = Field(
        description="Melanoma lesions that are called melanoma, at the threshold."
    )
    specificity: Proportion = Field(
        description="Other lesions that are not called melanoma, at the threshold."
    )
    prevalence: float | None = Field(
        description="Configured prevalence of melanoma where the model will be used."
    )
    ppv: Estimate | None = Field(
        description="Positive predictive value of the call melanoma at the stated prevalence; None "
        "without a prevalence."
    )
    auc: Estimate = Field(
        description="Area under the ROC curve: melanoma lesions against all others."
    )
    partial_auc: Estimate = Field(
        description="The part of the area under the ROC curve where sensitivity is above 80 %: 0 "
        "to 0.2. A model that guesses has 0.02."
    )
    accuracy: Proportion = Field(
        description="Lesions of a known class whose most probable class is the true one."
    )
    balanced_accuracy: Estimate = Field(
        description="Mean recall over the classes that occur, 0 to 1."
    )
    accuracy_of_images: Estimate = Field(description="`accuracy`, by image.")
    balanced_accuracy_of_images: Estimate = Field(description="`balanced_accuracy`, by image.")
    per_class: dict[Diagnosis, ClassFigures] = Field(description="Figures of each class.")
    confusion: tuple[tuple[int, ...], ...] = Field(
        description="Rows: true class; columns: most probable class; lesions."
    )
    calibration: Calibration = Field(description="Calibration of the melanoma probability.")
    within_source: tuple[WithinSource, ...] = Field(
        description="One entry for each archive that holds both melanomas and nevi."
    )
    subgroups: tuple[Subgroup, ...] = Field(
        description="One entry for each value of each trait that is known."
    )
    called: dict[Diagnosis, Proportion] | None = Field(
        None,
        description="Number of lesions of each class that are called melanoma, at the threshold; "
        "None in older records, which did not keep these counts.",
    )
    mixed: MixedArchives | None = Field(
        None,
        description="The headline figures, which no archive of one kind of lesion can flatter; "
        "None in older records, which did not keep them.",
    )

    @property
    def headline(self) -> "MixedArchives | Figures":
        """The figures to be shown first, with sensitivity, specificity, area and lesions: over the
        archives that hold both kinds of lesions, or over all where none does or nobody knows."""
        return self.mixed if self.mixed and self.mixed.archives else self
