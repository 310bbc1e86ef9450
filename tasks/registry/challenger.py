"""The standing challenger: the last registered model that waits for people's decision.

MLflow's alias ``challenger`` says which version; the records of the version's run say what it is.
A model that people rejected, or that was in use, waits for no decision.
"""

import json
import logging
from typing import Any

from tasks.engine.run import Run, read_record
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.records.evaluated import Evaluated
from tasks.records.registered import Registered
from tasks.records.trained import Trained
from tasks.registry.aliases import mark
from tasks.registry.champion import alias_of, promotions_of
from tasks.registry.versions import CHALLENGER, MODEL, Version, mlflow_client

log = logging.getLogger(__name__)


def standing_challenger(client: Any, store: Store) -> Version | None:
    """The challenger that waits for a decision; None if none does.

    An alias on a version that no run of this store registered is told and counts for nothing.

    Raises:
        BadInput: A champion of this store is gone from MLflow.
        Corrupt: The ledger of promotions is damaged.
    """
    number = alias_of(client, CHALLENGER)
    if number is None:
        return None
    found = client.get_model_version(MODEL, str(number))
    version = _by_its_records(store, found)
    if version is None:
        log.warning(
            "The alias %s in MLflow is on version %d, which no run of %s registered. No model is "
            "compared with it.", CHALLENGER, number, store.uri,
        )  # fmt: skip
        return None
    now = promotions_of(client, store)
    sha = version.model_sha256
    in_use = [*now.earlier, *([now.champion] if now.champion else [])]
    question = now.about(sha)
    decided = question is not None and now.state(question) == "rejected"
    return None if decided or any(each.model_sha256 == sha for each in in_use) else version


def _by_its_records(store: Store, found: Any) -> Version | None:
    """A version as the records of its run describe it; None without such records."""
    place, _, name = str(found.tags.get("run", "")).rpartition("/runs/")
    if place != store.uri:
        return None
    try:
        registered, evaluated = (
            read_record(store, name, each) for each in ("register", "evaluate")
        )
    except BadInput as error:
        log.warning("%s", error.problem)
        return None
    if not isinstance(registered, Registered) or not isinstance(evaluated, Evaluated):
        return None
    if registered.version != int(found.version):
        return None
    return Version(
        number=registered.version,
        run=f"{store.uri}/runs/{name}",
        model_sha256=registered.model_sha256,
        threshold=evaluated.threshold,
        classes=evaluated.classes,
        source=str(found.source),
    )


def propose(client: Any, version: int, instead_of: Version | None) -> None:
    """Give a version the alias ``challenger``, and mark the one that had it."""
    client.set_registered_model_alias(MODEL, CHALLENGER, str(version))
    log.info("%s version %d is the challenger.", MODEL, version)
    if instead_of and instead_of.number != version:
        why = f"version {version} is the challenger now; this model can still be put before people"
        mark(client, MODEL, instead_of.number, "superseded", why)


def pass_over(client: Any, version: int, why: str) -> None:
    """Mark a new version that is not proposed, as a better challenger waits."""
    mark(client, MODEL, version, "superseded", why)
    log.warning("%s", why)


def outside_state(run: Run) -> str:
    """The standing challenger, and all that is read of it; empty if there is none, or if it is a
    model that this run trained."""
    with mlflow_client(run.store) as client:
        version = standing_challenger(client, run.store)
    if version is None or version.model_sha256 in own_models(run):
        return ""
    read = (version.number, version.model_sha256, version.threshold, version.classes, version.run)
    return json.dumps(read)


def own_models(run: Run) -> set[str]:
    """SHA-256 of each model that a run trained; empty before it has trained."""
    trained = run.record("train")
    return (
        {each.model.sha256 for each in trained.recipes} if isinstance(trained, Trained) else set()
    )
