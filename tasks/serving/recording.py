"""Keep a trace of each answer, without its image, for the drift test.

Traces are made and written by a thread of their own, after the answer was sent. They are gathered
for a while, because one object for each request would be many small files.
"""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prometheus_client import Counter

from tasks.engine.store import Store
from tasks.errors import PipelineError
from tasks.evaluation.traces import Trace, traces_of, write
from tasks.intake.images import Decoded
from tasks.serving.answer import Answer

log = logging.getLogger(__name__)

SECONDS = 60.0  # that traces are gathered
AT_ONCE = 500  # traces, about 250 kB
# Answers that wait for their traces, with their pixels: 100 MB at 180 px. Further ones leave none.
WAITING = 1000
# Traces that a store which does not answer may make wait.
KEPT = 20_000


@dataclass(frozen=True)
class Given:
    """An answer that was given, when, and the number of its lesion."""

    answer: Answer
    images: Sequence[Decoded]
    at: datetime
    lesion: str


@dataclass
class Recorder:
    """Writes traces while the app answers.

    Args:
        store: The store.
        lost: Counts answers that leave no trace.
        seconds: Time that traces are gathered.
    """

    store: Store
    lost: Counter
    seconds: float = SECONDS
    _given: "queue.Queue[Given | None]" = field(default_factory=lambda: queue.Queue(WAITING))
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._record, name="record", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what was gathered, and end the thread."""
        if self._thread:
            self._given.put(None)
            self._thread.join()

    def keep(self, answer: Answer, images: Sequence[Decoded], lesion: str) -> None:
        """Leave a trace of an answer. Never waits: where too many wait, the answer is counted as
        lost.

        Args:
            answer: The answer.
            images: Its images, decoded.
            lesion: Number of the lesion, see `tasks.evaluation.traces.new_lesion`.
        """
        try:
            self._given.put_nowait(Given(answer, images, datetime.now(UTC), lesion))
        except queue.Full:
            self.lost.inc()

    def _record(self) -> None:
        gathered, begun = list[Trace](), time.monotonic()
        while True:
            left = max(0.0, begun + self.seconds - time.monotonic())
            try:
                given = self._given.get(timeout=left)
                ended = given is None
                gathered += self._traces(given) if given else []
            except queue.Empty:
                ended = False
            if ended or len(gathered) >= AT_ONCE or time.monotonic() - begun >= self.seconds:
                gathered, begun = self._written(gathered), time.monotonic()
            if ended:
                return

    def _traces(self, given: Given) -> list[Trace]:
        answer, facts = given.answer, given.answer.model
        refused: list[tuple[str, ...]] = [
            tuple(each.ground for each in answer.refused if each.image == number)
            for number in range(1, len(given.images) + 1)
        ]
        try:
            return traces_of(
                given.images,
                now=given.at,
                lesion=given.lesion,
                version=facts.version,
                model_sha256=facts.sha256,
                probabilities=answer.probabilities,
                decision=answer.decision,
                refused=refused,
            )
        except Exception:  # a trace that cannot be made must not end the thread
            log.exception("An answer leaves no trace.")
            self.lost.inc()
            return []

    def _written(self, gathered: list[Trace]) -> list[Trace]:
        """Write traces; returns those that must wait for a store that does not answer."""
        if not gathered:
            return []
        try:
            write(self.store, gathered)
            return []
        except PipelineError as error:
            kept = gathered[-KEPT:]
            self.lost.inc(len(gathered) - len(kept))
            log.warning("Traces wait for the store: %s", str(error).splitlines()[0])
            return kept
