"""The records: what each step promises to the steps after it.

One record per step and run, ``runs/<run>/<step>/record.json``, written last and once. Everything
in a record but its ``provenance`` is its content; the content's SHA-256 is what reuse compares.
"""

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from tasks.config import Law, Retraining
from tasks.lesions import Diagnosis
from tasks.recipes import RecordedRecipe, recipe_now, with_present_names

Side = Literal["train", "validation", "test"]
Severity = Literal["information", "warning", "error"]
# What a law counts: the name of a file, image, lesion or class, or a pair of them.
Example = str | tuple[str, str]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Artifact(Frozen):
    """One object in the store that a record vouches for."""

    key: str
    sha256: str
    size_bytes: int


class LedgerHead(Frozen):
    """The last entry of a ledger's chain that a record knew, see `tasks.engine.ledger`.

    Attributes:
        number: Of the entry, from 1.
        sha256: Of its bytes.
    """

    number: int = Field(ge=1)
    sha256: str


class Provenance(Frozen):
    """How a record came to be. Not part of its content."""

    step: str
    run: str
    config: Annotated[Retraining, BeforeValidator(with_present_names)]
    code: str = Field(description="SHA-256 over the source of the step and all it imports.")
    fingerprint: str = Field(description="SHA-256 over code, libraries, config and inputs.")
    inputs: dict[str, str] = Field(description="Content hash of each record that was read.")
    parts: dict[str, str] = Field({}, description="Content hash of the record of each part.")
    outside: dict[str, str] = Field({}, description="What `Step.outside` names, as it was then.")
    reused_from: str | None = Field(description="The run that did the work, if not this one.")
    committed_at: str = Field(description="UTC, ISO 8601.")
    seconds: float = Field(
        description="Wall time of the step, without interpreter start-up, and without its parts."
    )
    seconds_of_parts: float = Field(
        0.0,
        description="Sum of the wall times of its parts, wherever each was done. Side by side they "
        "take less by the clock.",
    )
    peak_memory_bytes: int
    machine: str
    image: str | None = Field(None, description="Digest of the container image, if it ran in one.")

    @property
    def seconds_in_all(self) -> float:
        """Wall time of the step and of its parts, one after another."""
        return self.seconds + self.seconds_of_parts


class Record(Frozen):
    """What all records share.

    Attributes:
        NOT_CONTENT: Fields that say when or on what the work was done, as pydantic's `exclude`
            names them: True for a field, a mapping for fields of what it holds.
        ADDED: Fields that earlier versions of the program did not know. They are content where
            they say something, so that a record from before them keeps its hash.
    """

    NOT_CONTENT: ClassVar[dict[str, Any]] = {}
    ADDED: ClassVar[tuple[str, ...]] = ()

    provenance: Provenance | None = None

    @property
    def content_hash(self) -> str:
        """SHA-256, hex, over what the record says, apart from how and where it came to be.

        Artifacts count by their bytes, not by the key under which an attempt left them, so two
        attempts at the same deterministic work have the same hash.
        """
        silent = {
            name: True
            for name in self.ADDED
            if getattr(self, name) == type(self).model_fields[name].default
        }
        content = self.model_dump(
            mode="json", exclude={"provenance": True} | self.NOT_CONTENT | silent
        )
        return hashlib.sha256(json.dumps(_placeless(content), sort_keys=True).encode()).hexdigest()

    def with_provenance(self, provenance: Provenance) -> Self:
        return self.model_copy(update={"provenance": provenance})

    @property
    def reason_to_stop(self) -> str | None:
        """Why the steps after this one must not run, if they must not."""
        return None


# Fields of what records hold that earlier versions did not know, or that later ones leave empty:
# where they say nothing they are no content, so that an old record keeps its hash.
ADDED_WITHIN = ("called", "fit")


def _placeless(value: Any) -> Any:
    if isinstance(value, dict):
        place = {"key"} if value.keys() == Artifact.model_fields.keys() else set()
        place |= {name for name in ADDED_WITHIN if value.get(name, "") in (None, "")}
        return {name: _placeless(part) for name, part in value.items() if name not in place}
    return [_placeless(part) for part in value] if isinstance(value, list) else value


