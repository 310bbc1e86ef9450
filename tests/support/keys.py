"""Keys that tests sign and verify with."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.engine.keygen import keygen
from tasks.engine.signing import KEY, PASSPHRASE, PUBLIC


@dataclass(frozen=True)
class Pair:
    """A pair of keys in files.

    Attributes:
        private: The private key.
        public: The public key.
        fingerprint: SHA-256 of the public key.
    """

    private: Path
    public: Path
    fingerprint: str


def pair_in(folder: Path) -> Pair:
    """A new pair of keys."""
    return Pair(*keygen(folder))


def use(patch: pytest.MonkeyPatch, private: Path | None = None, public: Path | None = None) -> None:
    """Let this process have these keys and no others."""
    for name, path in ((KEY, private), (PUBLIC, public), (PASSPHRASE, None)):
        if path:
            patch.setenv(name, str(path))
        else:
            patch.delenv(name, raising=False)
