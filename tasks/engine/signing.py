"""Sign and verify with an elliptic key what the store holds: records, entries of ledgers, notes.

Hashes show whether something was changed; whoever can write the store can compute them anew. A
signature needs the private key, which the store does not hold. The key is a PEM file (P-256, P-384
or P-521), named by the environment variable `KEY`. Who only verifies names the public keys by
`PUBLIC`, a file with one or more PEM blocks; old public keys stay there after a new key was made.
Without any key nothing is signed, and nothing is refused for its signature.

A signature covers the kind and the place of what is signed, so a signed object that was moved to
another place does not verify. It reads ``FINGERPRINT:HEX``: the SHA-256 of the public key (DER, as
``openssl pkey -pubout -outform DER`` writes it), and an ECDSA signature (FIPS 186-5) in DER, with
the hash that model-signing uses for the curve.
"""

import os
import re
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import BadInput, Corrupt
from tasks.records.record import sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

# Environment variables, each with the path of a file.
KEY = "MELANOMA_SIGNING_KEY"
PASSPHRASE = "MELANOMA_SIGNING_PASSPHRASE_FILE"
PUBLIC = "MELANOMA_PUBLIC_KEY"

UNSIGNED = "unsigned: whoever can write the store can forge this"
NOT_CHECKED = (
    f"signed, but nobody checked by which key: no {PUBLIC} is named here. "
    "Whoever can write the store can forge this"
)
# Kinds of what is signed, for the first line of the signed bytes.
RECORD, CHAIN, NOTE, VOUCHER = "record", "chain", "note", "voucher"

SECRETS = Path("/run/secrets")  # where engines of containers mount secrets, readable for all there
CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
SIGNATURE = re.compile(r"([0-9a-f]{64}):((?:[0-9a-f]{2}){8,160})")
MOST_BYTES = 100_000  # of a file with keys
PUBLIC_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


@dataclass(frozen=True)
class Keys:
    """The keys of this process.

    Attributes:
        private: What signs; None where this process only verifies, or has no key.
        public: Whose signatures are accepted, by fingerprint. Empty: nothing is checked.
    """

    private: "ec.EllipticCurvePrivateKey | None" = None
    public: tuple[tuple[str, "ec.EllipticCurvePublicKey"], ...] = ()

    @property
    def on(self) -> bool:
        """Whether what is unsigned or wrongly signed is refused."""
        return bool(self.public)

    @property
    def fingerprint(self) -> str:
        """Of the key that signs; empty without one."""
        return fingerprint_of(self.private.public_key()) if self.private else ""

    def sign(self, kind: str, place: str, data: bytes) -> str:
        """A signature; empty without any key.

        Args:
            kind: Kind of what is signed.
            place: Where it belongs, such as its key in the store.
            data: Its bytes, without the signature.

        Raises:
            BadInput: This process can only verify.
        """
        if not self.on:
            return ""
        self.check_can_sign()
        assert self.private
        signed = self.private.sign(_framed(kind, place, data), _algorithm(self.private.curve.name))
        return f"{self.fingerprint}:{signed.hex()}"

    def check_can_sign(self) -> None:
        """Raise `BadInput` if signatures are asked for and the key to make them is not here."""
        if self.on and not self.private:
            raise BadInput(
                "What is written must be signed, and this process cannot sign.",
                expected=f"{KEY}, the file of the private key",
                received=f"{PUBLIC} only, which is enough to verify",
                do=f"set {KEY}; or, to only read, use a command that writes nothing",
            )

    def why_not(self, kind: str, place: str, data: bytes, signature: str) -> str:
        """Why a signature does not hold, in words; empty if it holds."""
        from cryptography.exceptions import InvalidSignature

        if not signature:
            return "no signature"
        found = SIGNATURE.fullmatch(signature)
        if not found:
            return "something that is no signature"
        key = dict(self.public).get(found[1])
        if key is None:
            return f"a signature by another key, SHA-256 {found[1]}"
        try:
            framed = _framed(kind, place, data)
            key.verify(bytes.fromhex(found[2]), framed, _algorithm(key.curve.name))
        except InvalidSignature:
            return "a signature that is not of these bytes at this place"
        return ""


NONE = Keys()


def signed_by(signature: str) -> str:
    """The fingerprint that a signature names."""
    return signature.partition(":")[0]


def _framed(kind: str, place: str, data: bytes) -> bytes:
    return f"melanoma-retraining {kind}, 1\n{place}\n".encode() + data


def _algorithm(curve: str) -> "ec.ECDSA":
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(getattr(hashes, CURVES[curve])())


def fingerprint_of(key: "ec.EllipticCurvePublicKey") -> str:
    """SHA-256, hex, of a public key in DER."""
    from cryptography.hazmat.primitives import serialization as form

    return sha256(key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo))


# Signatures inside of a file ----------------------------------------------------------------------

SPOT = "signature of this very file"  # stands where the signature goes, while the file is signed


