"""sign: vouch, in a person's name, for all that a store holds and that this key did not sign yet.

A store from before there was a key is signed so, once; and a store whose key was replaced, before
the old public key is no longer accepted. Ledgers, records and bundles are verified first, by their
hashes and by what MLflow holds of them. What carries a signature that no accepted key made is
refused: it is not old, it is forged.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tasks.config import Retraining
from tasks.engine.ledger import FOLDER as CHAIN
from tasks.engine.ledger import SIGNING, Chain, append, chain_of
from tasks.engine.person import Person
from tasks.engine.run import Run, record_key
from tasks.engine.signed_chains import FOLDERS, Signed, unvouched, vouch_for
from tasks.engine.signing import (
    KEY,
    NONE,
    NOTE,
    PUBLIC,
    RECORD,
    Keys,
    keys_here,
    signed_by,
    without_signature,
)
from tasks.engine.store import Store, read_many
from tasks.engine.vouchers import vouch, vouched
from tasks.errors import BadInput, Corrupt, NotFound
from tasks.pipeline import STARTED
from tasks.records.registered import Registered
from tasks.registry.champion import adopt, promotions_of
from tasks.registry.promotions import FOLDER as PROMOTIONS
from tasks.registry.promotions import Signing, promotions_in
from tasks.registry.promotions import append as append_promotion
from tasks.registry.verdicts import anchored_evidence
from tasks.registry.versions import has_mlflow, heads_of, mlflow_client
from tasks.release.evidence import FOLDER, MANIFEST, SIGNATURE, Bundle
from tasks.release.signature import sign_bundle, why_not
from tasks.release.verify import verify

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Vouched:
    """How many objects of a store a person has vouched for now."""

    entries: int
    records: int
    bundles: int

    @property
    def in_words(self) -> str:
        return f"{self.entries} entries of ledgers, {self.records} records, {self.bundles} bundles"


def sign(store: Store, by: Person, reason: str) -> Vouched:
    """Vouch for all that the key of this process did not sign yet. Doing it again does nothing.

    Args:
        store: The store.
        by: Who vouches.
        reason: Why, in the person's words; both ledgers keep it.

    Raises:
        BadInput: There is no key to sign with, or no reason.
        Corrupt: Something is damaged, or carries a signature that no accepted key made.
        Momentary: MLflow failed.
    """
    keys, reason = keys_here(), " ".join(reason.split())
    if not keys.private or not reason:
        raise BadInput(
            "Nothing is signed.",
            expected=f"{KEY}, the file of a private key, and a reason",
            received=f"reason {reason!r}" if keys.private else "no private key",
            do=f"`python -m tasks keygen --output FOLDER` makes a key; set {KEY}, and say why you "
            "vouch for what the store holds",
        )
    with _client(store) as client:
        heads = heads_of(client, store) if client else []
        chain = chain_of(store, heads, NONE)
        now = promotions_of(client, store, NONE) if client else promotions_in(store, keys=NONE)
        entries = (*_open(chain, keys, CHAIN), *_open(now.chain, keys, PROMOTIONS))
        records = list(_open_records(store, keys))
        bundles = [each for each in _bundles(store, keys) if _is_open(each, client, store)]
        beside = {folder: unvouched(store, folder) for folder in FOLDERS}
        count = len(entries) + sum(beside.values())
        done = Vouched(count, len(records), len(bundles))
        for bundle in bundles:
            sign_bundle(bundle)
        for key, data in records:
            vouch(store, keys, key, data)
        if client:
            adopt(client, store, NONE)
    fact = Signing(by=by, reason=reason, vouched=done.in_words)
    content = fact.model_dump(mode="json")
    # What an earlier version of the program left is adopted on the way, and vouched for too.
    loose, noted = not chain.adopted, not now.chain.adopted
    append(
        Run(store, "", Retraining()),
        SIGNING,
        lambda chain: content if loose or _open(chain, keys, CHAIN) else None,
        heads,
        NONE,
    )
    for folder in (folder for folder, count in beside.items() if count):
        vouch_for(store, folder, Signed(by=by, reason=reason))
    append_promotion(
        store,
        "",
        lambda now: fact if noted or _open(now.chain, keys, PROMOTIONS) else None,
        NONE,
    )
    return done


def _open(chain: Chain, keys: Keys, folder: str) -> list[int]:
    """Numbers of the entries that the key of this process does not vouch for.

    Raises:
        Corrupt: An entry carries a signature that no accepted key made.
    """
    found = []
    for entry in reversed(chain.entries):
        if not entry.signature:
            found.append(entry.number)
            continue
        if why := entry.why_not(keys, folder):
            raise _forged(f"entry {entry.number} of {folder}", why)
        own = signed_by(entry.signature) == keys.fingerprint
        if own and entry.kind == SIGNING:
            break
        if not own:
            found.append(entry.number)
    return found


def _open_records(store: Store, keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Key and bytes of each record, and of each note of who started a run, likewise."""
    names = [
        each.key
        for each in store.list("runs/")
        if each.key.endswith(("/record.json", f"/{STARTED}")) and f"/{FOLDER}/" not in each.key
    ]
    for key, data in zip(names, read_many(store, names), strict=True):
        try:
            content = json.loads(data)
            at = content if key.endswith(STARTED) else content["provenance"]
            signature = str(at.get("signature", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            log.warning("%s cannot be read, and is left unsigned.", key)
            continue
        kind = NOTE if key.endswith(STARTED) else RECORD
        if signature:
            if why := keys.why_not(kind, key, without_signature(data, signature), signature):
                raise _forged(key, why)
            if signed_by(signature) == keys.fingerprint:
                continue
        own = Keys(keys.private, tuple(each for each in keys.public if each[0] == keys.fingerprint))
        if not vouched(store, own, key, data):
            yield key, data


def _bundles(store: Store, keys: Keys) -> Iterator[Bundle]:
    end = f"/{FOLDER}/{MANIFEST}"
    for each in store.list("runs/"):
        if each.key.endswith(end) and each.key.count("/") == 3:
            yield Bundle(f"{store.uri}/{each.key.removesuffix(f'/{MANIFEST}')}", keys)


def _is_open(bundle: Bundle, client: Any, store: Store) -> bool:
    """Whether the key of this process has not signed a bundle, which is verified then.

    Raises:
        Corrupt: It does not hold, or is not the one that MLflow knows, or carries a signature that
            no accepted key made.
    """
    if SIGNATURE in bundle.paths():
        why, fingerprint = why_not(bundle)
        if why:
            raise _forged(bundle.uri, why)
        if fingerprint == bundle.keys.fingerprint:
            return False
    held = verify(bundle.uri, keys=NONE)
    run = Run(store, bundle.uri.split("/")[-2], Retraining())
    known = anchored_evidence(client, run) if client else set()
    with suppress(NotFound):
        data = store.read(record_key(run.name, "register"))
        known.add(Registered.parsed(data, "the record of register").evidence.sha256)
    if held.run != run.name or known - {held.manifest_sha256}:
        raise Corrupt(
            f"The evidence {bundle.uri} is not the one with which the run was judged.",
            expected=f"run {run.name}, manifest SHA-256 {', '.join(sorted(known)) or 'of its own'}",
            received=f"run {held.run}, {held.manifest_sha256}",
            do="find out who changed the run's folder in the store, or the tags in MLflow",
        )
    return True


def _forged(what: str, why: str) -> Corrupt:
    return Corrupt(
        "Nothing is signed: something carries a signature that no accepted key made.",
        expected=f"signatures by the key of {KEY}, or by those of {PUBLIC}",
        received=f"{what}: {why}",
        do=f"if an older key of yours signed it, add its public key to {PUBLIC}; else find out who "
        "wrote it, and restore it from a backup",
    )


@contextmanager
def _client(store: Store) -> Iterator[Any]:
    """MLflow's client; None where no MLflow is named, which is told."""
    try:
        named = has_mlflow(store)
    except BadInput:
        named = False
    if not named:
        log.warning("No MLflow is named: nobody knows whether a ledger was cut at its end.")
        yield None
        return
    with mlflow_client(store) as client:
        yield client