class IngestedPart(Record):
    """The files of one part, decoded.

    Attributes:
        rows: Parquet, one row per image file of this part: what `tasks.intake.manifest.COLUMNS`
            says of it, but for what tables tell.
        shards: ``.npy`` files, as in `Ingested`.
        fetched: Files that no run which ended had fetched; see `Ingested`.
    """

    rows: Artifact
    shards: tuple[Artifact, ...]
    fetched: int


class Ingested(Record):
    """The delivered files, decoded once.

    Attributes:
        manifest: Parquet, one row per file under ``raw/`` that is not a table; its columns are
            those of `tasks.intake.manifest.COLUMNS`.
        shards: ``.npy`` files, uint8 ``(n, packed_px, packed_px, 3)``, RGB, 0 to 255.
        files: Rows in the manifest.
        decoded: Rows whose pixels could be decoded.
        fetched: Files that had to be fetched; the rest was known by its ETag from a run whose
            ingest ended. How many attempts it took, of this run or another, makes no difference.
        tables: Metadata tables that were recognized, with the rows of each.
        ignored: Keys under ``raw/`` that are neither an image nor a recognized table.
        rows_without_image: Image ids in the tables of which no image was delivered; and a few.
        synthetic: True if any file was drawn by ``tasks.intake.synthesize``.
    """

    manifest: Artifact
    shards: tuple[Artifact, ...]
    packed_px: int
    files: int
    decoded: int
    fetched: int
    tables: dict[str, int]
    ignored: tuple[str, ...]
    rows_without_image: int
    rows_without_image_examples: tuple[str, ...]
    synthetic: bool


class Finding(Frozen):
    """One law that the data broke, or kept (count 0).

    Attributes:
        law: Name of the law.
        description: What it demands, and what `count` counts.
        count: How many image ids, files or classes break it.
        severity: What it means for a model trained on the data.
        consequence: What the pipeline did about it.
        remark: What more there is to say, in words.
        examples: Up to 10 of what `count` counts; of near duplicates, the keys of both files.
    """

    law: Law
    description: str
    count: int
    severity: Severity
    consequence: str
    remark: str
    examples: tuple[Example, ...]

    @field_validator("examples", mode="before")
    @classmethod
    def _apart(cls, examples: Any, known: ValidationInfo) -> Any:
        """Format 1 wrote a pair as one text."""
        if known.data.get("law") != "near_duplicate":
            return examples
        return [
            tuple(each.split(" ~ ", 1)) if isinstance(each, str) and " ~ " in each else each
            for each in examples
        ]

    @property
    def told(self) -> tuple[str, ...]:
        """The examples, for a person."""
        return tuple(
            " ~ ".join((each,) if isinstance(each, str) else each) for each in self.examples
        )


class ValidatedPart(Record):
    """The near duplicates of one part's images among all images.

    Attributes:
        pairs: Parquet, one row per pair: ``first`` and ``second`` (keys), ``distance``,
            ``correlation``; see `tasks.intake.likeness.near_duplicates`.
        compared: Images of this part.
    """

    pairs: Artifact
    compared: int


class Changed(Frozen):
    """How many break a law now, and how many did in the run before."""

    law: Law
    before: int
    now: int


# Why a run is the one to compare with.
Basis = Literal["in use", "registered", "judged", "accepted"]


class Changes(Frozen):
    """What is different from the run whose data were accepted before.

    Attributes:
        since: That run.
        basis: Why it is that run: its model is in use, or was registered last; where none ever
            was, it came to a verdict last, or at least to its data.
        new_files: Files that it did not know.
        new_images: Image ids that it did not know.
        recognized: Image ids of new files that it knew already; the files may hold other pixels.
        gone_files: Files that it knew and that are not there any more.
        learnable: Classes that became learnable.
        not_learnable: Classes that ceased to be.
        accepted: Accepted images of each class, before and now.
        findings: Laws whose count is another one.
        now_quarantined: Files that were accepted before and are quarantined now, by law.
        now_accepted: Files that were quarantined before and are accepted now.
        files: CSV: key, image_id, change ("new image", "recognized again", "gone", "quarantined
            now", "accepted now"), law, reason.
    """

    since: str
    basis: Basis = "accepted"
    new_files: int
    new_images: int
    recognized: int
    gone_files: int
    learnable: tuple[Diagnosis, ...]
    not_learnable: tuple[Diagnosis, ...]
    accepted: dict[Diagnosis, tuple[int, int]]
    findings: tuple[Changed, ...]
    now_quarantined: dict[Law, int]
    now_accepted: int
    files: Artifact


