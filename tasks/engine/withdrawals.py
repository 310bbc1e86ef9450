"""What is withdrawn of the delivered files: by whom, when and why, by the ledger of deliveries."""

from dataclasses import dataclass, field
from difflib import get_close_matches

from tasks.engine.deliveries import (
    FOLDER,
    Delivery,
    Withdrawal,
    entries_in,
    note_withdrawal,
)
from tasks.engine.ledger import Entry, entry_key
from tasks.engine.person import Person
from tasks.engine.signing import keys_here, not_signed
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.figures import listed
from tasks.records.record import Frozen

RAW = "raw/"
EXTERNAL = "external/"  # labelled sets that models are judged on, and never learn from
SET_NAME = r"[a-z0-9][a-z0-9_-]{0,62}"  # stands in reports, metrics and keys
LONGEST_REASON = 1_000


class Withdrawn(Frozen):
    """A delivered file that later runs leave out.

    Attributes:
        key: Its key in the store.
        entry: Number of the entry of the ledger that says so, from 1.
        by: Who withdrew it, in words.
        at: When, UTC, ISO 8601.
        reason: Why.
        replaced_by: Key of the file that stands in its place; empty if none does.
    """

    key: str
    entry: int
    by: str
    at: str
    reason: str
    replaced_by: str = ""


@dataclass
class Withdrawals:
    """What the ledger says.

    Attributes:
        now: What is withdrawn, by key.
        successors: The key that once replaced a key, whether or not it was withdrawn since.
    """

    now: dict[str, Withdrawn] = field(default_factory=dict)
    successors: dict[str, str] = field(default_factory=dict)

    def versions(self, key: str) -> list[str]:
        """The keys that stood under a name, from the first to the last."""
        found = [key]
        while (later := self.successors.get(found[-1])) and later not in found:
            found.append(later)
        return found


def withdrawals_in(store: Store) -> Withdrawals:
    """What is withdrawn in a store.

    Raises:
        Corrupt: The ledger of deliveries is damaged; or there is a key, and an entry that withdraws
            or brings back follows a signed one without a signature.
    """
    found, keys, signed = Withdrawals(), keys_here(), False
    for entry, fact in entries_in(store):
        why = entry.why_not(keys, FOLDER) if keys.on else ""
        signed |= keys.on and not why
        if signed and why and (isinstance(fact, Withdrawal) or _brings_back(found, fact)):
            raise not_signed(f"The entry {entry_key(entry.number, FOLDER)}", why, store.uri)
        if isinstance(fact, Delivery):
            for key in fact.keys:
                found.now.pop(key, None)
        elif isinstance(fact, Withdrawal):
            found.now |= {key: _withdrawn(entry, fact, key) for key in fact.keys}
            found.successors |= fact.replaced_by
    return found


def _brings_back(found: Withdrawals, fact: object) -> bool:
    return isinstance(fact, Delivery) and not found.now.keys().isdisjoint(fact.keys)


def _withdrawn(entry: Entry, fact: Withdrawal, key: str) -> Withdrawn:
    return Withdrawn(
        key=key,
        entry=entry.number,
        by=fact.by.in_words,
        at=entry.at,
        reason=fact.reason,
        replaced_by=fact.replaced_by.get(key, ""),
    )


def withdraw(
    store: Store, by: Person, reason: str, *, delivery: str | None = None, files: list[str]
) -> tuple[list[str], list[str]]:
    """Withdraw delivered files. Their bytes stay in the store; later runs leave them out.

    Args:
        store: The store.
        by: Who withdraws.
        reason: Why.
        delivery: Name of a delivery, the folder under ``raw/``: all its files.
        files: Keys of files, with or without ``raw/``.

    Returns:
        The keys that are withdrawn by this, and the keys that were withdrawn before.

    Raises:
        BadInput: Nobody is known to act, no reason is given, or there is no such delivery or file.
    """
    _check_named(by, reason)
    there = [entry.key for folder in (RAW, EXTERNAL) for entry in store.list(folder)]
    withdrawals = withdrawals_in(store)
    asked = _of_delivery(there, withdrawals, delivery) if delivery else []
    for file in files:
        asked.append(_key_of(there, file))
    if not asked:
        raise BadInput(
            "There is nothing to withdraw.",
            expected="--delivery NAME or --file KEY",
            received="neither",
            do="name what is to be withdrawn",
        )
    before = [key for key in dict.fromkeys(asked) if key in withdrawals.now]
    fresh = [key for key in dict.fromkeys(asked) if key not in withdrawals.now]
    if fresh:
        note_withdrawal(store, Withdrawal(by=by, keys=tuple(sorted(fresh)), reason=reason.strip()))
    return fresh, before


def replacement(by: Person, replaced: dict[str, str]) -> Withdrawal:
    """The withdrawal of files that others replace, by the keys of both.

    Raises:
        BadInput: Nobody is known to act.
    """
    reason = "replaced by a later delivery"
    _check_named(by, reason)
    keys = tuple(sorted(replaced))
    return Withdrawal(by=by, keys=keys, reason=reason, replaced_by=replaced)


def _check_named(by: Person, reason: str) -> None:
    if not by.name or not 0 < len(reason.strip()) <= LONGEST_REASON:
        raise BadInput(
            "A withdrawal needs a person and a reason.",
            expected="a user with a name, and --reason TEXT of at most "
            f"{LONGEST_REASON} characters",
            received=f"{by.in_words}, reason {reason[:60]!r}, {len(reason)} characters",
            do="give the reason, as a user who has a name",
        )


def name_of(key: str) -> str:
    """Name of the delivery of a key: the folder under ``raw/``; of an external set, its folder."""
    if key.startswith(EXTERNAL):
        return EXTERNAL + key.removeprefix(EXTERNAL).split("/")[0]
    return key.removeprefix(RAW).split("/")[0]


def set_of(key: str) -> str:
    """Name of the external set of a key; a later version of a file is of the same set."""
    return key.removeprefix(EXTERNAL).split("/")[0].split("@")[0]


def _of_delivery(there: list[str], withdrawals: Withdrawals, name: str) -> list[str]:
    """The files of a delivery, and those that replaced them since."""
    wanted = name.removeprefix(RAW).strip("/")
    own = [key for key in there if name_of(key) == wanted and key.count("/") > 1]
    if not own:
        names = sorted({name_of(key) for key in there if key.count("/") > 1})
        raise _unknown("delivery", wanted, names)
    known = set(there)
    return [key for each in own for key in withdrawals.versions(each) if key in known]


def _key_of(there: list[str], file: str) -> str:
    key = file if file.startswith(EXTERNAL) else RAW + file.removeprefix(RAW)
    if key not in there:
        ends = [each for each in there if each.endswith(f"/{file.rpartition('/')[2]}")]
        raise _unknown("file", file, ends or there)
    return key


def _unknown(what: str, name: str, names: list[str]) -> BadInput:
    close = get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
    return BadInput(
        f"There is no such {what} in the store.",
        expected=f"a {what} under {RAW}, such as {listed(close)}" if close else f"a {what}",
        received=name,
        do=f"correct the name of the {what}",
    )
