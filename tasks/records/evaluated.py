"""The record of ``evaluate``: figures of the chosen recipe, and of the champion for comparison."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from tasks.lesions import Diagnosis
from tasks.recipes import RecordedRecipe
from tasks.records.figures import Estimate, Figures, Proportion
from tasks.records.record import Artifact, Frozen, LedgerHead, Record
from tasks.records.refusals import Refusals
from tasks.records.shortcuts import Probes


class MissedMelanoma(Frozen):
    """A melanoma lesion that fell below the threshold."""

    image_ids: tuple[str, ...] = Field(description="Images of the lesion.")
    probability: float = Field(
        description="Melanoma probability, the mean over the lesion's images, 0 to 1."
    )
    by_champion: bool | None = Field(
        description="Whether the champion misses the lesion too; None without a champion."
    )
    saliency: Artifact | None = Field(
        description="PNG: the lesion's first image beside a map of what speaks for melanoma (red) "
        "and against melanoma (blue), see `tasks.evaluation.saliency`. Only the first few missed "
        "lesions have a map; None for the others."
    )


class _InOneText(tuple[str, ...]):
    """Image ids that format 1 wrote as one text, separated by blanks. They are written back in
    the same form, so that the content hash of an old record does not change."""


def _ids(value: Any, read: ValidatorFunctionWrapHandler) -> tuple[str, ...]:
    if isinstance(value, str):
        return _InOneText(value.split(" "))
    return value if isinstance(value, _InOneText) else tuple(read(value))


def _as_it_came(ids: tuple[str, ...]) -> str | tuple[str, ...]:
    return " ".join(ids) if isinstance(ids, _InOneText) else ids


LesionIds = Annotated[tuple[str, ...], WrapValidator(_ids), PlainSerializer(_as_it_came)]


class Comparison(Frozen):
    """The champion on the same lesions, each model at its own threshold."""

    threshold: float = Field(description="The champion's threshold.")
    sensitivity: Proportion = Field(description="The champion's sensitivity for melanoma.")
    specificity: Proportion = Field(description="The champion's specificity for melanoma.")
    auc: Estimate = Field(description="The champion's area under the ROC curve.")
    both_found: int = Field(description="Melanoma lesions that both models find.")
    champion_only: int = Field(
        description="Melanoma lesions that the champion finds and the challenger misses."
    )
    challenger_only: int = Field(
        description="Melanoma lesions that the challenger finds and the champion misses."
    )
    neither_found: int = Field(description="Melanoma lesions that both models miss.")
    auc_difference: Estimate = Field(description="The challenger's `auc` minus the champion's.")
    lost: tuple[LesionIds, ...] = Field(description="Image ids of each lesion of `champion_only`.")


class Champion(Frozen):
    """The model in use when the challenger was evaluated."""

    version: int = Field(description="Version number of the champion in the registry.")
    run: str = Field(description="Address of the run that made the champion.")
    model_sha256: str = Field(description="SHA-256 of the champion's ``.keras`` file.")
    classes: tuple[str, ...] = Field(description="Classes that the champion knows.")
    learned_from: int | None = Field(
        description="Number of test images that the champion was trained or tuned on. Such images "
        "favour the champion in the comparison. None if the number is not known."
    )
    problem: str | None = Field(
        description="Why the champion could not be compared; then `comparison` is None."
    )
    comparison: Comparison | None = Field(description="The champion on the same lesions.")


class Ranking(Frozen):
    """The standing challenger on the same lesions, each model at its own threshold."""

    threshold: float = Field(description="The standing challenger's threshold.")
    sensitivity: Proportion = Field(description="Its sensitivity for melanoma.")
    specificity: Proportion = Field(description="Its specificity for melanoma.")
    auc: Estimate = Field(description="Its area under the ROC curve.")
    auc_difference: Estimate = Field(description="The new model's area minus the standing one's.")
    only_standing: int = Field(description="Melanoma lesions that only the standing one finds.")
    only_new: int = Field(description="Melanoma lesions that only the new model finds.")

    @property
    def new_is_worse(self) -> bool:
        """Whether the new model ranks melanomas worse; with equal areas, finds fewer of them."""
        difference = self.auc_difference.value or 0.0
        return difference < 0 or (difference == 0 and self.only_standing > self.only_new)


class Standing(Frozen):
    """The challenger that waited for a decision when the new model was evaluated."""

    version: int = Field(description="Version number of the standing challenger in the registry.")
    run: str = Field(description="Address of the run that made it.")
    model_sha256: str = Field(description="SHA-256 of its ``.keras`` file.")
    learned_from: int | None = Field(
        description="Number of test images that it was trained or tuned on, which favour it. None "
        "if the number is not known."
    )
    problem: str | None = Field(description="Why it could not be compared; then no `ranking`.")
    ranking: Ranking | None = Field(description="The standing challenger on the same lesions.")


class External(Frozen):
    """The chosen recipe on one external set, at its own threshold."""

    name: str = Field(description="Name of the set.")
    set_sha256: str = Field(description="SHA-256 over the images that count, and their labels.")
    left: dict[str, int] = Field(
        description="Images of the set that do not count, by reason, in words."
    )
    without_image: int = Field(description="Image ids in the set's tables without an image.")
    figures: Figures | None = Field(
        description="Figures on the set. A lesion of no class of the model counts as not melanoma. "
        "None if no image counts."
    )
    sensitivity_drop: Estimate = Field(
        description="Sensitivity on the own test part minus that on the set, -1 to 1."
    )
    auc_drop: Estimate = Field(
        description="Area under the ROC curve on the own test part minus that on the set, -1 to 1."
    )
    predictions: Artifact | None = Field(
        description="Parquet, the columns of `Evaluated.predictions`; None if no image counts."
    )
    champion: Comparison | None = Field(
        description="The model in use on the same lesions; None if it did not answer."
    )
    standing: Ranking | None = Field(
        description="The challenger that waits for a decision on the same lesions; None if it did "
        "not answer."
    )
    champion_learned_from: int | None = Field(
        None,
        description="Number of these images that the champion was trained or tuned on, which "
        "favour it. None if there is none, or if the number is not known.",
    )
    standing_learned_from: int | None = Field(
        None, description="As `champion_learned_from`, of the challenger that waits."
    )


class CrossEstimate(Frozen):
    """Cross-validation: models of the chosen recipe, each judged on lesions that it never saw.

    The figures estimate the training procedure, not the model of the run: none of the models of
    the folds is kept. The intervals count each lesion once. They do not include the spread between
    trainings, which no single cross-validation shows (Bengio & Grandvalet, JMLR 5:1089-1105,
    2004).
    """

    folds: int = Field(
        description="Number of folds. Each fold is judged once, by a model trained on other folds."
    )
    thresholds: tuple[float, ...] = Field(
        description="Threshold of each fold's model, chosen on that model's validation fold."
    )
    figures: Figures = Field(description="Over all lesions of training, validation and test part.")
    predictions: Artifact = Field(
        description="Parquet: the columns of `Evaluated.predictions`, with ``fold`` (from 1) and "
        "``threshold``."
    )


class Evaluated(Record):
    """The chosen recipe on the frozen test part."""

    # 1 wrote the image ids of a lesion as one text, and called the recipe `residual` `best`; 2
    # compared with no other challenger; 3 knew neither external sets nor figures of mixed archives,
    # and asked about no changed images; 4 knew no recipe `travel`, and counted no external images
    # that others had learned from; 5 had no judge of images.
    FORMAT: ClassVar[int] = 6
    NOT_CONTENT: ClassVar[dict[str, Any]] = {"ledger": True}
    ADDED: ClassVar[tuple[str, ...]] = ("standing", "external", "shortcuts", "refusals")

    recipe: RecordedRecipe = Field(description="Chosen by balanced accuracy on validation.")
    model: Artifact = Field(description="The recipe's ``.keras`` file, as `train` made it.")
    classes: tuple[Diagnosis, ...] = Field(description="Order of the model's outputs.")
    threshold: float = Field(
        description="Melanoma probability at or above which a lesion is called melanoma: the "
        "highest that reaches the target sensitivity on validation."
    )
    validation_sensitivity: Proportion = Field(
        description="Melanoma sensitivity on validation, at the threshold."
    )
    validation_balanced_accuracy: dict[RecordedRecipe, float] = Field(
        description="Balanced accuracy of each recipe on validation, 0 to 1."
    )
    test_part: str = Field(description="SHA-256 over the images and labels of the test part.")
    figures: Figures = Field(description="Figures on the test part.")
    missed: tuple[MissedMelanoma, ...] = Field(
        description="The melanomas that fell below the threshold, the least probable first."
    )
    champion: Champion | None = Field(
        description="The model in use, on the same lesions; None if no model is in use."
    )
    predictions: Artifact = Field(
        description="Parquet: image_id, lesion, group, label, source, age_years, sex, site, "
        "skin_tone, sharpness, a probability for each class, the champion's and the standing "
        "challenger's of melanoma, the model's own of melanoma after each change of the image, and "
        "the grounds on which the image is refused, empty for none."
    )
    standing: Standing | None = Field(
        None,
        description="The challenger that waits for a decision, on the same lesions; None if none "
        "waits, or if it is this very model.",
    )
    cross: CrossEstimate | None = Field(
        None,
        description="Cross-validation over all lesions; None unless configured.",
    )
    ledger: LedgerHead | None = Field(
        None,
        description="Head of the ledger after this look at the test part was entered; None in "
        "records older than the ledger's chain.",
    )
    external: tuple[External, ...] = Field(
        (), description="The same model on the external sets, which it never learned from."
    )
    shortcuts: Probes | None = Field(
        None,
        description="The model asked again about changed images, to see what else than lesions it "
        "looks at; None in older records.",
    )
    refusals: Refusals | None = Field(
        None,
        description="The judge that says about which images the model must not be asked, and what "
        "it refuses; None in older records, and where there are too few images to fit one.",
    )