class Validated(Record):
    """What may be learned from.

    Attributes:
        accepted: Parquet, the manifest's rows that broke no law.
        quarantine: CSV, one row per quarantined file: key, image_id, label, law, reason,
            counterpart (the key of the first file that it contradicts), other_counterparts (of
            all the others, for people only).
        findings: One per law.
        data_docs: Great Expectations' own pages; the first is the index.
        expectations_met: How many of the suite's expectations held.
        expectations: How many there are.
        classes: Accepted images of each learnable class.
        groups: Distinct lesions (as far as known) of each learnable class.
        relabelled: Files whose label the archive's ground truth replaced.
        changes: What is different from the accepted data of the run before, if there was one.
    """

    # The findings compare with earlier runs; what is learned from does not depend on them.
    NOT_CONTENT = dict.fromkeys(("data_docs", "findings", "changes"), True)

    accepted: Artifact
    quarantine: Artifact
    findings: tuple[Finding, ...]
    data_docs: tuple[Artifact, ...]
    expectations_met: int
    expectations: int
    quarantined: int
    classes: dict[Diagnosis, int]
    groups: dict[Diagnosis, int]
    relabelled: int
    changes: Changes | None


class Stratum(Frozen):
    """The groups of one class or one source, over the sides.

    Attributes:
        by: What kind of stratum it is.
        groups: Groups on each side.
        chance: How often a split by hash is at least as far from the configured shares (exact
            binomial, two-sided, Bonferroni over test and validation); None if the test part is a
            delivered one.
    """

    by: Literal["class", "source"]
    name: str
    groups: dict[Side, int]
    chance: float | None


class Split(Record):
    """The three parts.

    Attributes:
        parts: Parquet, the accepted rows with ``group``, ``decided_by`` and ``side``.
        proof: CSV, what it takes to recompute that no group straddles; see
            `tasks.splitting.sides.flaw_in`.
        left_out: CSV, the images that left because their group reaches a more protected side: key,
            image_id, label, side (that they left), reason, counterpart.
        counts: Images of each class on each side.
        groups: Groups on each side.
        strata: How evenly each class and each source is spread.
        bridging: Rows of `left_out`.
        renamed: Images of which the tables no longer say the lesion or patient by which they were
            put on their side when they were first split; they stay there.
        ledger: Its head after this split; None in records from before there was a chain.
    """

    # Where a chain stands is a matter of the store; which side an image stands on is in `parts`.
    NOT_CONTENT = {"ledger": True}
    ADDED = ("renamed",)

    parts: Artifact
    proof: Artifact
    left_out: Artifact
    counts: dict[Side, dict[Diagnosis, int]]
    groups: dict[Side, int]
    strata: tuple[Stratum, ...]
    bridging: int
    renamed: int = 0
    ledger: LedgerHead | None = None


class Balance(Record):
    """How uneven the training part is, and what would even it out.

    Attributes:
        counts: Training images of each class.
        imbalance_ratio: Images of the dominating class for each image of the rarest.
        target: Images that each class shall have with its copies; 0 if no copies are wanted.
        plan: Copies to draw for each class.
        capped: Classes whose copies are fewer than the target asks, because no image is copied
            more often than `copies_per_image`.
    """

    counts: dict[Diagnosis, int]
    rarest: Diagnosis
    dominating: Diagnosis
    imbalance_ratio: float
    target: int
    plan: dict[Diagnosis, int]
    capped: tuple[Diagnosis, ...]
    finding: str


