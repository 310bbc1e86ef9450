"""The record of ``validate``: the images accepted for learning, and the breaches of each law."""

from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from tasks.config import Law
from tasks.lesions import Diagnosis
from tasks.records.record import Artifact, Frozen, Record
from tasks.records.shortcuts import Beside

Severity = Literal["information", "warning", "error"]
# One of the things that a law counts: a file, image, lesion or class by name, or a pair of files.
Example = str | tuple[str, str]
# Why a run is the one to compare with.
Basis = Literal["in use", "registered", "judged", "accepted"]


class Finding(Frozen):
    """The outcome of one law; a count of 0 means that the data keep the law."""

    law: Law = Field(description="Name of the law.")
    description: str = Field(description="What the law demands, and what `count` counts.")
    count: int = Field(description="How many image ids, files or classes break the law.")
    severity: Severity = Field(description="What a breach means for a model trained on the data.")
    consequence: str = Field(description="What the pipeline did about the breach.")
    remark: str = Field(description="Further explanation, in words.")
    examples: tuple[Example, ...] = Field(
        description="Up to 10 of the things that `count` counts; for near duplicates, the keys of "
        "both files."
    )
    beside: Beside | None = Field(
        None,
        description="What tells melanoma without its lesion; None for every law but `shortcut`, "
        "where there are too few lesions, and in older records.",
    )

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
        """The examples as text for a person."""
        return tuple(
            " ~ ".join((each,) if isinstance(each, str) else each) for each in self.examples
        )


class ValidatedPart(Record):
    """The near duplicates of one part's images among all images."""

    pairs: Artifact = Field(
        description="Parquet, one row per pair: ``first`` and ``second`` (keys), ``distance``, "
        "``correlation`` (`tasks.intake.likeness.near_duplicates`), ``inliers``, ``share`` "
        "(`tasks.intake.copies.copies_among`), ``agreement`` (`tasks.intake.same_pixels`, 0 to 1); "
        "missing where that search does not find the pair."
    )
    compared: int = Field(description="Number of images of this part.")


class Changed(Frozen):
    """The count of one law in this run and in the run before."""

    law: Law = Field(description="Name of the law.")
    before: int = Field(description="How many broke the law in the run before.")
    now: int = Field(description="How many break the law now.")


class Changes(Frozen):
    """The differences from the run whose data were accepted before."""

    since: str = Field(description="Name of the run before.")
    basis: Basis = Field(
        "accepted",
        description="Why the run before is the one to compare with. Its model is in use, or was "
        "registered last; if no model was ever registered, it was the last run to reach a verdict, "
        "or the last to accept data.",
    )
    new_files: int = Field(description="Files that the run before did not know.")
    new_images: int = Field(description="Image ids that the run before did not know.")
    recognized: int = Field(
        description="Image ids of new files that the run before already knew. The new files may "
        "hold other pixels."
    )
    gone_files: int = Field(description="Files that the run before knew and that are gone.")
    learnable: tuple[Diagnosis, ...] = Field(description="Classes that became learnable.")
    not_learnable: tuple[Diagnosis, ...] = Field(description="Classes that ceased to be learnable.")
    accepted: dict[Diagnosis, tuple[int, int]] = Field(
        description="Accepted images of each class, before and now."
    )
    findings: tuple[Changed, ...] = Field(description="Laws whose count changed.")
    now_quarantined: dict[Law, int] = Field(
        description="Files that were accepted before and are quarantined now, by law."
    )
    now_accepted: int = Field(
        description="Files that were quarantined before and are accepted now."
    )
    files: Artifact = Field(
        description='CSV: key, image_id, change ("new image", "recognized again", "gone", '
        '"quarantined now", "accepted now"), law, reason.'
    )


class ExternalKept(Frozen):
    """What counts of an external set: what shares nothing with ``raw/``."""

    name: str = Field(description="Name of the set.")
    kept: Artifact = Field(description="Parquet, the rows of the set's manifest that count.")
    images: int = Field(description="Number of these rows.")
    left: Artifact = Field(
        description="CSV, the other rows: key, image_id, reason, counterpart (key under ``raw/``)."
    )
    reasons: dict[str, int] = Field(description="Number of the other rows by reason, in words.")
    without_image: int = Field(description="Image ids in the set's tables without an image.")


class Validated(Record):
    """The images accepted for learning, and the breaches of each law."""

    # 1 wrote the two keys of a near duplicate as one text; 2, 3 and 5 knew fewer laws, 4 no
    # external sets
    FORMAT: ClassVar[int] = 6
    ADDED: ClassVar[tuple[str, ...]] = ("external",)
    # Findings compare with earlier runs. The accepted images do not depend on findings.
    NOT_CONTENT: ClassVar[dict[str, Any]] = dict.fromkeys(
        ("data_docs", "findings", "changes"), True
    )

    accepted: Artifact = Field(description="Parquet, the rows of the manifest that are accepted.")
    quarantine: Artifact = Field(
        description="CSV, one row per quarantined file: key, image_id, label, law, reason, "
        "counterpart (key of the first file that it contradicts), other_counterparts (keys of the "
        "other files that it contradicts, for people only)."
    )
    findings: tuple[Finding, ...] = Field(description="The outcome of each law.")
    data_docs: tuple[Artifact, ...] = Field(
        description="Pages of Great Expectations; the first is the index."
    )
    expectations_met: int = Field(description="Number of the suite's expectations that held.")
    expectations: int = Field(description="Number of expectations in the suite.")
    quarantined: int = Field(description="Files that were quarantined.")
    classes: dict[Diagnosis, int] = Field(description="Accepted images of each learnable class.")
    groups: dict[Diagnosis, int] = Field(
        description="Distinct lesions of each learnable class, as far as lesions are known."
    )
    relabelled: int = Field(
        description="Number of files whose label the archive's ground truth replaced."
    )
    changes: Changes | None = Field(
        description="Differences from the accepted data of the run before; None without such a run."
    )
    external: tuple[ExternalKept, ...] = Field(
        (), description="The external sets, without what shares something with ``raw/``."
    )
