"""The ledger of deliveries: who delivered, withdrew or replaced which files, and who set the
defaults of the store.

The entries are ``ledger/deliveries/000001.json`` and on, each created once, each holding the
SHA-256 of the entry before it. They answer for a training that a schedule or an event started.
"""

import json
import logging
from collections.abc import Callable

from pydantic import Field

from tasks.engine.ledger import Entry, entry_files, entry_key, fact_of, next_entry, parse_chain
from tasks.engine.person import Person
from tasks.engine.signing import keys_here
from tasks.engine.store import Store
from tasks.errors import AlreadyExists, Corrupt, NotFound, PipelineError
from tasks.records.record import Frozen, sha256

log = logging.getLogger(__name__)

FOLDER = "ledger/deliveries/"


class Delivery(Frozen):
    """Files that a person delivered."""

    by: Person = Field(description="Who delivered.")
    keys: tuple[str, ...] = Field(description="Keys in the store, those of earlier ones left out.")


class Withdrawal(Frozen):
    """Files that a person took back: later runs leave them out."""

    by: Person = Field(description="Who withdrew.")
    keys: tuple[str, ...] = Field(description="Keys in the store; their bytes stay there.")
    reason: str = Field(description="Why, in the person's words.")
    replaced_by: dict[str, str] = Field(
        {}, description="The key that stands in its place, by the key of a file that was replaced."
    )


class Defaults(Frozen):
    """Defaults that a person gave the store."""

    by: Person = Field(description="Who set them.")
    sha256: str = Field(description="SHA-256 of the file ``config.json``.")


Fact = Delivery | Withdrawal | Defaults
KINDS: dict[str, type[Fact]] = {
    "delivery": Delivery,
    "withdrawal": Withdrawal,
    "defaults": Defaults,
}


def facts_in(store: Store) -> list[Fact]:
    """What the ledger of deliveries says, in order.

    Raises:
        Corrupt: An entry is missing, changed or not understood.
    """
    return [fact for _, fact in entries_in(store)]


def entries_in(store: Store) -> list[tuple[Entry, Fact]]:
    """The entries of the ledger of deliveries, in order, and what each says. Raises `Corrupt`."""
    entries = parse_chain(entry_files(store, FOLDER), FOLDER).entries
    return [(entry, fact_of(entry, KINDS, FOLDER)) for entry in entries]


def note_delivery(store: Store, by: Person, keys: list[str]) -> None:
    """Note who delivered files; files that an earlier entry names stay with that entry, unless they
    were withdrawn since: then they are delivered anew.

    A store that does not let this person write the ledger keeps the delivery. The lack is told:
    two people must then approve what a schedule trains on these files.
    """

    def said(now: list[Fact]) -> Fact | None:
        named: set[str] = set()
        for each in now:
            if isinstance(each, Delivery):
                named |= set(each.keys)
            elif isinstance(each, Withdrawal):
                named -= set(each.keys)
        fresh = tuple(key for key in sorted(keys) if key not in named)
        return Delivery(by=by, keys=fresh) if fresh else None

    try:
        _append(store, said)
    except Corrupt:
        raise
    except PipelineError as error:
        log.warning("Who delivered is not noted, and will count as unknown: %s", error)


def note_withdrawal(store: Store, withdrawal: Withdrawal) -> None:
    """Note who withdraws files, and why. Raises `BadInput` or `Momentary` if it cannot be noted."""
    _append(store, lambda now: withdrawal)


def note_defaults(store: Store, by: Person, data: bytes) -> None:
    """Note who sets the defaults of the store, before they are set."""
    _append(store, lambda now: Defaults(by=by, sha256=sha256(data)))


def _append(store: Store, said: Callable[[list[Fact]], Fact | None]) -> None:
    while True:
        chain = parse_chain(entry_files(store, FOLDER), FOLDER)
        fact = said(facts_in(store))
        if fact is None:
            return
        kind = next(name for name, of in KINDS.items() if type(fact) is of)
        entry = next_entry(chain, kind, "", fact.model_dump(mode="json"), FOLDER)
        try:
            store.create(entry_key(entry.number, FOLDER), entry.data)
        except AlreadyExists:
            continue
        return


def _vouched(store: Store) -> list[Fact]:
    """What the ledger says; with a key, only up to the first entry that no accepted key signed. Who
    delivers may have no key, and then counts as unknown."""
    facts, keys = facts_in(store), keys_here()
    if not keys.on:
        return facts
    for entry in parse_chain(entry_files(store, FOLDER), FOLDER).entries:
        if why := entry.why_not(keys, FOLDER):
            key = entry_key(entry.number, FOLDER)
            log.warning("%s and what follows it counts for nothing: %s.", key, why)
            return facts[: entry.number - 1]
    return facts


def _left_out(store: Store, run: str) -> int:
    """Number of the newest entry that withdrew files from a run; 0 if none did."""
    try:
        told = json.loads(store.read(f"runs/{run}/withdrawn.json"))
        return max((int(each["entry"]) for each in told), default=0)
    except (NotFound, ValueError, KeyError, TypeError):
        return 0


def answerable_for(store: Store, run: str) -> tuple[Person, ...]:
    """Who answers for a run that no person started: who delivered the newest of its files, who was
    the last to withdraw any from it, and who set the defaults that it began with. Empty if one of
    them is not known.

    Raises:
        Corrupt: The ledger of deliveries is damaged.
    """
    facts = _vouched(store)
    try:
        delivered = {str(each["key"]) for each in json.loads(store.read(f"runs/{run}/raw.json"))}
        defaults = store.read(f"runs/{run}/config.json")
    except (NotFound, ValueError, KeyError, TypeError):
        return ()
    deliveries = [each for each in facts if isinstance(each, Delivery)]
    if delivered - {key for each in deliveries for key in each.keys}:
        return ()  # files came in by another way, and may be the newest
    people = [each.by for each in deliveries if delivered & set(each.keys)][-1:]
    if left_out := _left_out(store, run):
        if left_out > len(facts):
            return ()  # nobody vouches for the entry
        people.append(facts[left_out - 1].by)
    if defaults.strip() != b"{}":
        setting = [e for e in facts if isinstance(e, Defaults) and e.sha256 == sha256(defaults)]
        if not setting:
            return ()
        people.append(setting[-1].by)
    return tuple(dict.fromkeys(people)) if all(each.name for each in people) else ()
