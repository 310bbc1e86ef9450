"""The ledger: an append-only chain of facts that must neither change nor be forgotten.

The ledger holds the ids that decided the side of each image at its first split, the models that
were judged on test images, and the labels that a person superseded. Its entries are
``ledger/chain/000001.json`` and on, each created once.

An entry holds the SHA-256 of the entry before it and a seal over itself, so any change shows.
Records and MLflow's versions hold the *head*, the number and hash of the last entry at their time.
A chain that does not reach or does not continue a recorded head is refused, so a chain that was cut
off at the end shows too.

With a key, each entry is signed too, see `tasks.engine.signing`. An entry is vouched for by its own
signature, or by a later entry of the kind `SIGNING`, by which a person vouches for all before.

A store of an earlier version of the program holds loose entries instead. They are adopted once: the
first entry of the chain holds their hashes and their facts.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from tasks.engine.run import Run
from tasks.engine.signing import CHAIN as KIND
from tasks.engine.signing import KEY, Keys, keys_here, not_signed
from tasks.engine.store import EVALUATIONS, SIDES, Store, read_many
from tasks.errors import AlreadyExists, BadInput, Corrupt
from tasks.records.record import Frozen, LedgerHead, sha256

Said = TypeVar("Said", bound=Frozen)

log = logging.getLogger(__name__)

FORMAT = "melanoma-retraining ledger, 1"
FOLDER = "ledger/chain/"
SIGNING = "signing"  # kind of an entry by which a person vouches for all entries before
RECORDING = ("split", "evaluate", "gate")  # the steps whose records carry the head


class Entry(Frozen):
    """One entry.

    Attributes:
        number: From 1.
        kind: Kind of fact: "adoption", "sides", "evaluation", "supersession", "signing".
        previous: SHA-256 of the bytes of the entry before; empty for the first.
        at: Time of writing, UTC, ISO 8601.
        run: Name of the run that wrote the entry; empty if no run did.
        content: The facts, by kind, see `tasks.splitting.sides` and `tasks.splitting.looks`.
        seal: SHA-256 over the rest of the entry, without the signature.
        signature: Over the entry with its seal; empty, and left out of the file, without a key.
    """

    format: str = FORMAT
    number: int = Field(ge=1)
    kind: str
    previous: str
    at: str
    run: str
    content: dict[str, Any]
    seal: str = ""
    signature: str = ""

    @property
    def data(self) -> bytes:
        """The bytes of the entry's file. The same entry always gives the same bytes."""
        silent = None if self.signature else {"signature"}
        content = self.model_dump(mode="json", exclude=silent)
        return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()

    @property
    def unsigned(self) -> bytes:
        """The bytes that the signature covers."""
        return self.model_copy(update={"signature": ""}).data

    def sealed(self) -> "Entry":
        bare = self.model_copy(update={"seal": "", "signature": ""})
        return self.model_copy(update={"seal": sha256(bare.data)})

    def signed(self, keys: Keys, folder: str) -> "Entry":
        return self.model_copy(update={"signature": keys.sign(KIND, folder, self.unsigned)})

    def why_not(self, keys: Keys, folder: str) -> str:
        """Why the signature does not hold for an entry of this folder; empty if it holds."""
        return keys.why_not(KIND, folder, self.unsigned, self.signature)

    @property
    def head(self) -> LedgerHead:
        return LedgerHead(number=self.number, sha256=sha256(self.data))


@dataclass(frozen=True)
class Chain:
    """The entries of a ledger, each checked against the entry before.

    Attributes:
        entries: The entries; the first has number 1.
        adopted: False if the only entry stands for loose entries and is not written yet.
        recorded: Number of the last entry that a record or MLflow vouches for; 0 without such an
            entry. Later entries come from a run that was killed, or from somebody without right.
    """

    entries: tuple[Entry, ...] = ()
    adopted: bool = True
    recorded: int = 0

    @property
    def head(self) -> LedgerHead | None:
        return self.entries[-1].head if self.entries and self.adopted else None

    def of(self, kind: str) -> Iterator[Entry]:
        return (entry for entry in self.entries if entry.kind == kind)

    def until(self, head: LedgerHead | None) -> "Chain":
        """The chain up to a head; the empty chain for None."""
        return Chain(self.entries[: head.number] if head else ())

    @property
    def unvouched(self) -> tuple[Entry, ...]:
        """The entries that no record vouches for."""
        return self.entries[self.recorded :]

    def holds(self, head: LedgerHead) -> bool:
        """Whether the head is an entry of the chain."""
        return head.number <= len(self.entries) and self.entries[head.number - 1].head == head


