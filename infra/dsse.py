"""Signatures in the forms that other programs verify: DSSE around a statement, and the payload that
cosign signs for an image.

The keys are those of `tasks.engine.signing`: an elliptic key that MELANOMA_SIGNING_KEY names. Both
forms hash with SHA-256 whatever the curve, as cosign does.
"""

import base64
import json
from binascii import Error as NotBase64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from tasks.engine.signing import Keys
from tasks.errors import Corrupt

PAYLOAD_TYPE = "application/vnd.in-toto+json"
HASH = ec.ECDSA(SHA256())


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
        read = json.loads(envelope)
        payload = base64.b64decode(read["payload"], validate=True)
        signed = [(str(each["keyid"]), _bytes(each["sig"])) for each in read["signatures"]]
        kind = read["payloadType"]
    except (ValueError, KeyError, TypeError, NotBase64) as error:
        raise _refused(what, "a DSSE envelope", f"{type(error).__name__}: {error}") from error
    if kind != PAYLOAD_TYPE:
        raise _refused(what, f"an envelope with {PAYLOAD_TYPE}", repr(kind))
    if not keys.on:
        return payload, ""
    for _, signature in signed:  # keyid is a hint that nobody signs
        for fingerprint, key in keys.public:
            if holds(key, signature, pre_authentication(payload)):
                return payload, fingerprint
    raise _refused(what, "a signature by a key that is accepted here", f"{len(signed)} by others")


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
            "type": "cosign container image signature",
        },
        "optional": {"provenance_sha256": statement_sha256},
    }
    return json.dumps(payload, separators=(",", ":")).encode()


def signature_of(payload: bytes, keys: Keys) -> bytes:
    """A signature over a payload, in Base64, as ``cosign attach signature`` takes it."""
    assert keys.private
    return _text(keys.private.sign(payload, HASH)).encode()


def check_image_signature(payload: bytes, signature: bytes, keys: Keys, what: str) -> None:
    """Check a signature of `signature_of`. Raises `Corrupt` if no given key made it."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except NotBase64 as error:
        raise _refused(what, "a signature in Base64", str(error)) from error
    if not any(holds(key, raw, payload) for _, key in keys.public):
        raise _refused(what, "a signature by a key that is accepted here", "one by another key")


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
    return base64.b64decode(text, validate=True)


def _refused(what: str, expected: str, received: str) -> Corrupt:
    return Corrupt(
        f"{what} does not hold.",
        expected=expected,
        received=received,
        do="do not run the image; find out who wrote the file",
    )
