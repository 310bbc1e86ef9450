"""What a law of true data is, what it looks at and what it finds.

A law's check takes what was delivered and returns a `Breach`: which rows break the law, why, and
what the finding counts. It decides nothing; `tasks.validation.quarantine` acts on the breach. A
table tool cannot check these laws, because each compares rows with other rows, with the archive or
with the pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tasks.config import Law
from tasks.records.validated import Example, Severity
from tasks.validation.changes import Previous
from tasks.validation.standing import Standing


@dataclass(frozen=True)
class Delivered:
    """What the checks look at: the rows of a delivery, with what else is known of them.

    Attributes:
        frame: Rows of the manifest that are still in question.
        pairs: Near duplicates, as keys ``first`` and ``second``.
        unexpected: For each key that broke the Great Expectations suite, how.
        unmatched: How many image ids in the tables have no image, and a few of them.
        classes: Labels that were delivered, whatever is left of them.
        minimum_groups: Fewest lesions of a learnable class.
        previous: The run whose data were accepted before, if there was one.
        standing: What was judged on, beside what is delivered now.
    """

    frame: pd.DataFrame
    pairs: pd.DataFrame
    unexpected: dict[str, str]
    unmatched: tuple[int, tuple[str, ...]]
    classes: tuple[str, ...]
    minimum_groups: int
    previous: Previous | None
    standing: Standing | None = None


@dataclass(frozen=True)
class Breach:
    """What breaks one law.

    Attributes:
        reasons: Why, for a person; indexed by the rows of the frame that break it.
        counterparts: Keys of the files that each of them contradicts, as a tuple; same index, or
            empty.
        counted: What the finding counts, see the law's description.
        remark: What more there is to say.
        count: Of what is counted, if `counted` holds only a few of them.
    """

    reasons: pd.Series
    counterparts: pd.Series = field(default_factory=lambda: pd.Series(dtype="object"))
    counted: Sequence[Example] = ()
    remark: str = ""
    count: int | None = None


@dataclass(frozen=True)
class LawRow:
    """One law.

    Attributes:
        name: Of the law.
        description: What it demands, and what its finding counts.
        severity: What a breach means for a model trained on the data.
        consequence: What the pipeline does about a breach.
        check: Finds the breach.
        quarantines: Whether rows that break it are taken out, or only reported.
        spared_in_delivered_test: Whether rows of the delivered test part that break it stay in.
            Results published on the delivered test images were measured with these defects in
            them, so to be compared with them they stay; what they contradict leaves training.
        on_accepted: Whether it is checked on what is accepted, because it asks what a network will
            learn from. All others are checked on all that was delivered, so that no law's count
            depends on another law.
    """

    name: Law
    description: str
    severity: Severity
    consequence: str
    check: Callable[[Delivered], Breach]
    quarantines: bool = False
    spared_in_delivered_test: bool = False
    on_accepted: bool = False


def breach_of(frame: pd.DataFrame, broken: pd.Series, reason: "str | pd.Series") -> Breach:
    """All rows where `broken` is true, counted as files."""
    reasons = pd.Series(reason, index=frame.index, dtype="str")[broken.fillna(False).astype(bool)]
    return Breach(reasons, counted=[str(key) for key in frame.loc[reasons.index, "key"]])


def conflicts(
    frame: pd.DataFrame, *same: tuple[str, str], differ: str = "label"
) -> tuple[pd.Series, pd.Series]:
    """Rows that share a value of a column but differ in another, and whom each contradicts."""
    reasons = pd.Series(index=frame.index, dtype="str")
    counterparts: dict[Any, tuple[str, ...]] = {}
    for column, words in same:
        several = frame.groupby(column)[differ].transform("nunique")
        for _, rows in frame[(several > 1) & reasons.isna()].groupby(column):
            names = ", ".join(sorted(rows[differ].dropna().unique()))
            reasons[rows.index] = f"the same {words} under {names}"
            for index, name in rows[differ].items():
                counterparts[index] = tuple(rows.loc[rows[differ] != name, "key"])
    broken = reasons.dropna()
    told = [counterparts[index] for index in broken.index]
    return broken, pd.Series(told, index=broken.index, dtype="object")


def in_words(told: pd.Series) -> pd.Series:
    """Tuples of `Code` or `Contradiction`, for a person."""
    return told.map(lambda each: "; ".join(map(str, each))).astype("str")


def alone(keys: pd.Series) -> pd.Series:
    """One counterpart for each row."""
    return pd.Series([(str(key),) for key in keys], index=keys.index, dtype="object")