class Oversampled(Record):
    """Augmentor's copies of training images.

    Attributes:
        copies: Parquet, one row per copy: ``source_key``, ``source_id``, ``copy`` (its number
            among the copies of its source), ``operations``, ``label``, ``group``, ``shard``,
            ``shard_sha256``, ``index``.
        shards: ``.npy`` files, uint8 ``(n, packed_px, packed_px, 3)``, RGB, 0 to 255.
        counts: Images of each class, originals and copies together.
    """

    copies: Artifact
    shards: tuple[Artifact, ...]
    counts: dict[Diagnosis, int]


class Epoch(Frozen):
    """Figures at the end of one pass over the training part. Losses are cross-entropies in nats.

    Attributes:
        val_recall: Of each class, in the order of the outputs; None for one with no image there.

    Validation takes one look at each image; what `residual` is saved as takes eight.
    """

    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float
    val_recall: tuple[float | None, ...] = ()
    seconds: float


FitKind = Literal[
    "underfits",
    "overfits",
    "overfits mildly",
    "had not finished learning",
    "neither over- nor underfits",
]


class Fit(Frozen):
    """What the curves of a training say, by the rules of `tasks.curve`.

    Attributes:
        epochs: How many there were.
        best: The one with the lowest validation loss, from 1.
        accuracy, val_accuracy: Of the last epoch, 0 to 1.
        loss, val_loss: Of the last epoch, in nats.
        lowest_val_loss: Of the best epoch, in nats.
        prior_loss: Cross-entropy of answering with the class shares alone, in nats.
    """

    kind: FitKind
    epochs: int
    best: int
    accuracy: float
    val_accuracy: float
    loss: float
    lowest_val_loss: float
    val_loss: float
    prior_loss: float

    @property
    def gap(self) -> float:
        """Accuracy in training less accuracy in validation, at the last epoch."""
        return self.accuracy - self.val_accuracy


class TrainedRecipe(Frozen):
    """One trained network.

    Attributes:
        model: A ``.keras`` file: uint8 or float RGB 0 to 255, ``(n, any, any, 3)``, to
            probabilities ``(n, classes)``. Preprocessing and temperature are inside. Weights of
            `best_epoch`.
        best_epoch: The epoch with the lowest validation loss, counted from 1.
        temperature: Fitted on validation; above 1, the network was overconfident.
        calibration_error: Expected calibration error on validation before and after; after, of the
            data that the temperature was fitted on, and so somewhat flattering.
        fit: What the curves say about over- and underfit, by rule.
        finding: The same as a sentence, in records from before it was kept as data.
        mlflow_run: Empty if MLflow did not answer; `register` then makes one.
        computed_on: Keras's backend and the devices of the attempt that ended the training; empty
            in records from before it was kept. No part of the content: an unchanged step reuses a
            record whatever these were, so that a machine without a GPU need not train again what
            one has trained.
    """

    recipe: RecordedRecipe
    model: Artifact
    temperature: float = 1.0
    calibration_error: tuple[float, float] | None = None
    parameters: int
    images: int
    epochs: tuple[Epoch, ...]
    best_epoch: int
    fit: Fit | None = None
    finding: str = ""
    mlflow_run: str
    computed_on: str = ""


class TrainedPart(Record):
    """One recipe, trained. `classes` is the order of the network's outputs."""

    NOT_CONTENT = {"trained": {"computed_on": True}}

    classes: tuple[Diagnosis, ...]
    trained: TrainedRecipe


class Trained(Record):
    """The recipes, trained. `classes` is the order of the networks' outputs."""

    NOT_CONTENT = {"recipes": {"__all__": {"computed_on": True}}}

    classes: tuple[Diagnosis, ...]
    recipes: tuple[TrainedRecipe, ...]

    def of(self, recipe: RecordedRecipe) -> TrainedRecipe:
        """That recipe's network, which must be one of them."""
        return next(each for each in self.recipes if recipe_now(each.recipe) == recipe_now(recipe))


