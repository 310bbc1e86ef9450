"""The records: what each step promises to the steps after it.

One record per step and run, ``runs/<run>/<step>/record.json``, written last and once. Everything
in a record but its ``provenance`` is its content; the content's SHA-256 is what reuse compares.
"""

import hashlib
import json
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from tasks.config import Law, Recipe, Retraining
from tasks.lesions import Diagnosis

Side = Literal["train", "validation", "test"]
Severity = Literal["information", "warning", "error"]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Artifact(Frozen):
    """One object in the store that a record vouches for."""

    key: str
    sha256: str
    size_bytes: int


class Provenance(Frozen):
    """How a record came to be. Not part of its content."""

    step: str
    run: str
    config: Retraining
    code: str = Field(description="SHA-256 over the source of the step and all it imports.")
    fingerprint: str = Field(description="SHA-256 over code, libraries, config and inputs.")
    inputs: dict[str, str] = Field(description="Content hash of each record that was read.")
    parts: dict[str, str] = Field({}, description="Content hash of the record of each part.")
    reused_from: str | None = Field(description="The run that did the work, if not this one.")
    committed_at: str = Field(description="UTC, ISO 8601.")
    seconds: float = Field(
        description="Wall time of the step, without interpreter start-up, and without parts that "
        "were done before it began."
    )
    peak_memory_bytes: int
    machine: str
    image: str | None = Field(None, description="Digest of the container image, if it ran in one.")


class Record(Frozen):
    """What all records share. `NOT_CONTENT` names fields that hold the time of day."""

    NOT_CONTENT: ClassVar[tuple[str, ...]] = ()

    provenance: Provenance | None = None

    @property
    def content_hash(self) -> str:
        """SHA-256, hex, over what the record says, apart from how and where it came to be.

        Artifacts count by their bytes, not by the key under which an attempt left them, so two
        attempts at the same deterministic work have the same hash.
        """
        content = self.model_dump(mode="json", exclude={"provenance", *self.NOT_CONTENT})
        return hashlib.sha256(json.dumps(_placeless(content), sort_keys=True).encode()).hexdigest()

    def with_provenance(self, provenance: Provenance) -> Self:
        return self.model_copy(update={"provenance": provenance})

    @property
    def reason_to_stop(self) -> str | None:
        """Why the steps after this one must not run, if they must not."""
        return None


def _placeless(value: Any) -> Any:
    if isinstance(value, dict):
        place = {"key"} if value.keys() == Artifact.model_fields.keys() else set()
        return {name: _placeless(part) for name, part in value.items() if name not in place}
    return [_placeless(part) for part in value] if isinstance(value, list) else value


class IngestedPart(Record):
    """The files of one part, decoded.

    Attributes:
        rows: Parquet, one row per image file of this part: what `tasks.manifest.COLUMNS` says of
            it, but for what tables tell.
        shards: ``.npy`` files, as in `Ingested`.
        fetched: Files that had to be fetched.
    """

    rows: Artifact
    shards: tuple[Artifact, ...]
    fetched: int


