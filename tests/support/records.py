"""Records of a run, by their types."""

from typing import Any, TypeVar

from pydantic import BaseModel

from tasks.engine.run import Run
from tasks.pipeline import PIPELINE
from tasks.records.record import Record

Kind = TypeVar("Kind", bound=Record)
Part = TypeVar("Part", bound=BaseModel)


def record_of(run: Run, kind: type[Kind]) -> Kind:
    """The record of a step of a run, which must be there."""
    record = run.record(next(step.name for step in PIPELINE if step.gives is kind))
    assert isinstance(record, kind)
    return record


def known(number: float | None) -> float:
    """A figure or a bound, which must be there."""
    assert number is not None
    return number


def incomplete(kind: type[Part], **fields: Any) -> Part:
    """A record, or a part of one, that holds only what a test looks at; nothing is checked."""
    return kind.model_construct(**fields)
