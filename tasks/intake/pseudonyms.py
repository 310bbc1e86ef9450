"""Names for patients that only who holds the store's key can match with the clinic's own.

A DICOM names its patient. Neither the patient's number nor any other text that tells who the
patient is leaves `tasks.intake.dicom`: a keyed hash (HMAC-SHA256, RFC 2104) stands for it, with a
random key that a store creates once. The same patient has the same name in every delivery to a
store, and another in every other store. Without the key, nobody can try all numbers of a clinic.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

from tasks.engine.store import Store
from tasks.errors import AlreadyExists, Corrupt, NotFound
from tasks.intake.cells import spelling

KEY = "private/patients.key"  # the key of a store, which nothing else in the store repeats
KEY_BYTES = 32
DIGITS = 20  # of 64 hexadecimal digits: by chance, no two of a billion patients share them
MARK_DIGITS = 16
PREFIX = "dicom-"


class Pseudonyms:
    """Keyed hashes.

    Args:
        load: Gives the key. It is called when the first name is asked for, and never before: a
            store without DICOMs needs no key.
    """

    def __init__(self, load: Callable[[], bytes]) -> None:
        self._load = load

    @cached_property
    def _key(self) -> bytes:
        return self._load()

    def of(self, kind: str, *parts: str, prefix: str = PREFIX) -> str:
        """The name of a thing: a prefix and hexadecimal digits.

        Args:
            kind: What the parts name. Equal parts of two kinds have two names.
            parts: The texts that name the thing. Spellings of one id have one name.
            prefix: What stands before the digits.
        """
        said = "\0".join((kind, *(f"{len(part)}:{part}" for part in map(spelling, parts))))
        digest = hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()
        return prefix + digest[:DIGITS]

    def person(self, name: str) -> str:
        """The name of a patient whom a table calls by name, in whatever order."""
        words = [] if re.search(r"\d", name) else sorted(re.findall(r"\w+", name.casefold()))
        return self.of("person", " ".join(words) or name, prefix="person-")

    def mark(self, word: str) -> str:
        """Hexadecimal digits by which a word of a tag is found again in another text."""
        return hmac.digest(self._key, b"mark\0" + word.encode(), "sha256").hex()[:MARK_DIGITS]


def of_store(store: Store) -> Pseudonyms:
    """The names that a store gives. The store creates its key when it first needs one."""
    return Pseudonyms(lambda: _key_of(store))


def for_now() -> Pseudonyms:
    """Names with a key that is forgotten with the process: to count patients, and no more."""
    return Pseudonyms(lambda: secrets.token_bytes(KEY_BYTES))


def _key_of(store: Store) -> bytes:
    with suppress(NotFound):
        return _parsed(store.read(KEY))
    with suppress(AlreadyExists):  # another machine was faster, and its key counts
        store.create(KEY, secrets.token_bytes(KEY_BYTES).hex().encode())
    return _parsed(store.read(KEY))


def _parsed(data: bytes) -> bytes:
    try:
        key = bytes.fromhex(data.decode())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Corrupt(
            "The key of the patients' names is damaged.",
            expected=f"{2 * KEY_BYTES} hexadecimal digits in {KEY}",
            received=f"{len(data)} bytes that are not such a key",
            do=f"restore {KEY} from a backup: with another key, known patients would count as new",
        )
    return key
