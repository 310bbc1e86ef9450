"""Why a request has no answer: the same words for programs and for people."""

from typing import Any

from fastapi import HTTPException
from pydantic import Field

from tasks.errors import BadInput, Corrupt, NotFound, PipelineError
from tasks.records.record import Frozen


class Problem(Frozen):
    """Why a request has no answer, as `tasks.errors.BadInput` tells it."""

    problem: str = Field(description="What is wrong.")
    expected: str = Field("", description="What was expected.")
    received: str = Field("", description="What was received.")
    do: str = Field("", description="What to do.")


class Told(Frozen):
    """The body of an answer without an answer."""

    detail: Problem = Field(description="The problem.")


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Told, "description": "The request is no form with files."},
    401: {"model": Told, "description": "Nobody is logged in."},
    403: {"model": Told, "description": "Not allowed."},
    404: {"model": Told, "description": "What is asked for is not there."},
    413: {"model": Told, "description": "A file, or the whole request, is too large."},
    421: {"model": Told, "description": "The app is not known under this name."},
    422: {"model": Told, "description": "A file is no image, or a field holds another value."},
    429: {"model": Told, "description": "Too many requests."},
    503: {"model": Told, "description": "No model is in use yet, or the store does not answer."},
}


def some(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that an address may answer with."""
    return {status: PROBLEMS[status] for status in statuses}


class Refusal(HTTPException):
    """A request without an answer, with its `Problem`."""

    def __init__(self, status: int, problem: str, **told: str) -> None:
        super().__init__(status, Problem(problem=problem, **told).model_dump())


def refusal_of(error: PipelineError) -> Refusal:
    """What a request is answered that met an error of the pipeline."""
    if isinstance(error, BadInput):
        status = 404 if isinstance(error, NotFound) else 500 if isinstance(error, Corrupt) else 422
        told = {"expected": error.expected, "received": error.received, "do": error.do}
        return Refusal(status, error.problem, **told)
    first = str(error).splitlines()[0]
    return Refusal(503, "The store does not answer.", received=first, do="try again in a minute")


def in_words(error: Refusal) -> str:
    """A problem in lines, as the command line tells it."""
    told = error.detail
    assert isinstance(told, dict)
    return "\n".join(told[key] for key in ("problem", "received", "do") if told.get(key))