class Ingested(Record):
    """The delivered files, decoded once.

    Attributes:
        manifest: Parquet, one row per file under ``raw/`` that is not a table; its columns are
            those of `tasks.manifest.COLUMNS`.
        shards: ``.npy`` files, uint8 ``(n, packed_px, packed_px, 3)``, RGB, 0 to 255.
        files: Rows in the manifest.
        decoded: Rows whose pixels could be decoded.
        fetched: Files that had to be fetched in this run; the rest was known by its ETag.
        tables: Metadata tables that were recognized, with the rows of each.
        ignored: Keys under ``raw/`` that are neither an image nor a recognized table.
        rows_without_image: Image ids in the tables of which no image was delivered; and a few.
        synthetic: True if any file was drawn by ``tasks.synthesize``.
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


class Shape(Frozen):
    """How the accepted data of a run are distributed, for the next run to compare with.

    Attributes:
        counts: For each of label, source and sex, how many images have each value.
        quantiles: For each of width, height, red, green, blue and age_years, the 0th to the
            100th percentile.
    """

    images: int
    counts: dict[str, dict[str, int]]
    quantiles: dict[str, tuple[float, ...]]


class Finding(Frozen):
    """One law that the data broke, or kept (count 0).

    Attributes:
        law: Name of the law.
        description: What it demands, and what `count` counts.
        count: How many image ids, files or classes break it.
        severity: What it means for a model trained on the data.
        consequence: What the pipeline did about it.
        remark: What more there is to say, in words.
        examples: Up to 10 of what `count` counts.
    """

    law: Law
    description: str
    count: int
    severity: Severity
    consequence: str
    remark: str
    examples: tuple[str, ...]


class ValidatedPart(Record):
    """The near duplicates of one part's images among all images.

    Attributes:
        pairs: Parquet, one row per pair: ``first`` and ``second`` (keys), ``distance``,
            ``correlation``; see `tasks.likeness.near_duplicates`.
        compared: Images of this part.
    """

    pairs: Artifact
    compared: int


class Validated(Record):
    """What may be learned from.

    Attributes:
        accepted: Parquet, the manifest's rows that broke no law.
        quarantine: CSV, one row per quarantined file: key, image_id, label, law, reason,
            counterpart.
        findings: One per law.
        data_docs: Great Expectations' own pages; the first is the index.
        expectations_met: How many of the suite's expectations held.
        expectations: How many there are.
        classes: Accepted images of each learnable class.
        groups: Distinct lesions (as far as known) of each learnable class.
        relabelled: Files whose label the archive's ground truth replaced.
        shape: How the accepted images are distributed.
    """

    # The findings compare with earlier runs; what is learned from does not depend on them.
    NOT_CONTENT = ("data_docs", "findings")

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
    shape: Shape


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
        proof: CSV, what it takes to recompute that no group straddles; see `tasks.sides.flaw_in`.
        left_out: CSV, the images that left because their group reaches a more protected side: key,
            image_id, label, side (that they left), reason, counterpart.
        counts: Images of each class on each side.
        groups: Groups on each side.
        strata: How evenly each class and each source is spread.
        bridging: Rows of `left_out`.
    """

    parts: Artifact
    proof: Artifact
    left_out: Artifact
    counts: dict[Side, dict[Diagnosis, int]]
    groups: dict[Side, int]
    strata: tuple[Stratum, ...]
    bridging: int


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
    """

    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float
    val_recall: tuple[float | None, ...] = ()
    seconds: float


class TrainedRecipe(Frozen):
    """One trained network.

    Attributes:
        model: A ``.keras`` file: uint8 or float RGB 0 to 255, ``(n, any, any, 3)``, to
            probabilities ``(n, classes)``. Preprocessing is inside. Weights of `best_epoch`.
        best_epoch: The epoch with the lowest validation loss, counted from 1.
        finding: What the curves say about over- and underfit, by rule.
    """

    recipe: Recipe
    model: Artifact
    parameters: int
    images: int
    epochs: tuple[Epoch, ...]
    best_epoch: int
    finding: str
    mlflow_run: str


class TrainedPart(Record):
    """One recipe, trained. `classes` is the order of the network's outputs."""

    classes: tuple[Diagnosis, ...]
    trained: TrainedRecipe


class Trained(Record):
    """The recipes, trained. `classes` is the order of the networks' outputs."""

    classes: tuple[Diagnosis, ...]
    recipes: tuple[TrainedRecipe, ...]


class Proportion(Frozen):
    """Successes out of n with an exact (Clopper-Pearson) two-sided 95 % interval."""

    successes: int
    n: int
    estimate: float | None
    lower: float
    upper: float


class Evaluated(Record):
    """The chosen recipe on the frozen test part.

    Attributes:
        recipe: Chosen by balanced accuracy on validation.
        threshold: Melanoma probability at or above which an image is called melanoma; from
            validation.
        validation_balanced_accuracy: Of each recipe; mean recall over the classes.
        accuracy: Of the most probable class, over test images.
        recall: Of each class, most probable class, over test images.
        confusion: Rows: true class; columns: most probable class; test images.
        sensitivity: Melanoma lesions at or above `threshold`, by the mean of their images'
            probabilities. One lesion counts once: its images are not independent.
        specificity: Other lesions below `threshold`.
        auc: Melanoma lesions against all others; None if either is absent.
        missed: Image ids of the melanoma lesions that fell below the threshold.
        predictions: Parquet: image_id, group, label, one probability column per class.
    """

    recipe: Recipe
    model: Artifact
    classes: tuple[Diagnosis, ...]
    threshold: float
    validation_sensitivity: Proportion
    validation_balanced_accuracy: dict[Recipe, float]
    test_images: int
    accuracy: Proportion
    balanced_accuracy: float
    recall: dict[Diagnosis, Proportion]
    confusion: tuple[tuple[int, ...], ...]
    sensitivity: Proportion
    specificity: Proportion
    auc: float | None
    missed: tuple[str, ...]
    predictions: Artifact


Decision = Literal["pass", "fail", "insufficient evidence"]


class Rule(Frozen):
    """One rule of the gate. `lower` and `upper` are exact one-sided 95 % bounds."""

    name: str
    successes: int
    n: int
    lower: float
    upper: float
    minimum: float
    decision: Decision
    reason: str


class Verdict(Record):
    """Whether this model may become a challenger."""

    decision: Decision
    rules: tuple[Rule, ...]
    reason: str


class Registered(Record):
    """An MLflow model version.

    Attributes:
        newly: False if this very model was registered by an earlier run.
    """

    name: str
    version: int
    alias: Literal["challenger"]
    newly: bool
    model_sha256: str
    card: Artifact

    @property
    def reason_to_stop(self) -> str | None:
        if self.newly:
            return None
        return f"nothing is new: this very model is already version {self.version} of {self.name}"
