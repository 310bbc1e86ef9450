"""Checkpoints: the saved state of long work, so that a kill costs minutes and not hours.

A checkpoint is created once, under its number and the SHA-256 of its content. A checkpoint that is
incomplete or was changed is refused; then the one before it is used.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from tasks.engine.store import Store
from tasks.errors import AlreadyExists, NotFound, PipelineError
from tasks.records.record import sha256

log = logging.getLogger(__name__)

KEPT = 2
NAME = re.compile(r"\d{12}-([0-9a-f]{64})\.npz")


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one piece of work.

    Attributes:
        store: Store that holds the checkpoints.
        folder: Key prefix of the checkpoints of this work only, without a slash at the end.
        minutes: Longest time between two checkpoints.
    """

    store: Store
    folder: str
    minutes: float

    def save(self, number: int, data: bytes) -> None:
        """Keep `data` as checkpoint `number`, and keep the last KEPT - 1 checkpoints before it.

        If the store fails, the checkpoint is lost, but the work goes on; the failure is logged.
        """
        key = f"{self.folder}/{number:012d}-{sha256(data)}.npz"
        try:
            with suppress(AlreadyExists):
                self.store.create(key, data)
            for old in self._keys()[:-KEPT]:
                self.store.delete(old)
        except PipelineError as error:
            log.warning("Cannot keep checkpoint %d, or delete older ones: %s", number, error)

    def newest_first(self) -> Iterator[bytes]:
        """The contents of the checkpoints that are unchanged."""
        for key in reversed(self._keys()):
            found = NAME.fullmatch(key.rpartition("/")[2])
            try:
                data = self.store.read(key)
            except NotFound:  # another attempt at the same work has tidied up
                continue
            if found and found[1] == sha256(data):
                yield data
            else:
                log.warning("Checkpoint %s is refused: its content has changed.", key)

    def _keys(self) -> list[str]:
        return [entry.key for entry in self.store.list(f"{self.folder}/")]