class Proportion(Frozen):
    """Successes out of n with an exact (Clopper-Pearson) two-sided 95 % interval."""

    successes: int
    n: int
    estimate: float | None
    lower: float
    upper: float


class Estimate(Frozen):
    """A figure that is no simple proportion, with its two-sided 95 % interval.

    Attributes:
        value: None where the data cannot say: no lesion of a kind, for example.
        lower, upper: None where there is no value, or one lesion of a kind only.
        n: Lesions that it was counted on.
        method: How the interval was made.
    """

    value: float | None
    lower: float | None
    upper: float | None
    n: int
    method: str


class ClassFigures(Frozen):
    """One class against all others, by the most probable class of a lesion.

    Attributes:
        recall: Lesions of the class that were called it (sensitivity).
        specificity: Other lesions that were not.
        prevalence: Share of the class where the model will be used, as configured; None if it is
            not stated.
        ppv: Of those called the class, how many are it, at that prevalence; None without one.
        auc: Its probability, lesions of the class against all others.
    """

    recall: Proportion
    specificity: Proportion
    prevalence: float | None
    ppv: Estimate | None
    auc: Estimate


class CalibrationBin(Frozen):
    """Lesions of similar melanoma probability: the mean of it, and how many are melanoma."""

    predicted: float
    observed: Proportion


class Calibration(Frozen):
    """Whether a melanoma probability of 30 % means 3 of 10 lesions.

    Attributes:
        expected_error: Expected calibration error over `bins`, 0 to 1. It is never 0, not even
            for a perfect model: with few lesions a bin is off by chance.
        brier: Mean squared distance of the probability from the truth, 0 to 1.
        bins: The reliability curve; bins of equally many lesions.
    """

    expected_error: Estimate
    brier: Estimate
    bins: tuple[CalibrationBin, ...]


class WithinSource(Frozen):
    """Melanoma against nevus among the lesions of one archive: the archive cannot give it away."""

    source: str
    melanomas: int
    nevi: int
    auc: Estimate


Trait = Literal["source", "age", "sex", "site", "skin tone (estimate)", "sharpness"]


class Subgroup(Frozen):
    """The lesions that share a trait.

    Attributes:
        trait: By what they are grouped.
        value: What they share.
        sufficient: False where there are fewer melanomas or other lesions than a figure needs;
            its figures are then too uncertain to be shown as such.
    """

    trait: Trait
    value: str
    lesions: int
    sensitivity: Proportion
    specificity: Proportion
    auc: Estimate
    sufficient: bool


class Figures(Frozen):
    """What a model does on a set of labelled images.

    All count lesions, each once, by the mean of its images' probabilities, because the images of
    one lesion are not independent; two figures by image are there to compare with others' results.

    Attributes:
        images: How many there are.
        lesions: How many they show.
        classes: Order of `confusion`.
        threshold: Melanoma probability at or above which a lesion is called melanoma; None where
            several models made the predictions, each with its own.
        sensitivity: Melanoma lesions that are called melanoma, at the threshold.
        specificity: Other lesions that are not.
        called: Of each class, the lesions that are called melanoma, at the threshold; None in
            records from before it was kept.
        prevalence: Share of melanomas where the model will be used, as configured.
        ppv: Of the lesions called melanoma, how many are, at that prevalence; None without one.
        auc: Melanoma lesions against all others.
        partial_auc: The part of it where sensitivity is above 80 %: 0 to 0.2, and 0.02 for a
            model that knows nothing.
        accuracy: Of the most probable class.
        balanced_accuracy: Mean recall over the classes that occur.
        accuracy_of_images: The same, by image.
        balanced_accuracy_of_images: The same, by image.
        per_class: Of each class.
        confusion: Rows: true class; columns: most probable class; lesions.
        calibration: Of the melanoma probability.
        within_source: For each archive that holds melanomas and nevi.
        subgroups: For each trait that is known.
    """

    images: int
    lesions: int
    classes: tuple[Diagnosis, ...]
    threshold: float | None
    sensitivity: Proportion
    specificity: Proportion
    prevalence: float | None
    ppv: Estimate | None
    auc: Estimate
    partial_auc: Estimate
    accuracy: Proportion
    balanced_accuracy: Estimate
    accuracy_of_images: Estimate
    balanced_accuracy_of_images: Estimate
    per_class: dict[Diagnosis, ClassFigures]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration
    within_source: tuple[WithinSource, ...]
    subgroups: tuple[Subgroup, ...]
    called: dict[Diagnosis, Proportion] | None = None


