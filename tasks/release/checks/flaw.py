"""Shared by all checks of the evidence: report a flaw, and find what differs between records."""

import math
from typing import Any, TypeVar

from pydantic import BaseModel

from tasks.config import Retraining
from tasks.errors import Corrupt
from tasks.records.record import Record
from tasks.release.evidence import STEPS, Bundle

# Tolerance of recomputed figures: another processor may add in another order.
TOLERANCE = 1e-6

R = TypeVar("R", bound=Record)


def flaw(what: str, expected: str, received: str) -> Corrupt:
    """The error to raise for a flaw."""
    return Corrupt(
        f"The evidence does not hold: {what}.",
        expected=expected,
        received=received,
        do="do not rely on this bundle or promote its model; find out who changed it",
    )


def record_of(bundle: Bundle, of: type[R]) -> R:
    """The record of this type in a bundle."""
    record = bundle.record(next(step.name for step in STEPS if step.gives is of))
    assert isinstance(record, of)
    return record


def config_of(record: Record) -> Retraining:
    """The configuration of a record. It exists: the checks in `records` run first."""
    assert record.provenance
    return record.provenance.config


def check_same(what: str, found: set[Any], expected: set[Any]) -> None:
    """Raise `Corrupt` at the first key that is in one set only."""
    for key in sorted(found ^ expected):
        raise flaw(f"it is not so that {what}", f"{len(expected)} files", f"see {key}")


def first_difference(ours: Any, theirs: Any, where: str = "") -> tuple[str, str] | None:
    """The first place where two records differ by more than rounding: their value, and ours."""
    if isinstance(ours, BaseModel):
        ours, theirs = dict(ours), dict(theirs)
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        pairs = [(name, ours[name], theirs[name]) for name in ours]
    elif isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
        pairs = [(number, *pair) for number, pair in enumerate(zip(ours, theirs, strict=True))]
    elif isinstance(ours, float) and isinstance(theirs, float):
        close = math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return None if close else (f"{where} {theirs}", f"{ours}")
    else:
        return None if ours == theirs else (f"{where} {theirs}", f"{ours}")
    for name, one, other in pairs:
        found = first_difference(one, other, f"{where}.{name}" if where else str(name))
        if found:
            return found
    return None