def chain_of(store: Store, also: Iterable[LedgerHead] = (), keys: Keys | None = None) -> Chain:
    """Read the ledger of a store, and check it against every recorded head.

    Args:
        store: The store.
        also: Heads that are recorded outside the store, as in MLflow.
        keys: Whose signatures are accepted; None for the keys of this process.

    Returns:
        The chain. A store with only loose entries gives a chain of one entry that stands for them;
        the first `append` writes this entry.

    Raises:
        Corrupt: An entry is missing or changed, or the chain does not continue a recorded head; or
            there is a key, and nobody vouches for an entry.
    """
    keys = keys or keys_here()
    chain = parse_chain(entry_files(store))
    check_signed(chain, keys, store)
    recorded = [*recorded_heads(store), *also]
    for head in sorted(recorded, key=lambda each: each.number):
        if not chain.holds(head):
            raise _broken(
                f"entry {head.number} with SHA-256 {head.sha256}, which a record or MLflow names",
                f"a chain of {len(chain.entries)} entries"
                + (
                    ", and another entry of this number"
                    if head.number <= len(chain.entries)
                    else ""
                ),
            )
    chain = replace(chain, recorded=max((head.number for head in recorded), default=0))
    loose = {entry.key for prefix in (SIDES, EVALUATIONS) for entry in store.list(prefix)}
    if not chain.entries:
        if loose and keys.on:
            raise not_signed("The ledger", "loose entries of an earlier version", store.uri)
        return Chain((_adoption(store, sorted(loose)),), adopted=False) if loose else chain
    known = {key for entry in chain.of("adoption") for key in entry.content["found"]}
    for key in sorted(loose - known):
        log.warning("%s is not part of the ledger's chain and is ignored.", key)
    return chain


def append(
    run: Run,
    kind: str,
    content: Callable[[Chain], dict[str, Any] | None],
    also: Iterable[LedgerHead] = (),
    keys: Keys | None = None,
) -> Chain:
    """Add one entry. If another process was faster, read its entry and try again.

    Args:
        run: Names the store; its name stands in the entry.
        kind: Kind of the entry.
        content: Makes the content of the entry from the current chain; None to add nothing.
        also, keys: As for `chain_of`.

    Returns:
        The chain with the entry.
    """
    while True:
        chain = chain_of(run.store, also, keys)
        said = content(chain)
        if said is None and chain.adopted:
            return chain
        try:
            if not chain.adopted:
                run.store.create(entry_key(1), chain.entries[0].data)
                log.info("The ledger of %s is a chain from now on.", run.store.uri)
                continue
            entry = next_entry(chain, kind, run.name, said or {})
            run.store.create(entry_key(entry.number), entry.data)
        except AlreadyExists:
            continue
        return replace(chain, entries=(*chain.entries, entry))


def check_signed(chain: Chain, keys: Keys, store: Store, folder: str = FOLDER) -> None:
    """Check that an accepted key vouches for each entry of a chain.

    Raises:
        Corrupt: There is a key, and nobody vouches for an entry.
    """
    if not keys.on:
        return
    for entry in reversed(chain.entries):
        if why := entry.why_not(keys, folder):
            name = f"The entry {entry_key(entry.number, folder)}"
            raise not_signed(name, why, store.uri)
        if entry.kind == SIGNING:
            return


def next_entry(
    chain: Chain, kind: str, run: str, content: dict[str, Any], folder: str = FOLDER
) -> Entry:
    """The entry that continues a chain, signed if there is a key.

    Raises:
        BadInput: The chain is signed, and this process cannot sign.
    """
    keys = keys_here()
    keys.check_can_sign()
    if not keys.on and any(entry.signature for entry in chain.entries):
        raise BadInput(
            "The ledger is signed, and what is added to it must be signed too.",
            expected=f"{KEY}, the file of the private key",
            received="no key",
            do=f"set {KEY} for every process that writes to this store",
        )
    return (
        Entry(
            number=len(chain.entries) + 1,
            kind=kind,
            previous=chain.entries[-1].head.sha256 if chain.entries else "",
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            run=run,
            content=content,
        )
        .sealed()
        .signed(keys, folder)
    )


