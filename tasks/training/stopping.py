"""When a training keeps a checkpoint, when it stops, and where it goes on afterwards."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from zipfile import BadZipFile

from tasks.engine.checkpoints import Checkpoints
from tasks.training.state import State

log = logging.getLogger(__name__)


class Stopped(Exception):
    """SIGTERM was noted, and the step of the optimizer that it came in has ended."""


@contextmanager
def sigterm_noted() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGTERM came, instead of what SIGTERM does otherwise."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGTERM, before)


class Keeper:
    """Keeps checkpoints of a state, and stops the work once SIGTERM was noted.

    Args:
        state: Of the work.
        checkpoints: Where they are kept; None for work that is begun anew after a kill.
        noted: What `sigterm_noted` gives.
    """

    def __init__(self, state: State, checkpoints: Checkpoints | None, noted: list[int]) -> None:
        self.state, self.checkpoints, self.noted = state, checkpoints, noted
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Go back to the newest checkpoint that is whole and fits the model."""
        state = self.state
        for data in self.checkpoints.newest_first() if self.checkpoints else ():
            try:
                state.unpack(data)
            except (ValueError, KeyError, OSError, BadZipFile) as error:
                log.warning("A checkpoint is refused: %s", error)
                continue
            log.info("Resumed in epoch %d, after %d images.", len(state.epochs) + 1, state.images)
            return

    def between_steps(self, *, due: bool = False) -> None:
        """Keep a checkpoint if it is due or time; stop if that is wanted.

        Raises:
            Stopped: SIGTERM was noted; a checkpoint was kept first.
        """
        kept = self.checkpoints
        if kept and time.monotonic() - self.saved_at >= 60 * kept.minutes:
            due = True
        if due or self.noted:
            self.save()
        if self.noted:
            raise Stopped

    def save(self) -> None:
        """Keep a checkpoint of this moment, which must lie between two steps."""
        if self.checkpoints:
            self.state.count_time()
            # More images, or as many and one more epoch: each later state has a higher number.
            number = self.state.learned + len(self.state.epochs)
            self.checkpoints.save(number, self.state.pack())
            self.saved_at = time.monotonic()
