"""The parts of a law of true data: its input `Delivered`, its result `Breach`, its row `LawRow`.

The check of a law takes a `Delivered` and returns a `Breach`: the rows that break the law, the
reasons, and the items that the finding counts. A check decides nothing;
`tasks.validation.quarantine` acts on the breach. A table tool cannot check these laws, because each
compares rows with other rows, with the archive or with the pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tasks.config import Law
from tasks.records.ingested import Reading
from tasks.records.shortcuts import Beside
from tasks.records.validated import Example, Severity
from tasks.validation.apart import Apart
from tasks.validation.changes import Previous
from tasks.validation.standing import Standing


@dataclass(frozen=True)
class Delivered:
    """The input of the checks: the rows of a delivery, and what else is known about them.

    Attributes:
        frame: Rows of the manifest that are not quarantined.
        pairs: What looks alike, see `tasks.intake.looking_alike.alike_among`.
        unexpected: Gives how a file breaks the Great Expectations suite, by key. Waits until the
            suite is done, see `tasks.validation.beside`.
        unmatched: Number of image ids in the tables without an image, and a few of these ids.
        classes: Labels that were delivered, even if no image of them is left.
        minimum_groups: Fewest lesions of a learnable class.
        previous: The run whose data were accepted before, if there is one.
        standing: The manifest in which the facts about judged images stand.
        reading: What was understood of tables and folders; None in older records.
        external: The external sets, apart from these rows; None without any.
        measured: What the pixels show beside the lesion, by key, see
            `tasks.intake.surroundings.OF_PIXELS`; None where nothing was measured.
        derived: Copies by their names, see `tasks.intake.derived_names`.
    """

    frame: pd.DataFrame
    pairs: pd.DataFrame
    unexpected: Callable[[], dict[str, str]]
    unmatched: tuple[int, tuple[str, ...]]
    classes: tuple[str, ...]
    minimum_groups: int
    previous: Previous | None
    standing: Standing | None = None
    reading: Reading | None = None
    external: Apart | None = None
    measured: pd.DataFrame | None = None
    derived: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["first", "second"], dtype="str")
    )


@dataclass(frozen=True)
class Breach:
    """The breach of one law.

    Attributes:
        reasons: Reason for a person; indexed by the rows of the frame that break the law.
        counterparts: Keys of the files that each of these rows contradicts, as a tuple; same index,
            or empty.
        counted: The items that the finding counts, see the law's description.
        remark: Further explanation, in words.
        count: Number of items, if `counted` holds only a few of them.
        beside: What tells melanoma without its lesion; None for every other law.
    """

    reasons: pd.Series
    counterparts: pd.Series = field(default_factory=lambda: pd.Series(dtype="object"))
    counted: Sequence[Example] = ()
    remark: str = ""
    count: int | None = None
    beside: Beside | None = None


@dataclass(frozen=True)
class LawRow:
    """One law.

    Attributes:
        name: Name of the law.
        description: What the law demands, and what its finding counts.
        severity: What a breach means for a model trained on the data.
        consequence: What the pipeline does about a breach.
        check: Function that finds the breach.
        quarantines: Whether rows that break the law are taken out; if not, only reported.
        spared_in_delivered_test: Whether rows of the delivered test part that break the law stay
            in. Published results on the delivered test images include these defects; to be
            comparable, the rows stay, and the training rows that they contradict leave.
        on_accepted: Whether the law is checked on the accepted rows, because it is about the images
            that a network will learn from. All other laws are checked on all delivered rows, so
            that no law's count depends on another law.
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
    """Rows that share a value of one column but differ in another, and the keys of the rows that
    each contradicts."""
    reasons: dict[Any, str] = {}
    counterparts: dict[Any, tuple[str, ...]] = {}
    for column, words in same:
        several = frame.groupby(column)[differ].transform("nunique") > 1
        rows = frame[several & ~frame.index.isin(list(reasons))]
        # Plain lists: a data frame for each of hundreds of groups takes a second.
        members: dict[Any, list[tuple[Any, Any, str]]] = {}
        for index, value, name, key in zip(
            rows.index, rows[column], rows[differ], rows["key"], strict=True
        ):
            members.setdefault(value, []).append((index, name, key))
        for group in members.values():
            names = ", ".join(sorted({name for _, name, _ in group if pd.notna(name)}))
            for index, mine, _ in group:
                reasons[index] = f"the same {words} under {names}"
                counterparts[index] = tuple(key for _, name, key in group if name != mine)
    broken = pd.Series(reasons, dtype="str").reindex(frame.index).dropna().astype("str")
    told = [counterparts[index] for index in broken.index]
    return broken, pd.Series(told, index=broken.index, dtype="object")


def in_words(told: pd.Series) -> pd.Series:
    """Tuples of `Code` or `Contradiction` as text for a person."""
    return told.map(lambda each: "; ".join(map(str, each))).astype("str")


def alone(keys: pd.Series) -> pd.Series:
    """Each key as a tuple of one counterpart."""
    return pd.Series([(str(key),) for key in keys], index=keys.index, dtype="object")
