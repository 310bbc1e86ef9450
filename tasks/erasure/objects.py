"""The objects of a store that an erasure changes, each with its bytes then and now.

What a record or a bundle vouches for comes first, as the ledger must name these bytes before they
are changed. Indexes of decoded files and pages follow, for which nothing vouches. Of what was
delivered, see `tasks.erasure.delivered`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tasks.engine.store import Store
from tasks.erasure.scope import Scope
from tasks.erasure.without import (
    csv_without,
    golden_without,
    index_without,
    list_without,
    picture_without,
    shard_without,
    table_without,
)
from tasks.feedback.kept import keys_of, waiting_in
from tasks.intake.feature_files import COMPARED, shard_of
from tasks.intake.feature_files import FOLDER as FEATURES
from tasks.monitoring.reference import FOLDER as REFERENCES
from tasks.records.record import sha256
from tasks.release.golden import ANSWERS, PIXELS

SHARDS, INDEXES = "shared/shards/", ("shared/decoded/", "shared/packs/")
SALIENCY = re.compile(r"runs/.*/([0-9a-f]{16})\.png")


@dataclass(frozen=True)
class Work:
    """What becomes of one object.

    Attributes:
        key: Key in the store.
        was: Its bytes.
        now: Its bytes without what is erased; None for an object that goes.
        place: Key under which `now` is written, if its name is its hash.
    """

    key: str
    was: bytes
    now: bytes | None
    place: str = ""


def sealed(store: Store, scope: Scope) -> Iterator[Work]:
    """The objects that a record or a bundle vouches for, and that change."""
    keys = [entry.key for prefix in ("runs/", "shared/") for entry in store.list(prefix)]
    drawn = {sha256(each.encode())[:16] for each in scope.images}
    for key in keys:
        change: Callable[[bytes], bytes] | None = None
        if key in scope.places:
            change = partial(shard_without, rows=scope.places[key])
        elif key.startswith(INDEXES):
            continue
        elif key.endswith(".parquet"):
            change = partial(table_without, scope=scope)
        elif key.endswith(".csv") and key.startswith("runs/"):
            change = partial(csv_without, scope=scope)
        elif (found := SALIENCY.fullmatch(key)) and found[1] in drawn:
            change = picture_without
        elif key.endswith(f"/{PIXELS}"):
            yield from _golden(store, key.removesuffix(PIXELS), scope)
        if change:
            was = store.read(key)
            now = change(was)
            if now != was:
                yield Work(key, was, now)


def _golden(store: Store, folder: str, scope: Scope) -> Iterator[Work]:
    pixels, answers = store.read(folder + PIXELS), store.read(folder + ANSWERS)
    now = golden_without(pixels, answers, scope)
    for path, was, after in zip((PIXELS, ANSWERS), (pixels, answers), now, strict=True):
        if was != after:
            yield Work(folder + path, was, after)


def beside(store: Store, scope: Scope) -> Iterator[Work]:
    """Indexes of decoded files, which are named by their hash, and lists of what was delivered."""
    etags = {entry.key: entry.etag for entry in store.list(SHARDS)}
    for entry in [each for prefix in INDEXES for each in store.list(prefix)]:
        if entry.key.endswith(".parquet"):
            was = store.read(entry.key)
            now = index_without(was, scope, etags)
            if now != was:
                folder = entry.key.rpartition("/")[0]
                yield Work(entry.key, was, now, f"{folder}/{sha256(now)}.parquet")
    for entry in list(store.list(FEATURES)):
        if shard_of(entry.key) in scope.places:
            yield Work(entry.key, store.read(entry.key), None)
    # Their names of pictures cannot be told from others, and seconds make the tables anew.
    for entry in list(store.list(COMPARED)):
        yield Work(entry.key, store.read(entry.key), None)
    # Figures of images without their ids: the next drift test makes them anew.
    for entry in list(store.list(REFERENCES)):
        yield Work(entry.key, store.read(entry.key), None)
    # The other images of such a lesion are of the same patient.
    for found in waiting_in(store):
        if scope.pixels & {each.pixel_hash for each in found.kept.images}:
            for key in keys_of(store, found.kept.lesion):
                yield Work(key, store.read(key), None)
    for entry in list(store.list("runs/")):
        if entry.key.endswith("/raw.json") and entry.key.count("/") == 2:
            was = store.read(entry.key)
            now = list_without(was, scope)
            if now != was:
                yield Work(entry.key, was, now)


def pointers(store: Store, scope: Scope) -> Iterator[str]:
    """Keys of the notes by which a later run would reuse the work of a run that held an image."""
    named = re.compile(r'"run": "([^"]*)"')
    for entry in list(store.list("shared/reuse/")):
        found = named.search(store.read(entry.key).decode(errors="replace"))
        if found and found[1] in scope.runs:
            yield entry.key
