"""A person's word for all entries of a chain beside the ledger that no key signed.

A store that got its key late holds entries without a signature. With a key, such a chain is not
read any more, until a person vouches for these entries: ``python -m tasks sign``.
"""

from pydantic import Field

from tasks.engine.ledger import SIGNING, entry_files, entry_key, next_entry, parse_chain
from tasks.engine.person import Person
from tasks.engine.signing import keys_here, not_signed
from tasks.engine.store import Store
from tasks.errors import AlreadyExists
from tasks.records.record import Frozen

# The chains of which each entry must be vouched for, beside the ledger and that of promotions.
FOLDERS = ("ledger/erasures/", "ledger/feedback/")


class Signed(Frozen):
    """A person's word for all entries before."""

    by: Person = Field(description="Who vouches.")
    reason: str = Field(description="Why, in the person's words.")


def unvouched(store: Store, folder: str) -> int:
    """How many entries of a chain no key signed, and nobody vouched for.

    Args:
        store: The store.
        folder: Folder of the chain, with a ``/`` at the end.

    Raises:
        Corrupt: An entry is damaged, or carries a signature that no accepted key made.
    """
    chain, keys = parse_chain(entry_files(store, folder), folder), keys_here()
    count = 0
    for entry in reversed(chain.entries):
        if entry.signature and (why := entry.why_not(keys, folder)):
            raise not_signed(f"The entry {entry_key(entry.number, folder)}", why, store.uri)
        if entry.signature and entry.kind == SIGNING:
            break
        count += not entry.signature
    return count


def vouch_for(store: Store, folder: str, signed: Signed) -> None:
    """Enter a person's word into a chain.

    Raises:
        BadInput: This process has no key to sign with.
    """
    while True:
        chain = parse_chain(entry_files(store, folder), folder)
        entry = next_entry(chain, SIGNING, "", signed.model_dump(mode="json"), folder)
        try:
            store.create(entry_key(entry.number, folder), entry.data)
        except AlreadyExists:
            continue
        return
