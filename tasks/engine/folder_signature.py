"""Sign and verify a folder with OpenSSF's model-signing, with the keys of `tasks.engine.signing`.

The signature lies inside the folder and covers all other files, by name and SHA-256. Anybody can
check it without this program::

    model_signing verify key FOLDER --signature FOLDER/NAME --public_key FILE

Signing with a key needs no network. The library takes a second to import, so nothing imports it
before a folder is signed or verified.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.engine.quiet import imports_muted
from tasks.engine.signing import Keys
from tasks.errors import BadInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

MOST_BYTES = 10_000_000  # of a signature; one of a bundle with a hundred files has 30,000


def sign_folder(folder: Path, name: str, keys: Keys) -> bytes:
    """The signature of a folder, to be written into the folder as the file `name`.

    Raises:
        BadInput: This process cannot sign, or the library is not installed.
    """
    from cryptography.hazmat.primitives import serialization as form

    keys.check_can_sign()
    assert keys.private
    with imports_muted():
        _check_installed()
        from model_signing import hashing, signing

    pem = keys.private.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    with tempfile.TemporaryDirectory() as private:  # nobody else can enter it
        key, signature = Path(private, "key.pem"), Path(private, "signature")
        key.write_bytes(pem)
        config = signing.Config().use_elliptic_key_signer(private_key=key)
        # A file that git would ignore is a file like any other here.
        ignored = hashing.Config().set_ignored_paths(paths=[name], ignore_git_paths=False)
        config.set_hashing_config(ignored).sign(folder, signature)
        return signature.read_bytes()


def why_not_signed(
    folder: Path, name: str, keys: Keys, besides: tuple[str, ...] = ()
) -> tuple[str, str]:
    """Verify the signature of a folder.

    Args:
        folder: The folder.
        name: The file in it that holds the signature.
        keys: Whose signatures are accepted.
        besides: Files that came later, which the signature does not cover.

    Returns:
        Why the signature does not hold, in words, empty if it holds; and the fingerprint of the key
        that made it, empty if it does not hold.

    Raises:
        BadInput: The library is not installed.
    """
    path = folder / name
    if not path.is_file():
        return "no signature", ""
    hint = _hint(path)
    found = [(own, key) for own, key in keys.public if hint == _as_hinted(key)]
    if not found:
        return f"a signature by another key ({hint[:64] or 'unnamed'})", ""
    (fingerprint, key), *_ = found
    with imports_muted():
        _check_installed()
        from model_signing import hashing, verifying

    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(_pem(key))
        file.flush()
        config = verifying.Config().use_elliptic_key_verifier(public_key=file.name)
        # What is left out is for us to say, not for the signature.
        ignored = hashing.Config().set_ignored_paths(paths=[name, *besides], ignore_git_paths=False)
        try:
            config.set_hashing_config(ignored).verify(folder, path)
        except Exception as error:  # whatever a forged file makes the library raise
            said = " ".join(str(error).split())[:300]
            return f"a signature that does not hold: {said or type(error).__name__}", ""
    return "", fingerprint


def _hint(path: Path) -> str:
    """What a signature says of the public key that verifies it; empty if it says nothing."""
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(MOST_BYTES))
        return str(said["verificationMaterial"]["publicKey"]["hint"])
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        return ""


def _pem(key: "ec.EllipticCurvePublicKey") -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    return key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)


def _as_hinted(key: "ec.EllipticCurvePublicKey") -> str:
    """How model-signing names a key: the SHA-256 of its PEM."""
    return hashlib.sha256(_pem(key)).hexdigest()


def _check_installed() -> None:
    try:
        import model_signing.signing
        import model_signing.verifying  # noqa: F401  # each may lack a library of its own
    except ImportError as error:
        raise BadInput(
            "A folder can neither be signed nor verified here.",
            expected="the library model-signing, of the extra `train`",
            received=str(error),
            do="install the extra, or use the image train",
        ) from error
