"""What ``evaluate`` promises: the chosen recipe's figures, and the champion beside it."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from tasks.lesions import Diagnosis
from tasks.recipes import RecordedRecipe
from tasks.records.figures import Estimate, Figures, Proportion
from tasks.records.record import Artifact, Frozen, LedgerHead, Record


class MissedMelanoma(Frozen):
    """A melanoma lesion that fell below the threshold."""

    image_ids: tuple[str, ...] = Field(description="Images of the lesion.")
    probability: float = Field(description="Of melanoma, the mean of its images, 0 to 1.")
    by_champion: bool | None = Field(
        description="Whether the champion misses it too; None if there is none to ask."
    )
    saliency: Artifact | None = Field(
        description="PNG: its first image, and beside it what speaks for melanoma (red) and "
        "against it (blue), see `tasks.evaluation.saliency`; None beyond the first few."
    )


class _InOneText(tuple[str, ...]):
    """Image ids that format 1 wrote as one text, with blanks between. They are written back so:
    else the content hash of an old record would be another one."""


def _ids(value: Any, read: ValidatorFunctionWrapHandler) -> tuple[str, ...]:
    if isinstance(value, str):
        return _InOneText(value.split(" "))
    return value if isinstance(value, _InOneText) else tuple(read(value))


def _as_it_came(ids: tuple[str, ...]) -> str | tuple[str, ...]:
    return " ".join(ids) if isinstance(ids, _InOneText) else ids


LesionIds = Annotated[tuple[str, ...], WrapValidator(_ids), PlainSerializer(_as_it_came)]


class Comparison(Frozen):
    """The champion on the same lesions, each model at its own threshold."""

    threshold: float = Field(description="The champion's.")
    sensitivity: Proportion = Field(description="The champion's.")
    specificity: Proportion = Field(description="The champion's.")
    auc: Estimate = Field(description="The champion's area under the ROC curve.")
    both_found: int = Field(description="Melanoma lesions that both find.")
    champion_only: int = Field(
        description="Melanoma lesions that the champion finds and the challenger misses."
    )
    challenger_only: int = Field(
        description="Melanoma lesions that the challenger finds and the champion misses."
    )
    neither_found: int = Field(description="Melanoma lesions that both miss.")
    auc_difference: Estimate = Field(description="The challenger's `auc` less the champion's.")
    lost: tuple[LesionIds, ...] = Field(description="Image ids of each lesion of `champion_only`.")


class Champion(Frozen):
    """The model in use when this one was evaluated."""

    version: int = Field(description="Its number in the registry.")
    run: str = Field(description="Address of the run that made it.")
    model_sha256: str = Field(description="SHA-256 of its ``.keras`` file.")
    classes: tuple[str, ...] = Field(description="Classes that it knows.")
    learned_from: int | None = Field(
        description="Images of the test part that it was trained or tuned on, so that the "
        "comparison favours it; None if that is not known."
    )
    problem: str | None = Field(
        description="Why it could not be compared with; then `comparison` is None."
    )
    comparison: Comparison | None = Field(description="The champion on the same lesions.")


class CrossEstimate(Frozen):
    """What the procedure does: models like the chosen one, each on lesions that it never saw.

    An estimate of the procedure, not of the model: none of these models is kept. The intervals
    count each lesion once and know nothing of the spread between trainings, which no single
    cross-validation shows (Bengio & Grandvalet, JMLR 5:1089-1105, 2004).
    """

    folds: int = Field(description="How many; each is judged once, by a model of the others.")
    thresholds: tuple[float, ...] = Field(
        description="Of each fold's model, from its own validation fold."
    )
    figures: Figures = Field(description="Over all lesions of training, validation and test part.")
    predictions: Artifact = Field(
        description="Parquet: as those of `Evaluated`, with ``fold`` (from 1) and ``threshold``."
    )


class Evaluated(Record):
    """The chosen recipe on the frozen test part."""

    # 1 wrote the image ids of a lesion as one text, and called the recipe `residual` `best`.
    FORMAT: ClassVar[int] = 2
    NOT_CONTENT: ClassVar[dict[str, Any]] = {"ledger": True}

    recipe: RecordedRecipe = Field(description="Chosen by balanced accuracy on validation.")
    model: Artifact = Field(description="The recipe's ``.keras`` file, as `train` made it.")
    classes: tuple[Diagnosis, ...] = Field(description="Order of the model's outputs.")
    threshold: float = Field(
        description="Melanoma probability at or above which a lesion is called melanoma: the "
        "highest that reaches the target sensitivity on validation."
    )
    validation_sensitivity: Proportion = Field(
        description="Sensitivity on validation, at the threshold."
    )
    validation_balanced_accuracy: dict[RecordedRecipe, float] = Field(
        description="Balanced accuracy of each recipe on validation, 0 to 1."
    )
    test_part: str = Field(description="SHA-256 over what the test part holds: images and labels.")
    figures: Figures = Field(description="On the test part.")
    missed: tuple[MissedMelanoma, ...] = Field(
        description="The melanomas that fell below the threshold, the least probable first."
    )
    champion: Champion | None = Field(
        description="The model in use, on the same lesions; None if there is none."
    )
    predictions: Artifact = Field(
        description="Parquet: image_id, lesion, group, label, source, age_years, sex, site, "
        "skin_tone, sharpness, a probability for each class, and the champion's of melanoma."
    )
    cross: CrossEstimate | None = Field(
        None,
        description="Beside the test part, the procedure over all lesions; None unless configured.",
    )
    ledger: LedgerHead | None = Field(
        None,
        description="Head of the ledger once this look at the test part was entered; None in "
        "records from before there was a chain.",
    )
