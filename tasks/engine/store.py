"""The interface of object storage, and reading many objects at once.

Two kinds of write, both all-or-nothing:

- ``create`` writes a key once. Of any number of writers that race, one wins and the others get
  `AlreadyExists` (``link(2)`` on a disk, ``If-None-Match: *`` on S3). Records and shared objects
  are created.
- ``replace`` overwrites. Only artifacts that a record will vouch for by their SHA-256, and
  progress, are replaced.

Only checkpoints are ever deleted.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from tasks.errors import NotFound

# Where the program's first version kept what is a chain now, see `tasks.engine.loose`.
SIDES = "ledger/sides/"
EVALUATIONS = "ledger/evaluations/"
PARALLEL_REQUESTS = 16  # S3 latency is tens of ms; 16 in flight hide it without flooding a server


@dataclass(frozen=True)
class Entry:
    """One stored object.

    Attributes:
        key: Path inside the store, with ``/`` between its parts.
        size_bytes: Length of the content.
        etag: Changes whenever the content changes, and at most when the object is written.
            Opaque: it is not a hash of the content.
    """

    key: str
    size_bytes: int
    etag: str


class Store(Protocol):
    """What the pipeline asks of object storage. Keys are relative, with ``/`` between parts."""

    uri: str

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects whose key starts with `prefix`, in the order of their keys."""
        ...

    def read(self, key: str) -> bytes:
        """Return the content. Raises `NotFound`."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Write a new object, whole or not at all. Raises `AlreadyExists`."""
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all, over whatever stood there."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no fault."""
        ...

    def sweep(self, folder: str) -> None:
        """Remove what killed writers left half written below a folder, given with a ``/`` at its
        end. A writer that is alive there may fail with `Momentary`."""
        ...


def read_many(store: Store, keys: Iterable[str]) -> Iterator[bytes]:
    """Read objects in parallel; yields contents in the order of `keys`.

    At most PARALLEL_REQUESTS contents are held at a time, however slowly they are taken.
    """
    reading: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as threads:
        try:
            for key in keys:
                reading.append(threads.submit(store.read, key))
                if len(reading) == PARALLEL_REQUESTS:
                    yield reading.popleft().result()
            while reading:
                yield reading.popleft().result()
        finally:
            for unwanted in reading:
                unwanted.cancel()


def not_found(store: Store, key: str) -> NotFound:
    """What a store raises for a key that it does not hold."""
    return NotFound(
        "An object is missing from the store.",
        expected=f"an object {key}",
        received=f"no such object in {store.uri}",
        do="check the address of the store; if the object was deleted, start a new run",
    )