def with_signature(keys: Keys, kind: str, place: str, data: bytes) -> bytes:
    """Put a signature over all other bytes of a file at its `SPOT`.

    The file must hold `SPOT` once, as a value in JSON.
    """
    head, spot, tail = data.partition(SPOT.encode())
    assert spot
    assert SPOT.encode() not in tail
    return head + keys.sign(kind, place, head + tail).encode() + tail


def without_signature(data: bytes, signature: str) -> bytes:
    """The bytes of a file that its signature covers. What holds the signature's text twice, which
    `with_signature` never writes, comes back whole, and does not verify."""
    parts = data.split(signature.encode()) if signature else [data]
    return b"".join(parts) if len(parts) == 2 else data


# Keys of this process -----------------------------------------------------------------------------


def keys_here() -> Keys:
    """The keys that the environment names.

    Raises:
        BadInput: A file is missing or unreadable, holds no key of a known kind, or others than its
            owner can read the private key.
    """
    named = tuple(os.environ.get(name, "") for name in (KEY, PASSPHRASE, PUBLIC))
    if not any(named):
        return NONE
    return _keys(*named, _state_of(named))


def keys_of(public: Path) -> Keys:
    """The keys of a file, to verify with. Raises `BadInput` as `keys_here`."""
    return Keys(public=_public_keys("--public-key", public))


def _state_of(paths: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Time and size of each file, by which a file that was changed is read again."""
    found = [Path(path) for path in paths if path]
    there = [path.stat() for path in found if path.exists()]
    return tuple((each.st_mtime_ns, each.st_size) for each in there)


@lru_cache(maxsize=8)
def _keys(key: str, passphrase: str, public: str, _state: object) -> Keys:
    accepted = _public_keys(PUBLIC, Path(public)) if public else ()
    if not key:
        return Keys(public=accepted)
    private = _private_key(Path(key), Path(passphrase) if passphrase else None)
    own = private.public_key()
    return Keys(private, tuple({fingerprint_of(own): own, **dict(accepted)}.items()))


def _private_key(path: Path, passphrase: Path | None) -> "ec.EllipticCurvePrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(KEY, path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o007 and SECRETS not in path.absolute().parents:
        raise _refused(
            KEY,
            path,
            "a file that not every user of the machine can read",
            f"mode {mode:04o}",
            f"chmod 600 {path}; if others may have read the file, make another key",
        )
    secret = _read(PASSPHRASE, passphrase).strip() if passphrase else None
    expected = f"PEM of an elliptic key (P-256, P-384 or P-521); its passphrase in {PASSPHRASE}"
    try:
        found = load_pem_private_key(data, secret)
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
    ) as error:  # only its kind is told: its text may repeat bytes of the file
        raise _refused(KEY, path, expected, type(error).__name__) from None
    if not isinstance(found, ec.EllipticCurvePrivateKey) or found.curve.name not in CURVES:
        raise _refused(KEY, path, expected, f"a key of another kind, {type(found).__name__}")
    return found


def _public_keys(name: str, path: Path) -> "tuple[tuple[str, ec.EllipticCurvePublicKey], ...]":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    blocks = PUBLIC_BLOCK.findall(_read(name, path))
    expected = "one or more PEM blocks PUBLIC KEY, each an elliptic key (P-256, P-384 or P-521)"
    found = []
    for block in blocks:
        try:
            key = load_pem_public_key(block + b"\n")
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _refused(name, path, expected, type(error).__name__) from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
            raise _refused(name, path, expected, f"a key of another kind, {type(key).__name__}")
        found.append((fingerprint_of(key), key))
    if not found:
        raise _refused(name, path, expected, "no such block")
    return tuple(found)


def _read(name: str, path: Path) -> bytes:
    expected = "a file with a key" if name != PASSPHRASE else "a file with a passphrase"
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _refused(name, path, expected, error.strerror or type(error).__name__) from error
    if len(data) > MOST_BYTES:
        raise _refused(name, path, expected, f"more than {MOST_BYTES} bytes")
    return data


def _refused(name: str, path: Path, expected: str, received: str, do: str = "") -> BadInput:
    return BadInput(
        f"The key that {name} names cannot be used.",
        expected=f"{path}: {expected}",
        received=received,
        do=do or f"correct {name}; `python -m tasks keygen --output FOLDER` makes a pair of keys",
    )


# What to raise -----------------------------------------------------------------------------------


def not_signed(what: str, why: str, store: str) -> Corrupt:
    """The error for something that no accepted key signed.

    Args:
        what: What is not signed, as the beginning of a sentence.
        why: What was found instead, see `Keys.why_not`.
        store: Address of the store.
    """
    return Corrupt(
        f"{what} is not signed by a key that is accepted here.",
        expected=f"a signature by the key of {KEY} or one of {PUBLIC}",
        received=why,
        do="find out who wrote it. If it is from before there was a key, or of an old one, and you "
        f"vouch for all that the store holds: `python -m tasks sign --store {store} --reason TEXT`",
    )
