"""The ledger of promotions, as people read it: who decided what, when and why."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from tasks.engine.ledger import Entry
from tasks.engine.signing import NOT_CHECKED, UNSIGNED, Keys, keys_here, signed_by
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.registry.champion import promotions_of, report_alias
from tasks.registry.promotions import (
    Promotions,
    promotions_in,
)
from tasks.registry.versions import has_mlflow, mlflow_client
from tasks.release.in_mlflow import follow_ledger

log = logging.getLogger(__name__)


def history(
    store: Store, *, repair: bool = False, keys: Keys | None = None
) -> tuple[Promotions, str]:
    """The ledger, verified, and how MLflow's alias differs from it, in words.

    Where no MLflow is named, the ledger is verified by itself, and the log says so.

    Args:
        store: The store.
        repair: Set the aliases right.
        keys: Whose signatures are accepted; None for the keys of this process.

    Raises:
        BadInput: No MLflow is named, and its aliases are to be set right.
        Corrupt: The ledger is damaged.
        Momentary: MLflow failed.
    """
    if not repair and not _mlflow_is_named(store):
        log.warning("No MLflow is named, so nobody knows whether the ledger was cut at its end.")
        return promotions_in(store, keys=keys), ""
    with mlflow_client(store) as client:
        now = promotions_of(client, store, keys)
        difference = report_alias(client, now.champion)
        if repair:
            follow_ledger(client, now)
    return now, difference


def _mlflow_is_named(store: Store) -> bool:
    try:
        return has_mlflow(store)
    except BadInput:
        return False


def signature_in_words(now: Promotions, keys: Keys | None = None) -> str:
    """Who signed a ledger that was verified with these keys, in words."""
    if not any(entry.signature for entry in now.chain.entries):
        return UNSIGNED
    accepted = dict((keys or keys_here()).public)
    if not accepted:
        return NOT_CHECKED
    signers = (signed_by(entry.signature) for entry in now.chain.entries)
    named = dict.fromkeys(each for each in signers if each in accepted)
    return f"signed by the key SHA-256 {', '.join(named)}"


def as_json(now: Promotions, difference: str, keys: Keys | None = None) -> str:
    """The ledger as JSON: its entries, the champion, the alias's difference, and who signed."""
    found: dict[str, Any] = {
        "champion": now.champion.model_dump(mode="json") if now.champion else None,
        "alias_differs": difference or None,
        "signature": signature_in_words(now, keys),
        "policies": {
            each.policy.sha256: {
                "policy": each.policy.in_words,
                "state": now.state(each),
                "approved_by": [
                    answer.by.in_words
                    for answer in now.answers(each.id)
                    if answer.option == "approve"
                ],
            }
            for each in now.policies
        },
        "entries": [_bare(entry) for entry in now.chain.entries],
    }
    return json.dumps(found, indent=1)


def _bare(entry: Entry) -> dict[str, Any]:
    return entry.model_dump(mode="json", include={"number", "kind", "at", "run", "content"})


def moment(text: str) -> datetime:
    """A day or a time, as a person types it; a day counts to its end, UTC.

    Raises:
        BadInput: It is neither.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(
            "The time is not understood.",
            expected="a day or a time, such as 2026-11-30 or 2026-11-30T14:00+01:00",
            received=repr(text),
            do="give one of these",
        ) from error
    if len(text) == len("2026-11-30"):
        found = found.replace(hour=23, minute=59, second=59)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
