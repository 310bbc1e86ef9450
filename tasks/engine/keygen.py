"""keygen: make a pair of keys to sign and to verify with, see `tasks.engine.signing`."""

import os
from pathlib import Path

from tasks.engine.signing import fingerprint_of
from tasks.errors import BadInput

PRIVATE_FILE, PUBLIC_FILE = "signing-key.pem", "public-key.pem"


def keygen(folder: Path, passphrase: bytes | None = None) -> tuple[Path, Path, str]:
    """Make a key on the curve P-256. Nothing that exists is overwritten.

    Args:
        folder: Gets the files; made if it does not exist.
        passphrase: Encrypts the private key; None to leave it plain.

    Returns:
        The private key, which only its owner can read; the public key; its fingerprint.

    Raises:
        BadInput: One of the files exists, or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    locked = form.BestAvailableEncryption(passphrase) if passphrase else form.NoEncryption()
    private, public = folder / PRIVATE_FILE, folder / PUBLIC_FILE
    pem = form.Encoding.PEM
    spki = form.PublicFormat.SubjectPublicKeyInfo
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if public.exists():
            raise FileExistsError(17, "File exists", str(public))
        _write(private, key.private_bytes(pem, form.PrivateFormat.PKCS8, locked), 0o600)
        _write(public, key.public_key().public_bytes(pem, spki), 0o644)
    except OSError as error:
        raise BadInput(
            "No key was made.",
            expected=f"a folder that can be written, without {PRIVATE_FILE} and {PUBLIC_FILE}",
            received=f"{error.filename}: {error.strerror}",
            do="name another folder; a key is never overwritten, because what it signed needs it",
        ) from error
    return private, public, fingerprint_of(key.public_key())


def _write(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
