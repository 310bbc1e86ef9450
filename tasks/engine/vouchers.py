"""Vouchers: detached signatures for what was written before there was a key, or by an old key.

Records are never rewritten, so a record of that time gets its signature beside it, in
``ledger/vouchers/``, when a person vouches for it (``python -m tasks sign``).
"""

from contextlib import suppress

from tasks.engine.signing import VOUCHER, Keys
from tasks.engine.store import Store
from tasks.errors import NotFound
from tasks.records.record import sha256

FOLDER = "ledger/vouchers/"


def vouch(store: Store, keys: Keys, key: str, data: bytes) -> None:
    """Sign an object of the store beside itself."""
    digest = sha256(data)
    signature = keys.sign(VOUCHER, key, digest.encode()).encode()
    store.replace(_place(keys.fingerprint, digest), signature)


def vouched(store: Store, keys: Keys, key: str, data: bytes) -> bool:
    """Whether a key that is accepted here vouches for an object of the store."""
    digest = sha256(data)
    for fingerprint, _ in keys.public:
        with suppress(NotFound, UnicodeDecodeError):
            signature = store.read(_place(fingerprint, digest)).decode()
            if not keys.why_not(VOUCHER, key, digest.encode(), signature):
                return True
    return False


def _place(fingerprint: str, digest: str) -> str:
    return f"{FOLDER}{fingerprint[:16]}/{digest}.sig"
