"""The audit of a run's data for the report: findings, quarantine, changes.

This module reads records and their artifacts, and judges nothing.
"""

import posixpath
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tasks.engine.run import Run
from tasks.engine.spreadsheet import read_csv
from tasks.errors import BadInput
from tasks.intake.manifest import read_parquet
from tasks.records.ingested import Ingested
from tasks.records.record import Artifact
from tasks.records.split import Split
from tasks.records.validated import Changes, Finding, Validated
from tasks.reporting.pictures import by_key
from tasks.validation.changes import read_quarantine

SHOWN = 8  # cases of each law with pictures in the report; quarantine.html shows more
GALLERY = 2000  # cases with pictures in quarantine.html: 6 MB; quarantine.csv holds all cases
SEVERITIES = ("error", "warning", "information")


@dataclass(frozen=True)
class Shown:
    """One image of a case: key, id and label, and a small picture if there is one."""

    key: str
    image_id: str
    label: str
    picture: str | None


@dataclass(frozen=True)
class Case:
    """An image that breaks a law, the reason, and the image that it contradicts."""

    subject: Shown
    reason: str
    counterpart: Shown | None


@dataclass(frozen=True)
class Cases:
    """The cases of one law. `count` is the number of all cases; `some` are the cases to show."""

    law: str
    count: int
    some: list[Case]


@dataclass(frozen=True)
class Audit:
    """The audit that the page shows.

    Attributes:
        broken: Findings of broken laws, the worst first.
        held: Laws that held.
        docs: Address of the Data Docs, relative to the run.
        quarantine: Cases by law, the most frequent law first.
        pairs: Near duplicates, which are kept.
        left_out: Images that left because their group reaches another side.
        unchanged_since: The run whose work was reused because nothing was delivered since.
        problem: Why something could not be read.
    """

    broken: list[Finding] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    docs: str | None = None
    quarantine: list[Cases] = field(default_factory=list)
    pairs: Cases | None = None
    left_out: Cases | None = None
    changes: Changes | None = None
    unchanged_since: str | None = None
    problem: str | None = None


def audit_of(
    run: Run,
    ingested: Ingested | None,
    validated: Validated | None,
    split: Split | None,
    *,
    most: int = SHOWN,
) -> Audit:
    """Gather the audit from the records that exist; at most `most` cases of each law."""
    if validated is None:
        return Audit()
    told: dict[str, Any] = {
        "broken": sorted(
            (finding for finding in validated.findings if finding.count),
            key=lambda finding: (SEVERITIES.index(finding.severity), -finding.count),
        ),
        "held": [finding.law for finding in validated.findings if not finding.count],
        "changes": validated.changes,
    }
    if validated.provenance:
        told["unchanged_since"] = validated.provenance.reused_from
    if validated.data_docs:
        told["docs"] = posixpath.relpath(validated.data_docs[0].key, f"runs/{run.name}")
    try:
        told |= _cases(run, ingested, validated, split, most)
    except BadInput as error:  # the page is made all the same, and says what it lacks
        told["problem"] = f"{error.problem} Received: {error.received}"
    return Audit(**told)


def _cases(
    run: Run, ingested: Ingested | None, validated: Validated, split: Split | None, most: int
) -> dict[str, Any]:
    table = read_quarantine(run, validated.quarantine)
    some = table.groupby("law", sort=False).head(most)
    left = read_csv(run, split.left_out) if split else table.iloc[:0]
    found = [f for f in validated.findings if f.law == "near_duplicate" and f.count]
    pairs = pd.DataFrame(
        [(*pair, f.remark) for f in found for pair in f.examples[:most] if isinstance(pair, tuple)],
        columns=["key", "counterpart", "reason"],
        dtype="str",
    )
    some_left = left.head(most)
    shown = _shown(run, ingested, pd.concat([some, some_left, pairs]))
    return {
        "quarantine": [
            Cases(str(law), int(count), _told(some[some["law"] == law], shown))
            for law, count in table["law"].value_counts().items()
        ],
        "left_out": Cases("left_out", len(left), _told(some_left, shown)) if len(left) else None,
        "pairs": Cases("near_duplicate", found[0].count, _told(pairs, shown)) if found else None,
    }


def _told(rows: pd.DataFrame, shown: dict[str, Shown]) -> list[Case]:
    return [
        Case(shown[row["key"]], row["reason"], shown.get(row["counterpart"]))
        for _, row in rows.iterrows()
    ]


def _shown(run: Run, ingested: Ingested | None, rows: pd.DataFrame) -> dict[str, Shown]:
    """Every image that the rows name, by key."""
    keys = [*rows["key"], *filter(None, rows["counterpart"].fillna(""))]
    if ingested is None:
        return {key: Shown(key, posixpath.basename(key), "", None) for key in keys}
    return _of_manifest(run, ingested.manifest, keys)


def _of_manifest(run: Run, manifest: Artifact, keys: list[str]) -> dict[str, Shown]:
    every = read_parquet(run, manifest)
    known = every[every["key"].isin(keys)]
    pictures = by_key(run, every, keys)
    shown = {key: Shown(key, posixpath.basename(key), "", None) for key in keys}
    for _, row in known.iterrows():
        label = row["label"] if pd.notna(row["label"]) else ""
        shown[row["key"]] = Shown(row["key"], row["image_id"], label, pictures.get(row["key"]))
    return shown
