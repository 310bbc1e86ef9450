"""Ask Great Expectations in a process of its own, which works beside the laws."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

import pandas as pd

from tasks.engine.run import Run
from tasks.errors import Momentary
from tasks.records.record import Artifact
from tasks.records.validated import Finding
from tasks.validation.expectations import question_of
from tasks.validation.library_process import connection_to, forget

log = logging.getLogger(__name__)

ONE_AT_A_TIME = Lock()  # a validation asks twice; another must not come between


@dataclass
class Expectations:
    """One validation.

    Attributes:
        connection: The end of the process that Great Expectations works in.
        sent: The first question, on its way: the process takes it once the library is imported.
        answered: Whether both questions are answered.
    """

    connection: Connection
    sent: Future[None]
    answered: bool = False

    @cached_property
    def told(self) -> dict[str, Any]:
        """The outcome of the manifest's suite, once it is there: ``met`` of so many expectations
        ``of``, and how rows are ``unexpected``, by key."""
        self.sent.result()
        told = _answer(self.connection)
        log.info("Great Expectations: %d of %d expectations met.", told["met"], told["of"])
        return told

    def unexpected(self) -> dict[str, str]:
        """Value and broken expectation, as text, of each row that breaks a critical one, by key."""
        return dict(self.told["unexpected"])

    def keep_docs(self, run: Run, findings: tuple[Finding, ...]) -> tuple[Artifact, ...]:
        """Keep the library's pages of the manifest and the laws; the index comes first."""
        laws = [
            {"law": each.law, "count": each.count, "notes": f"{each.description} {each.remark}"}
            for each in findings
        ]
        _ = self.told  # the process answers in order
        _send(self.connection, json.dumps(laws).encode())
        pages = _answer(self.connection)
        self.answered = True
        return tuple(run.keep(f"data_docs/{place}", text.encode()) for place, text in pages.items())


@contextmanager
def expectations_of(manifest: pd.DataFrame) -> Iterator[Expectations]:
    """Have the manifest checked in the background, while this process does something else."""
    with ONE_AT_A_TIME, ThreadPoolExecutor(1) as beside:
        connection = connection_to()
        sent = beside.submit(_send, connection, question_of(manifest))
        asked = Expectations(connection, sent)
        try:
            yield asked
        finally:
            if not asked.answered:  # it waits for the second question: it is of no use now
                wait([sent])  # nothing is closed that a thread still writes to
                forget(connection)


def _send(connection: Connection, question: bytes) -> None:
    try:
        connection.send_bytes(question)
    except OSError as error:
        raise _ended() from error


def _answer(connection: Connection) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(connection.recv_bytes())
    except (EOFError, OSError) as error:
        raise _ended() from error
    if "failed" in told:
        raise RuntimeError(f"Great Expectations failed.\n{told['failed']}")
    return told


def _ended() -> Momentary:
    return Momentary(
        "The process of Great Expectations ended before it answered; perhaps memory was short."
    )
