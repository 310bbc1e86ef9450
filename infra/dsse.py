"""Signatures in the forms that other programs verify: DSSE around a statement, and the payload that
cosign signs for an image.

The keys are those of `tasks.engine.signing`: an elliptic key that MELANOMA_SIGNING_KEY names. Both
forms hash with SHA-256 whatever the curve, as cosign does.
"""

import base64
import json
from binascii import Error as NotBase64
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import BaseModel, Field, ValidationError

from tasks.engine.signing import Keys
from tasks.errors import Corrupt

PAYLOAD_TYPE = "application/vnd.in-toto+json"
HASH = ec.ECDSA(SHA256())
COSIGN = "cosign container image signature"


class Signature(BaseModel):
    """A signature of a DSSE envelope. Its keyid is a hint that nobody signs, and may be missing."""

    keyid: str | None = None
    sig: str


class Envelope(BaseModel):
    """A DSSE envelope; what else it holds is ignored, as the protocol says."""

    payload: str
    payloadType: str  # noqa: N815 - the form's own
    signatures: tuple[Signature, ...]


class Identity(BaseModel):
    """Part of cosign's payload."""

    reference: str = Field(alias="docker-reference")


class Manifest(BaseModel):
    """Part of cosign's payload."""

    digest: str = Field(alias="docker-manifest-digest")


class Critical(BaseModel):
    """Part of cosign's payload."""

    identity: Identity
    image: Manifest
    type: Literal["cosign container image signature"]


class Added(BaseModel):
    """Part of cosign's payload: what `image_payload` adds."""

    provenance_sha256: str


class ImagePayload(BaseModel):
    """What cosign signs for an image, as far as it is read here."""

    critical: Critical
    optional: Added


def pre_authentication(payload: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
    """The bytes that DSSE signs: the type and the payload, each with its length in bytes."""
    named = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(named), named, len(payload), payload)


def enveloped(payload: bytes, keys: Keys) -> bytes:
    """A DSSE envelope around a statement; without a private key, without any signature."""
    signatures = []
    if keys.private:
        signature = keys.private.sign(pre_authentication(payload), HASH)
        signatures.append({"keyid": keys.fingerprint, "sig": _text(signature)})
    envelope = {"payloadType": PAYLOAD_TYPE, "payload": _text(payload), "signatures": signatures}
    return json.dumps(envelope, indent=1).encode() + b"\n"


def opened(envelope: bytes, keys: Keys, what: str) -> tuple[bytes, str]:
    """The statement of an envelope, and the fingerprint of the key that signed it; empty where no
    key was given to verify with.

    Args:
        envelope: DSSE, as JSON.
        keys: Keys to verify with; without any, nothing is checked.
        what: What it is, for messages.

    Raises:
        Corrupt: It is no envelope of a statement, or no given key signed it.
    """
    try:
        read = Envelope.model_validate_json(envelope)
        payload = _bytes(read.payload)
        signed = [_bytes(each.sig) for each in read.signatures]
    except (ValidationError, ValueError) as error:
        raise refused(what, "a DSSE envelope", f"{type(error).__name__}: {error}") from error
    if read.payloadType != PAYLOAD_TYPE:
        raise refused(what, f"an envelope with {PAYLOAD_TYPE}", repr(read.payloadType))
    if not keys.on:
        return payload, ""
    for signature in signed:  # by whatever key: a keyid is only a hint
        for fingerprint, key in keys.public:
            if holds(key, signature, pre_authentication(payload)):
                return payload, fingerprint
    raise refused(what, "a signature by a key that is accepted here", f"{len(signed)} by others")


def image_payload(reference: str, digest: str, statement_sha256: str) -> bytes:
    """What cosign signs for an image in a registry ("simple signing").

    Args:
        reference: Name of the image, without a digest.
        digest: Digest of its manifest, ``sha256:...``.
        statement_sha256: SHA-256 of the statement about it.
    """
    payload = {
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": COSIGN,
        },
        "optional": {"provenance_sha256": statement_sha256},
    }
    return json.dumps(payload, separators=(",", ":")).encode()


def image_signed(payload: bytes, what: str) -> tuple[str, str]:
    """What a payload of `image_payload` is about: ``NAME@DIGEST``, and the statement's SHA-256.

    Raises:
        Corrupt: It has another form. Whoever signs may have signed something else.
    """
    try:
        read = ImagePayload.model_validate_json(payload)
    except ValidationError as error:
        raise refused(what, "cosign's payload with a provenance_sha256", str(error)) from error
    reference = f"{read.critical.identity.reference}@{read.critical.image.digest}"
    return reference, read.optional.provenance_sha256


def signature_of(payload: bytes, keys: Keys) -> bytes:
    """A signature over a payload, in Base64, as ``cosign attach signature`` takes it."""
    assert keys.private
    return _text(keys.private.sign(payload, HASH)).encode()


def check_image_signature(payload: bytes, signature: bytes, keys: Keys, what: str) -> None:
    """Check a signature of `signature_of`. Raises `Corrupt` if no given key made it."""
    try:
        raw = base64.b64decode(signature.strip(), validate=True)  # an editor adds a line's end
    except NotBase64 as error:
        raise refused(what, "a signature in Base64", str(error)) from error
    if not any(holds(key, raw, payload) for _, key in keys.public):
        raise refused(what, "a signature by a key that is accepted here", "one by another key")


def holds(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    """Whether a signature is of these bytes and this key."""
    try:
        key.verify(signature, signed, HASH)
    except InvalidSignature:
        return False
    return True


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """Base64 of either alphabet, as DSSE allows."""
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)


def refused(what: str, expected: str, received: str) -> Corrupt:
    """The error for a signature, or what is signed, that does not hold."""
    return Corrupt(
        f"{what} does not hold.",
        expected=expected,
        received=received,
        do="do not run the image; find out who wrote the file",
    )
