"""Divide files into parts, so that several machines can share the work of one step.

The key of a file alone decides its bucket, and the bucket its part. So a file stays in its bucket,
whatever else is delivered.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

# Files of different buckets are never packed together, so packs do not depend on the number of
# parts. Each delivery makes at least one pack for each bucket that it reaches. 16 allows enough
# machines without too many packs.
BUCKETS = 16


def bucket_of(key: str) -> int:
    """The bucket of a file, 0 to `BUCKETS` - 1, from the SHA-256 of its key."""
    return sha256(key.encode()).digest()[0] % BUCKETS


@dataclass(frozen=True)
class Part:
    """One of several parts of about equal size.

    Attributes:
        number: 1 to `of`.
        of: Number of parts, 1 to `BUCKETS`.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The part with this name, in the form of ``str()``; None for any other text."""
        found = re.fullmatch(r"([1-9]\d?)-of-([1-9]\d?)", name)
        if not found:
            return None
        number, of = int(found[1]), int(found[2])
        return cls(number, of) if number <= of <= BUCKETS else None

    @property
    def buckets(self) -> range:
        """The buckets of this part. Each bucket belongs to exactly one part."""
        return range(self.number - 1, BUCKETS, self.of)

    def holds(self, key: str) -> bool:
        """Whether a file belongs to this part."""
        return bucket_of(key) in self.buckets
