"""The signatures of an image in registries, as ``cosign attach signature`` takes them.

Of the first registry they lie in ``image.payload.json`` and ``image.sig``, of the second in
``image-2.payload.json`` and ``image-2.sig``, and so on.
"""

import re
from pathlib import Path

from infra import dsse
from infra.image import Image, in_registry, read, write
from tasks.engine.signing import Keys

PAYLOAD, SIGNATURE = "image.payload.json", "image.sig"
FILES = re.compile(r"image(?:-(\d{1,4}))?\.(?:payload\.json|sig)")


def forget(folder: Path) -> None:
    """Delete the signatures in a folder."""
    for pair in _pairs(folder):
        for path in pair:
            path.unlink(missing_ok=True)


def sign(image: Image, folder: Path, keys: Keys, statement: str) -> None:
    """Write a signature for each registry that holds an image.

    Args:
        image: The image.
        folder: Where the files go.
        keys: With a private key.
        statement: SHA-256 of the statement about the image.
    """
    for number, pushed in enumerate(image.pushed, start=1):
        reference, kind, digest = in_registry(pushed)
        signed = dsse.image_payload(reference, f"{kind}:{digest}", statement)
        to_payload, to_signature = _pair(folder, number)
        write(to_payload, signed)
        write(to_signature, dsse.signature_of(signed, keys))


def verified(image: Image, folder: Path, keys: Keys, statement: str) -> list[str]:
    """Check the signatures in a folder; arguments as those of `sign`.

    Returns:
        For each registry from which the engine has the image, in words, whether it is signed.

    Raises:
        BadInput: Of a pair of files one is missing.
        Corrupt: A signature does not hold, or none is of this image.
    """
    pairs = _pairs(folder)
    if not pairs or not keys.on:
        return ["No signature of the image in a registry was checked."]
    signed = [_signed(image, pair, keys, statement) for pair in pairs]
    if not set(signed) & set(image.pushed):
        raise dsse.refused(
            f"The signature of the image {image.name}",
            f"one of {' or '.join(image.pushed) or 'an image that was pushed or pulled here'}",
            f"of another image, {', '.join(signed)}",
        )
    return [f"{it} is {'' if it in signed else 'NOT '}signed." for it in image.pushed]


def _signed(image: Image, pair: tuple[Path, Path], keys: Keys, statement: str) -> str:
    """What a signature is of, ``NAME@sha256:...``."""
    payload, what = read(pair[0]), f"The signature {pair[1].name} of the image {image.name}"
    dsse.check_image_signature(payload, read(pair[1]), keys, what)
    reference, provenance = dsse.image_signed(payload, what)
    if provenance != statement:
        raise dsse.refused(what, f"the provenance {statement}", f"another, {provenance}")
    return reference


def _pair(folder: Path, number: int) -> tuple[Path, Path]:
    """The files with payload and signature of the image in the first, second, ... registry."""
    if number == 1:
        return folder / PAYLOAD, folder / SIGNATURE
    return folder / f"image-{number}.payload.json", folder / f"image-{number}.sig"


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """All such files; of a pair one may be missing."""
    found = (FILES.fullmatch(each.name) for each in folder.glob("image*"))
    return [_pair(folder, n) for n in sorted({int(each[1] or 1) for each in found if each})]