def entry_key(number: int, folder: str = FOLDER) -> str:
    return f"{folder}{number:06d}.json"


def parse_chain(files: dict[str, bytes], folder: str = FOLDER) -> Chain:
    """The chain in these files of a folder, given by key.

    Raises:
        Corrupt: An entry is missing, unreadable or changed, or does not continue the one before.
    """
    wanted = [entry_key(number, folder) for number in range(1, len(files) + 1)]
    for key in sorted(files.keys() ^ set(wanted)):
        raise _broken("entries from 000001.json on, none missing", f"trouble at {key}")
    entries: list[Entry] = []
    for number, key in enumerate(wanted, start=1):
        entry = _entry(key, files[key])
        previous = entries[-1].head.sha256 if entries else ""
        if (entry.number, entry.previous) != (number, previous):
            raise _broken(f"{key} to continue the entry before it", "another history")
        entries.append(entry)
    return Chain(tuple(entries))


def _entry(key: str, data: bytes) -> Entry:
    try:
        entry = Entry.model_validate_json(data)
    except (ValidationError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise _broken(f"{key} as it was written", f"no entry of a ledger: {said}") from error
    if entry.data != data or entry.sealed() != entry:
        raise _broken(f"{key} as it was written", "changed bytes, which its seal does not bear")
    if entry.format != FORMAT:
        raise _broken(f"{key} of the format {FORMAT}", entry.format[:100])
    return entry


def fact_of(entry: Entry, kinds: Mapping[str, type[Said]], folder: str) -> Said:
    """What an entry of a chain says.

    Args:
        entry: The entry.
        kinds: The type of what each kind of entry says.
        folder: Folder of the chain, with a ``/`` at the end.

    Raises:
        Corrupt: The kind is not known, or the content is another.
    """
    try:
        return kinds[entry.kind].model_validate(entry.content)
    except (KeyError, ValidationError) as error:
        raise Corrupt(
            f"Entry {entry.number} of the ledger of {folder.split('/')[-2]} cannot be read.",
            expected=f"one of {', '.join(kinds)}",
            received=f"{entry.kind[:40]!r}: {' '.join(str(error).split())[:200]}",
            do="use the version of the program that wrote it, or restore the folder "
            f"{folder} from a backup",
        ) from error


def entry_files(store: Store, folder: str = FOLDER) -> dict[str, bytes]:
    """The files of a chain, by key."""
    keys = [entry.key for entry in store.list(folder)]
    return dict(zip(keys, read_many(store, keys), strict=True))


def recorded_heads(store: Store) -> list[LedgerHead]:
    """The heads that the records of a store's runs carry. Records of earlier versions have none."""
    keys = [
        entry.key
        for entry in store.list("runs/")
        if entry.key.count("/") == 3 and entry.key.endswith(_RECORDS)
    ]
    heads = []
    for data in read_many(store, keys):
        try:
            head = json.loads(data).get("ledger")
            heads += [LedgerHead.model_validate(head)] if head else []
        except (ValueError, AttributeError, RecursionError):
            continue  # not a record; a step that needs the record will report it
    return heads


_RECORDS = tuple(f"/{step}/record.json" for step in RECORDING)


def _broken(expected: str, received: str) -> Corrupt:
    return Corrupt(
        "The ledger is damaged, or was cut short or replaced.",
        expected=expected,
        received=received,
        do="restore the folder ledger/ of the store from a backup, whole: without it, images that "
        "earlier models learned from could come to judge the next one, and models that were judged "
        "on the test part are no longer counted",
    )


def _adoption(store: Store, keys: list[str]) -> Entry:
    """The first entry of a chain, with the facts of the first version's loose entries."""
    # Pandas and Arrow are for this one case, and Airflow's own image does not have them.
    from tasks.engine.loose import taken_over

    content = taken_over(store, dict(zip(keys, read_many(store, keys), strict=True)))
    return next_entry(Chain(), "adoption", "", content)


def outside_state(run: Run) -> str:
    """State that decides about reuse: the head of the ledger; empty without a ledger."""
    chain = chain_of(run.store)
    return chain.head.sha256 if chain.head else ""
