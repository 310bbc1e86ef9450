"""What ``validate`` promises: what may be learned from, and what broke which law."""

from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from tasks.config import Law
from tasks.lesions import Diagnosis
from tasks.records.record import Artifact, Frozen, Record

Severity = Literal["information", "warning", "error"]
# What a law counts: the name of a file, image, lesion or class, or a pair of them.
Example = str | tuple[str, str]
# Why a run is the one to compare with.
Basis = Literal["in use", "registered", "judged", "accepted"]


class Finding(Frozen):
    """One law that the data broke, or kept (count 0)."""

    law: Law = Field(description="Name of the law.")
    description: str = Field(description="What the law demands, and what `count` counts.")
    count: int = Field(description="How many image ids, files or classes break the law.")
    severity: Severity = Field(description="What a breach means for a model trained on the data.")
    consequence: str = Field(description="What the pipeline did about the breach.")
    remark: str = Field(description="What more there is to say, in words.")
    examples: tuple[Example, ...] = Field(
        description="Up to 10 of what `count` counts; of near duplicates, the keys of both files."
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
        """The examples, for a person."""
        return tuple(
            " ~ ".join((each,) if isinstance(each, str) else each) for each in self.examples
        )


class ValidatedPart(Record):
    """The near duplicates of one part's images among all images."""

    pairs: Artifact = Field(
        description="Parquet, one row per pair: ``first`` and ``second`` (keys), ``distance``, "
        "``correlation``; see `tasks.intake.likeness.near_duplicates`."
    )
    compared: int = Field(description="Images of this part.")


class Changed(Frozen):
    """How many break a law now, and how many did in the run before."""

    law: Law = Field(description="Name of the law.")
    before: int = Field(description="How many broke the law in the run before.")
    now: int = Field(description="How many break the law now.")


class Changes(Frozen):
    """What is different from the run whose data were accepted before."""

    since: str = Field(description="Name of the run before.")
    basis: Basis = Field(
        "accepted",
        description="Why this run is the one to compare with: its model is in use, or was "
        "registered last; where none ever was, it came to a verdict last, or at least to its data.",
    )
    new_files: int = Field(description="Files that the run before did not know.")
    new_images: int = Field(description="Image ids that the run before did not know.")
    recognized: int = Field(
        description="Image ids of new files that the run before knew already; the files may hold "
        "other pixels."
    )
    gone_files: int = Field(
        description="Files that the run before knew and that are not there any more."
    )
    learnable: tuple[Diagnosis, ...] = Field(description="Classes that became learnable.")
    not_learnable: tuple[Diagnosis, ...] = Field(description="Classes that ceased to be learnable.")
    accepted: dict[Diagnosis, tuple[int, int]] = Field(
        description="Accepted images of each class, before and now."
    )
    findings: tuple[Changed, ...] = Field(description="Laws whose count is another one.")
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


class Validated(Record):
    """What may be learned from."""

    FORMAT: ClassVar[int] = 2  # 1 wrote the two keys of a near duplicate as one text
    # The findings compare with earlier runs; what is learned from does not depend on them.
    NOT_CONTENT: ClassVar[dict[str, Any]] = dict.fromkeys(
        ("data_docs", "findings", "changes"), True
    )

    accepted: Artifact = Field(description="Parquet, the manifest's rows that broke no law.")
    quarantine: Artifact = Field(
        description="CSV, one row per quarantined file: key, image_id, label, law, reason, "
        "counterpart (the key of the first file that it contradicts), other_counterparts (of all "
        "the others, for people only)."
    )
    findings: tuple[Finding, ...] = Field(description="One for each law.")
    data_docs: tuple[Artifact, ...] = Field(
        description="Great Expectations' own pages; the first is the index."
    )
    expectations_met: int = Field(description="How many of the suite's expectations held.")
    expectations: int = Field(description="How many expectations the suite has.")
    quarantined: int = Field(description="Files that were quarantined.")
    classes: dict[Diagnosis, int] = Field(description="Accepted images of each learnable class.")
    groups: dict[Diagnosis, int] = Field(
        description="Distinct lesions (as far as known) of each learnable class."
    )
    relabelled: int = Field(description="Files whose label the archive's ground truth replaced.")
    changes: Changes | None = Field(
        description="What is different from the accepted data of the run before, if there was one."
    )
