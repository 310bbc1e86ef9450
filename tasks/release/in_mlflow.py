"""What a promotion asks of MLflow: to serve what was judged, and to show which model is in use."""

from typing import Any

from tasks.config import Retraining
from tasks.engine.run import Run, read_record
from tasks.engine.store import Store
from tasks.records.registered import Registered
from tasks.registry.aliases import Status, follow, mark
from tasks.registry.champion import PROMOTIONS_HEAD, version_of
from tasks.registry.promotions import Model, Promotions
from tasks.registry.versions import MODEL, model_bytes
from tasks.release.served import check_served_as_judged


def served(client: Any, store: Store, model: Model) -> tuple[str, ...]:
    """Check the model where MLflow serves it from; returns in words what was checked.

    The bundle, if there is one, must have been verified before.

    Raises:
        BadInput: MLflow does not hold the version.
        Corrupt: MLflow serves another model than was judged.
        Momentary: MLflow failed.
    """
    there, _, name = model.run.rpartition("/runs/")
    registered = read_record(store, name, "register") if there == store.uri else None
    if isinstance(registered, Registered) and model.evidence_sha256:
        run = Run(store, name, Retraining(), "promote")
        return (check_served_as_judged(client, run, registered),)
    model_bytes(version_of(client, model))
    return (
        f"MLflow serves the model that was judged, SHA-256 {model.model_sha256}",
        "the model was asked nothing: its evidence is not in this store",
    )


def follow_ledger(client: Any, now: Promotions) -> None:
    """Set the aliases in MLflow as the ledger says, and note the ledger's head there."""
    champion, previous = now.champion, now.previous
    follow(
        client,
        MODEL,
        champion=champion.version if champion else None,
        previous=previous.version if previous else None,
    )
    if champion and now.chain.head:
        head = now.chain.head.model_dump_json()
        client.set_model_version_tag(MODEL, str(champion.version), PROMOTIONS_HEAD, head)
        mark(client, MODEL, champion.version, "champion", "in use, by the ledger of promotions")
    for model in now.earlier:
        status: Status = "previous champion" if model == previous else "superseded"
        mark(client, MODEL, model.version, status, "another model is in use")
