"""Parts: how files are dealt out, so that several machines can share the work of one step.

A file's place follows from its key alone: whatever else is delivered, before or after, a file stays
in its bucket, and a bucket in its part.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

# What is packed together never crosses a bucket, so that the packs do not depend on the number of
# parts. Each delivery makes at least one pack for each bucket that it reaches: 16 is as many
# machines as the work may need, and not many times more packs than needed.
BUCKETS = 16


def bucket_of(key: str) -> int:
    """The bucket of a file, 0 to `BUCKETS` - 1, from the SHA-256 of its key."""
    return sha256(key.encode()).digest()[0] % BUCKETS


@dataclass(frozen=True)
class Part:
    """One of several parts of about equal size.

    Attributes:
        number: 1 to `of`.
        of: How many there are, 1 to `BUCKETS`.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The part with this name, as ``str()`` gives it; None if there is none."""
        found = re.fullmatch(r"([1-9]\d?)-of-([1-9]\d?)", name)
        if not found:
            return None
        number, of = int(found[1]), int(found[2])
        return cls(number, of) if number <= of <= BUCKETS else None

    @property
    def buckets(self) -> range:
        """The buckets of this part. Those of all parts are all buckets, each once."""
        return range(self.number - 1, BUCKETS, self.of)

    def holds(self, key: str) -> bool:
        """Whether a file belongs to this part."""
        return bucket_of(key) in self.buckets
