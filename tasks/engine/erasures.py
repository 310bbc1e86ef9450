"""The ledger of erasures: what was taken out of a store for good, by whom, when and why.

The entries are ``ledger/erasures/000001.json`` and on, each created once, each holding the SHA-256
of the entry before it. An erasure has two: `Erasing` stands before the first byte is changed, so
that a kill leaves a state which the same command completes; `Erased` stands when nothing is left.

An artifact whose bytes an erasure has changed is not what its record names. `Erasures.allows`
says which bytes it may have instead, so that nothing else passes for it.

Ids stand here only as SHA-256: people read this ledger, and reports quote it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import Field

from tasks.engine.ledger import (
    SIGNING,
    Entry,
    check_signed,
    entry_files,
    entry_key,
    fact_of,
    next_entry,
    parse_chain,
)
from tasks.engine.person import Person
from tasks.engine.signed_chains import Signed
from tasks.engine.signing import Keys, keys_here
from tasks.engine.store import Store
from tasks.errors import AlreadyExists
from tasks.records.record import Frozen, sha256

log = logging.getLogger("tasks")

FOLDER = "ledger/erasures/"
# What a half-done erasure must still know, with ids in clear; gone when the erasure is complete.
OPEN = "erasing/"
LAW: Literal["erased"] = "erased"  # that a file breaks which was delivered again

Asked = Literal["image", "patient"]


class Change(Frozen):
    """One object that an erasure changes."""

    key: str = Field(description="Key in the store; of a delivered file, its folder alone.")
    key_sha256: str = Field(description="SHA-256 of the key itself.")
    was: str = Field(description="SHA-256 of the bytes before, hex.")
    now: str = Field(description="SHA-256 of the bytes after, hex; empty for an object that goes.")


class Learned(Frozen):
    """A run that used an erased image, and its model."""

    run: str = Field(description="Name of the run.")
    sides: dict[str, int] = Field(description="Erased images in each part of the run's split.")
    version: int | None = Field(description="Version in MLflow; None without a registered one.")
    recipe: str = Field("", description="Recipe of the model; empty where none was judged.")


class Erasing(Frozen):
    """What a person wants erased, before the first byte is changed."""

    by: Person = Field(description="Who erases.")
    reason: str = Field(description="Why, in the person's words.")
    asked: Asked = Field(description="What was named: an image, or all images of a patient.")
    asked_sha256: str = Field(description="SHA-256 of the id that was named.")
    images: tuple[str, ...] = Field(description="SHA-256 of the id of each image.")
    files: tuple[str, ...] = Field(description="SHA-256 of the bytes of each file.")
    pixels: tuple[str, ...] = Field(description="Pixel hash of each image.")
    runs: tuple[str, ...] = Field(description="Runs that hold an image; none of them goes on.")
    changes: tuple[Change, ...] = Field(description="The objects, with their bytes then and now.")
    learned: tuple[Learned, ...] = Field(description="The runs that used an image.")


class Erased(Frozen):
    """An erasure that is complete."""

    completes: int = Field(ge=1, description="Number of the first entry `Erasing` of the erasure.")
    also: tuple[Change, ...] = Field(
        description="Objects that no record vouches for, which were changed too: pages, indexes."
    )
    unseen: int | None = Field(
        None,
        description="Delivered files that were not looked into and may hold something, a number; "
        "None where nobody counted them.",
    )


Fact = Erasing | Erased | Signed
KINDS: dict[str, type[Fact]] = {"erasing": Erasing, "erased": Erased, SIGNING: Signed}


@dataclass(frozen=True)
class Erasures:
    """What the ledger says.

    Attributes:
        entries: The entries and what each says, in order.
    """

    entries: tuple[tuple[Entry, Fact], ...] = ()

    @cached_property
    def begun(self) -> dict[int, Erasing]:
        """Each intention, by the number of its entry."""
        return {entry.number: fact for entry, fact in self.entries if isinstance(fact, Erasing)}

    @cached_property
    def images(self) -> frozenset[str]:
        return frozenset(each for fact in self.begun.values() for each in fact.images)

    @cached_property
    def files(self) -> frozenset[str]:
        return frozenset(each for fact in self.begun.values() for each in fact.files)

    @cached_property
    def pixels(self) -> frozenset[str]:
        return frozenset(each for fact in self.begun.values() for each in fact.pixels)

    def open_of(self, asked: Asked, asked_sha256: str) -> int | None:
        """Number of the first entry of an erasure that is not complete; None without one."""
        first = None
        for entry, fact in self.entries:
            if isinstance(fact, Erased):
                first = None if fact.completes == first else first
            elif isinstance(fact, Erasing) and (fact.asked, fact.asked_sha256) == (
                asked,
                asked_sha256,
            ):
                first = first or entry.number
        return first

    def done(self, asked: Asked, asked_sha256: str) -> Entry | None:
        """The last entry that says that this erasure is complete; None without one."""
        found = None
        for entry, fact in self.entries:
            if isinstance(fact, Erased) and fact.completes in self.begun:
                began = self.begun[fact.completes]
                if (began.asked, began.asked_sha256) == (asked, asked_sha256):
                    found = entry
        return found

    def allows(self, key: str, was: str, found: str) -> bool:
        """Whether an erasure, complete or not, put these bytes there instead of those.

        Args:
            key: Key of the object.
            was: SHA-256 that a record names. Several erasures may have followed each other.
            found: SHA-256 of the bytes that stand there.
        """
        name, reached = sha256(key.encode()), {was}
        for fact in self.begun.values():
            reached |= {
                each.now
                for each in fact.changes
                if each.key_sha256 == name and each.was in reached and each.now
            }
        return found != was and found in reached

    def stops(self, run: str) -> bool:
        """Whether a run held an image that was erased, so that it cannot go on."""
        return any(run in fact.runs for fact in self.begun.values())

    def why(self, image_id: str = "", file: str = "", pixels: str = "") -> str:
        """Why a file is not taken in again, in words; empty if nothing of it was erased.

        Args:
            image_id: Id of its image.
            file: SHA-256 of its bytes.
            pixels: Its pixel hash.
        """
        what = {
            "an image of this id": image_id and sha256(image_id.encode()) in self.images,
            "this very file": file in self.files,
            "this very picture": pixels in self.pixels,
        }
        told = next((words for words, held in what.items() if held), "")
        return f"{told} was erased from this store, and does not come back" if told else ""


def erasures_in(store: Store, keys: Keys | None = None) -> Erasures:
    """Read the ledger of erasures.

    Args:
        store: The store.
        keys: Whose signatures are accepted; None for the keys of this process.

    Raises:
        Corrupt: An entry is missing, changed or not understood; or there is a key, and nobody
            vouches for an entry.
    """
    chain = parse_chain(entry_files(store, FOLDER), FOLDER)
    check_signed(chain, keys or keys_here(), store, FOLDER)
    return Erasures(tuple((entry, fact_of(entry, KINDS, FOLDER)) for entry in chain.entries))


def append(store: Store, said: Callable[[Erasures], Fact | None], keys: Keys | None = None) -> int:
    """Add one entry; returns its number, 0 if nothing was to be added. If another process was
    faster, look at its entry and decide again.

    Args:
        store: The store.
        said: What to add, from the ledger as it stands; None to add nothing.
        keys: As for `erasures_in`.
    """
    while True:
        fact = said(erasures_in(store, keys))
        if fact is None:
            return 0
        chain = parse_chain(entry_files(store, FOLDER), FOLDER)
        kind = next(name for name, of in KINDS.items() if type(fact) is of)
        entry = next_entry(chain, kind, "", fact.model_dump(mode="json"), FOLDER)
        try:
            store.create(entry_key(entry.number, FOLDER), entry.data)
        except AlreadyExists:
            continue
        return entry.number
