"""The signature of a bundle of evidence: the file `SIGNATURE` in its folder, by model-signing.

Bundles of earlier versions of the program, and of runs without a key, have none. Where there is a
key they are refused, until a person vouches for them, see `tasks.release.sign`.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.engine.directory import DirectoryStore
from tasks.engine.folder_signature import sign_folder, why_not_signed
from tasks.engine.run import Run
from tasks.engine.signing import KEY, NOT_CHECKED, PUBLIC, UNSIGNED, keys_here
from tasks.errors import BadInput, Corrupt
from tasks.records.record import sha256
from tasks.release.evidence import FOLDER, FORMAT, SIGNATURE, Bundle, File, Manifest, gathered

log = logging.getLogger(__name__)


def sign_evidence(run: Run) -> None:
    """Sign the bundle of a run, if there is a key and it is not signed yet.

    A bundle that an earlier attempt wrote, and did not sign before it was killed, must be the one
    that this run writes: whoever can write the store may have put another there.

    Raises:
        Corrupt: The bundle is not the one that the run's records give.
        BadInput: This process cannot sign.
    """
    keys = keys_here()
    bundle = Bundle(f"{run.uri}/{FOLDER}")
    if not keys.on or SIGNATURE in bundle.paths():
        return
    keys.check_can_sign()
    files = {path: File(sha256=sha256(data), size_bytes=len(data)) for path, data in gathered(run)}
    ours = Manifest(format=FORMAT, run=run.name, files=files).sealed()
    if ours.data != bundle.manifest_data:
        raise Corrupt(
            "The evidence is not what the run's records give, so it is not signed.",
            expected=f"a manifest with SHA-256 {sha256(ours.data)}",
            received=sha256(bundle.manifest_data),
            do=f"find out who wrote {bundle.uri}, or whether the program was changed after the "
            "run; then remove this folder and register again",
        )
    sign_bundle(bundle)


def sign_bundle(bundle: Bundle) -> None:
    """Sign a bundle as it is. A signature that stands is replaced."""
    with _as_folder(bundle) as folder:
        data = sign_folder(folder, SIGNATURE, bundle.keys)
    bundle.store.replace(SIGNATURE, data)
    log.info("Signed by the key SHA-256 %s: %s.", bundle.keys.fingerprint, bundle.uri)


def why_not(bundle: Bundle) -> tuple[str, str]:
    """As `tasks.engine.folder_signature.why_not_signed`."""
    if SIGNATURE not in bundle.paths():
        return "no signature", ""
    with _as_folder(bundle) as folder:
        return why_not_signed(folder, SIGNATURE, bundle.keys)


def signature_in_words(bundle: Bundle) -> str:
    """Who signed a bundle, for a page: also where nobody did, or nobody may have."""
    if SIGNATURE not in bundle.paths():
        return f"The evidence is {UNSIGNED}."
    if not bundle.keys.on:
        return f"The evidence is {NOT_CHECKED}."
    try:
        why, fingerprint = why_not(bundle)
    except BadInput as error:
        why, fingerprint = str(error), ""
    if fingerprint:
        return f"The evidence is signed by the key SHA-256 {fingerprint}."
    return f"The evidence is not signed by a key that is accepted here: {why}."


def the_signature_holds(bundle: Bundle) -> str:
    """A check of `tasks.release.verify`: with a key, an accepted key must have signed the bundle.

    Raises:
        Corrupt: None did.
    """
    if not bundle.keys.on:
        there = SIGNATURE in bundle.paths()
        return NOT_CHECKED if there else UNSIGNED
    why, fingerprint = why_not(bundle)
    if why:
        raise Corrupt(
            "The evidence does not hold: it is not signed by a key that is accepted here.",
            expected=f"{SIGNATURE}, made with the key of {KEY} or one of {PUBLIC}",
            received=why,
            do="do not rely on this bundle; find out who changed it. If it is from before there "
            "was a key: `python -m tasks sign --store STORE --reason TEXT` vouches for a store",
        )
    return f"signed by the key SHA-256 {fingerprint}"


@contextmanager
def _as_folder(bundle: Bundle) -> Iterator[Path]:
    """The bundle as a folder of this machine: its own, or a copy.

    Raises:
        Corrupt: A name leads out of the folder.
    """
    if isinstance(bundle.store, DirectoryStore):
        yield bundle.store.root
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        for path in sorted(bundle.paths()):
            place = (folder / path).resolve()
            if not place.is_relative_to(folder):
                raise Corrupt(
                    "The evidence does not hold: a name leads out of its folder.",
                    expected="names of files inside the bundle",
                    received=repr(path),
                    do="do not rely on this bundle; find out who changed it",
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(bundle.store.read(path))
        yield folder
