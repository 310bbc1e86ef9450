"""In which order people delivered the files of a store, by the ledger of deliveries."""

from tasks.engine.deliveries import Delivery, Withdrawal, entries_in
from tasks.engine.run import Run
from tasks.engine.store import Store
from tasks.records.record import sha256


def order_of(store: Store) -> dict[str, int]:
    """The number of the entry by which each file was delivered last, from 1.

    A file that came past `deliver`, or from nobody who has a name, is not among them.

    Raises:
        Corrupt: The ledger of deliveries is damaged.
    """
    found: dict[str, int] = {}
    for entry, fact in entries_in(store):
        if isinstance(fact, Delivery) and fact.by.name:
            found |= dict.fromkeys(fact.keys, entry.number)
        elif isinstance(fact, Withdrawal):
            for key in fact.keys:
                found.pop(key, None)
    return found


def outside_state(run: Run) -> str:
    """State that decides about reuse: SHA-256 over the order of the run's files; empty if there is
    no external set, for which alone the order counts."""
    outside = run.external()
    if not outside:
        return ""
    order = order_of(run.store)
    said = [(each.key, order.get(each.key, 0)) for each in (*run.delivered(), *outside)]
    return sha256(repr(sorted(said)).encode())