class MissedMelanoma(Frozen):
    """A melanoma lesion that fell below the threshold.

    Attributes:
        image_ids: Its images.
        probability: Of melanoma, the mean of its images.
        by_champion: Whether the champion misses it too; None if there is none to ask.
        saliency: PNG: its first image, and beside it what speaks for melanoma (red) and against
            it (blue), see `tasks.evaluation.saliency`; None beyond the first few.
    """

    image_ids: tuple[str, ...]
    probability: float
    by_champion: bool | None
    saliency: Artifact | None


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
    """The champion on the same lesions, each model at its own threshold.

    Attributes:
        threshold: The champion's.
        sensitivity: The champion's.
        specificity: The champion's.
        auc: The champion's.
        both_found: Melanoma lesions that both find.
        champion_only: Melanoma lesions that the champion finds and the challenger misses.
        challenger_only: Melanoma lesions that the challenger finds and the champion misses.
        neither_found: Melanoma lesions that both miss.
        auc_difference: Challenger's less champion's.
        lost: Image ids of each lesion of `champion_only`.
    """

    threshold: float
    sensitivity: Proportion
    specificity: Proportion
    auc: Estimate
    both_found: int
    champion_only: int
    challenger_only: int
    neither_found: int
    auc_difference: Estimate
    lost: tuple[LesionIds, ...]


class Champion(Frozen):
    """The model in use when this one was evaluated.

    Attributes:
        version: Its number in the registry.
        run: Address of the run that made it.
        model_sha256: Of its ``.keras`` file.
        classes: That it knows.
        learned_from: Images of the test part that it was trained or tuned on, so that the
            comparison favours it; None if that is not known.
        problem: Why it could not be compared with; then `comparison` is None.
    """

    version: int
    run: str
    model_sha256: str
    classes: tuple[str, ...]
    learned_from: int | None
    problem: str | None
    comparison: Comparison | None


class CrossEstimate(Frozen):
    """What the procedure does: models like the chosen one, each on lesions that it never saw.

    An estimate of the procedure, not of the model: none of these models is kept. The intervals
    count each lesion once and know nothing of the spread between trainings, which no single
    cross-validation shows (Bengio & Grandvalet, JMLR 5:1089-1105, 2004).

    Attributes:
        folds: How many; each is judged once, by a model of the others.
        thresholds: Of each fold's model, from its own validation fold.
        figures: Over all lesions of training, validation and test part.
        predictions: Parquet: as those of `Evaluated`, with ``fold`` (from 1) and ``threshold``.
    """

    folds: int
    thresholds: tuple[float, ...]
    figures: Figures
    predictions: Artifact


class Evaluated(Record):
    """The chosen recipe on the frozen test part.

    Attributes:
        recipe: Chosen by balanced accuracy on validation.
        threshold: Melanoma probability at or above which a lesion is called melanoma: the highest
            that reaches the target sensitivity on validation.
        validation_sensitivity: What it reaches there.
        validation_balanced_accuracy: Of each recipe.
        test_part: SHA-256 over what the test part holds: images and labels.
        figures: On the test part.
        missed: The melanomas that fell below the threshold, the least probable first.
        champion: The model in use, on the same lesions; None if there is none.
        predictions: Parquet: image_id, lesion, group, label, source, age_years, sex, site,
            skin_tone, sharpness, a probability for each class, and the champion's of melanoma.
        cross: Beside the test part, the procedure over all lesions; None unless configured.
        ledger: Its head once this look at the test part was entered; None in records from before
            there was a chain.
    """

    NOT_CONTENT = {"ledger": True}

    recipe: RecordedRecipe
    model: Artifact
    classes: tuple[Diagnosis, ...]
    threshold: float
    validation_sensitivity: Proportion
    validation_balanced_accuracy: dict[RecordedRecipe, float]
    test_part: str
    figures: Figures
    missed: tuple[MissedMelanoma, ...]
    champion: Champion | None
    predictions: Artifact
    cross: CrossEstimate | None = None
    ledger: LedgerHead | None = None


