"""The ledger of feedback: what reviewers released into a delivery, and what they deleted.

The entries are ``ledger/feedback/000001.json`` and on, each created once, each holding the SHA-256
of the entry before it, and signed where there is a key. An entry holds no image, and no patient.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydantic import Field

from tasks.engine.ledger import (
    SIGNING,
    Chain,
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
from tasks.engine.signing import keys_here
from tasks.engine.store import Store
from tasks.errors import AlreadyExists
from tasks.feedback.kept import Diagnosed, Kept
from tasks.records.record import Frozen

FOLDER = "ledger/feedback/"


class Released(Frozen):
    """A lesion that a reviewer released into a delivery."""

    kept: Kept = Field(description="What the app answered.")
    diagnosed: Diagnosed = Field(description="The diagnosis that counts.")
    by: Person = Field(description="Who released.")
    keys: tuple[str, ...] = Field(description="Keys of its images in the store, below raw/.")


class Deleted(Frozen):
    """A lesion whose images a reviewer deleted."""

    lesion: str = Field(description="Number of the lesion.")
    by: Person = Field(description="Who deleted.")
    reason: str = Field(description="Why, in the reviewer's words.")


Fact = Released | Deleted | Signed
KINDS: dict[str, type[Fact]] = {"release": Released, "deletion": Deleted, SIGNING: Signed}


@dataclass(frozen=True)
class Decided:
    """The ledger of feedback at one moment.

    Attributes:
        chain: The entries.
        facts: What each entry says, in order.
    """

    chain: Chain
    facts: tuple[Fact, ...]

    @property
    def released(self) -> list[tuple[Entry, Released]]:
        """The releases with their entries, in order."""
        rows = zip(self.chain.entries, self.facts, strict=True)
        return [(entry, fact) for entry, fact in rows if isinstance(fact, Released)]

    @property
    def deleted(self) -> list[tuple[Entry, Deleted]]:
        """The deletions with their entries, in order."""
        rows = zip(self.chain.entries, self.facts, strict=True)
        return [(entry, fact) for entry, fact in rows if isinstance(fact, Deleted)]

    @property
    def lesions(self) -> set[str]:
        """The lesions about which a reviewer has decided."""
        released = {fact.kept.lesion for _, fact in self.released}
        return released | {fact.lesion for _, fact in self.deleted}


def decided_in(store: Store) -> Decided:
    """Read the ledger of feedback.

    Raises:
        Corrupt: An entry is missing, changed or not understood; or there is a key, and nobody
            vouches for an entry.
    """
    chain = parse_chain(entry_files(store, FOLDER), FOLDER)
    check_signed(chain, keys_here(), store, FOLDER)
    facts: list[Fact] = [fact_of(entry, KINDS, FOLDER) for entry in chain.entries]
    return Decided(chain, tuple(facts))


def enter(store: Store, said: Callable[[Decided], Iterable[Fact]]) -> list[Fact]:
    """Enter facts, one entry each.

    Args:
        store: The store.
        said: Gives the facts that the ledger lacks now; asked again where another process was
            faster.

    Returns:
        What was entered.
    """
    entered = list[Fact]()
    while True:
        now = decided_in(store)
        fact = next(iter(said(now)), None)
        if fact is None:
            return entered
        kind = next(name for name, of in KINDS.items() if type(fact) is of)
        entry = next_entry(now.chain, kind, "", fact.model_dump(mode="json"), FOLDER)
        try:
            store.create(entry_key(entry.number, FOLDER), entry.data)
        except AlreadyExists:
            continue
        entered.append(fact)
