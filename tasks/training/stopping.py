"""Keep checkpoints of a training, stop it on SIGTERM, and resume it."""

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
    """SIGTERM came, and the current step of the optimizer has ended."""


@contextmanager
def sigterm_noted() -> Iterator[list[int]]:
    """Only note SIGTERM inside the context. Yields a list that is not empty once SIGTERM came."""
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
        state: State of the work.
        checkpoints: Where to keep checkpoints; None for work that starts again after a kill.
        noted: The list of `sigterm_noted`.
    """

    def __init__(self, state: State, checkpoints: Checkpoints | None, noted: list[int]) -> None:
        self.state, self.checkpoints, self.noted = state, checkpoints, noted
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Restore the newest checkpoint that is complete and fits the model."""
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
        """Keep a checkpoint if one is due; stop if SIGTERM was noted.

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
            # Each later state has a higher number: more images, or equally many and one more epoch.
            number = self.state.learned + len(self.state.epochs)
            self.checkpoints.save(number, self.state.pack())
            self.saved_at = time.monotonic()
