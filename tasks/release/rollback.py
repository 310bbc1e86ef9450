"""rollback: make an earlier champion the champion again."""

import logging
from typing import Any

from tasks.engine.person import Person
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.registry.champion import adopt
from tasks.registry.promotions import Model, Promotions, Rollback, append, promotions_in
from tasks.registry.versions import MODEL, mlflow_client
from tasks.release.evidence import FOLDER, Bundle
from tasks.release.in_mlflow import follow_ledger, served
from tasks.release.question import known_policy
from tasks.release.verify import verify

log = logging.getLogger(__name__)


def rollback(store: Store, to: int, by: Person, reason: str, name: str = "") -> int:
    """Make an earlier champion the champion again; returns its version.

    One person is enough, and no gate judges: the model was approved before. Its evidence and its
    bytes are checked as for a promotion. Without a policy that asks for a login, the command line
    may do it. The entry in the ledger is the rollback, and the aliases in MLflow follow.

    Args:
        store: The store.
        to: The version, which must have been the champion before.
        by: Who decides.
        reason: The person's reason.
        name: Name of the request. Another call with this name only sets the aliases, as the ledger
            says by then: a task that is run again moves no champion a second time.

    Raises:
        BadInput: The version never was the champion, or is in use now; or no reason is given; or
            nobody is known to decide.
        Corrupt: The evidence does not hold; or MLflow serves another model than was judged.
        Momentary: MLflow failed.
    """
    reason = " ".join(reason.split())
    if not reason or not by.name:
        raise BadInput(
            "A rollback needs a person and a reason.",
            expected="a reason in a few words, and a known person",
            received=f"reason {reason!r}, by {by.in_words}",
            do="say why, for example which harm was seen; in Airflow, start the DAG by hand",
        )
    with mlflow_client(store) as client:
        now = adopt(client, store)
        if _was_done(now, name):
            log.info("This rollback was made before; nothing to do.")
            follow_ledger(client, now)
            return to
        model = _earlier(now, to)
        checks = _checked(client, store, model, by)

        def said(now: Promotions) -> Rollback | None:
            if _was_done(now, name):  # by another process, meanwhile
                return None
            found = _earlier(now, to)
            return Rollback(
                by=by, reason=reason, before=now.champion, after=found, checks=checks, id=name
            )

        now = append(store, model.run.rpartition("/")[2], said)
        log.info("Version %d of %s is the champion again, by %s.", to, MODEL, by.in_words)
        follow_ledger(client, now)
    return to


def _was_done(now: Promotions, name: str) -> bool:
    """Whether the ledger holds the rollback of this name."""
    return bool(name) and any(isinstance(each, Rollback) and each.id == name for each in now.facts)


def _earlier(now: Promotions, to: int) -> Model:
    """The earlier champion of this number. Raises `BadInput` without one."""
    for model in now.earlier:
        if model.version == to:
            return model
    in_use = now.champion and now.champion.version == to
    raise BadInput(
        "The model is in use already." if in_use else "The model was never in use.",
        expected="an earlier champion: "
        + (", ".join(f"version {each.version}" for each in now.earlier) or "there is none yet"),
        received=f"version {to}",
        do="name one of these; a model that was never in use needs an approval, see `python -m "
        "tasks decide`",
    )


def _checked(client: Any, store: Store, model: Model, by: Person) -> tuple[str, ...]:
    if model.evidence_sha256 is None:
        return ("it was registered without evidence", *served(client, store, model))
    uri = f"{model.run}/{FOLDER}"
    held = verify(uri, model.evidence_sha256)
    policy = known_policy(Bundle(uri), promotions_in(store))
    if policy.approval.authenticated and not by.authenticated:
        raise BadInput(
            "The policy asks for a person who has logged in.",
            expected="the DAG melanoma_rollback, started by a user of Airflow",
            received=by.in_words,
            do="start the DAG melanoma_rollback",
        )
    return (f"the evidence holds, by {len(held.held)} checks", *served(client, store, model))