Decision = Literal["pass", "fail", "insufficient evidence"]


class Rule(Frozen):
    """One rule of the gate.

    Attributes:
        name: Of the rule, and what it is about.
        figure: What was measured; None if it could not be.
        lower: Lower bound of it, by `method`; None if there is none.
        upper: Upper bound of it.
        threshold: What is asked; None for a rule that only looks.
        asks: Whether the figure shall be at least or at most the threshold.
        successes: Of a proportion, what was counted.
        n: Lesions that it was counted on.
        decision: "not applicable" neither passes nor refuses.
        reason: In words.
        method: How figure and bounds were made.
        more_needed: About how many more lesions would settle it at the same rate; None if the
            rule is settled, or no number would.
    """

    name: str
    figure: float | None
    lower: float | None
    upper: float | None
    threshold: float | None
    asks: Literal["at least", "at most"]
    successes: int | None
    n: int
    decision: Decision | Literal["not applicable"]
    reason: str
    method: str
    more_needed: int | None


class Departed(Frozen):
    """An image that a model was judged on, and that stands in the test part no more.

    Attributes:
        label: What it was judged as.
    """

    image_id: str
    lesion: str
    label: str


class Superseded(Frozen):
    """A lesion whose label a named person replaced after a model was judged on it."""

    lesion: str
    judged_as: str
    label: str
    by: str
    reason: str


class Looks(Frozen):
    """How much the test part has been used, and how much use is left in it.

    Attributes:
        look: This model is the one of this number that was judged on these images, from 1.
        confidence: Of each bound, 0 to 1: what the policy's spending leaves at this look.
        left: So many further models can be judged before even one that misses no melanoma could
            not pass any more; None if the policy spends nothing.
        left_at_this_rate: The same, for a model that finds the share that this one finds.
        lesions_that_renew: Melanoma lesions that must be new in the test part for the count to
            begin anew.
    """

    look: int
    confidence: float
    left: int | None = None
    left_at_this_rate: int | None = None
    lesions_that_renew: int = 0


class PolicyReference(Frozen):
    """The policy that judged: a file of ``tasks/evaluation/policies/``, by its bytes."""

    name: str
    version: int
    sha256: str


class Verdict(Record):
    """Whether this model may become a challenger.

    Attributes:
        warnings: What a person must know who relies on the verdict.
        leaks: Groups of images that stand on more than one side of the split.
        earlier_evaluations: Models that were judged on at least half of these test images before.
        looks: What these looks leave; None in records from before they cost anything.
        departed: Images that models were judged on and that are not in the test part any more. The
            verdict is the worse of two: without them, and with each as a miss.
        superseded: Lesions judged under another label before. The verdict is the worse of two.
        ledger: Its head when this was judged; None in records from before there was a chain.
    """

    NOT_CONTENT = {"ledger": True}
    ADDED = ("looks", "departed", "superseded")

    decision: Decision
    rules: tuple[Rule, ...]
    reason: str
    warnings: tuple[str, ...]
    policy: PolicyReference
    leaks: int
    earlier_evaluations: int
    looks: Looks | None = None
    departed: tuple[Departed, ...] = ()
    superseded: tuple[Superseded, ...] = ()
    ledger: LedgerHead | None = None


class Registered(Record):
    """An MLflow model version.

    Attributes:
        newly: False if this very model was registered by an earlier run.
        evidence: The manifest of this run's evidence, see `tasks.release.evidence`.
    """

    name: str
    version: int
    alias: Literal["challenger"]
    newly: bool
    model_sha256: str
    evidence: Artifact

    @property
    def reason_to_stop(self) -> str | None:
        if self.newly:
            return None
        return f"nothing is new: this very model is already version {self.version} of {self.name}"
