"""promote: make an approved model the champion.

The entry in the ledger of promotions is the promotion. It is created once, after all checks, and
only if the ledger still says what the checks relied on. The aliases in MLflow follow. Running
`promote` again only sets the aliases.
"""

import logging
from typing import Any

from tasks.engine.run import Run, open_run
from tasks.errors import BadInput, Halt
from tasks.records.evaluated import Evaluated
from tasks.records.record import sha256
from tasks.registry.aliases import Status, mark
from tasks.registry.champion import adopt
from tasks.registry.promotions import (
    Promotion,
    Promotions,
    Question,
    append,
    no_question,
    promotions_in,
)
from tasks.registry.versions import MODEL, mlflow_client
from tasks.release.checks.flaw import record_of
from tasks.release.evidence import FOLDER, Bundle
from tasks.release.in_mlflow import follow_ledger, served
from tasks.release.policy_page import approved_by
from tasks.release.question import (
    check_compared_with,
    check_the_tags,
    known_policy,
    registered_by,
)
from tasks.release.verify import verify

log = logging.getLogger(__name__)


def promote(run: Run, question: str | None = None) -> int:
    """Make the model of a run the champion, as people approved; returns the version.

    Args:
        run: The run that registered the model, or that the model was first judged in.
        question: Name of the question that was approved; None for the last one about this run.

    Raises:
        Halt: The model was rejected, or another question has taken this one's place.
        BadInput: Nobody has approved the model; or the champion has changed since; or MLflow no
            longer holds the version.
        Corrupt: The evidence does not hold; or MLflow serves another model than was judged.
        Momentary: MLflow failed.
    """
    with mlflow_client(run.store) as client:
        now = adopt(client, run.store)
        asked = _asked(now, run, question)
        try:
            _check_may(now, asked)
        except Halt as halt:
            status: Status = "rejected" if now.state(asked) == "rejected" else "superseded"
            mark(client, MODEL, asked.model.version, status, str(halt))
            raise
        if not now.promotion(asked.id):
            judged = open_run(asked.model.run, run.config)
            checks = checked(client, judged, asked)
            now = append(run.store, judged.name, lambda now: _promotion(now, asked, checks))
            log.info("Version %d of %s is the champion.", asked.model.version, MODEL)
        else:
            log.info("Version %d was promoted before; nothing to do.", asked.model.version)
        follow_ledger(client, now)
    return asked.model.version


def checked(client: Any, run: Run, asked: Question) -> tuple[str, ...]:
    """Check all that the decision relies on; returns in words what was checked.

    Raises: See `promote`.
    """
    held = verify(f"{run.uri}/{FOLDER}", asked.model.evidence_sha256)
    bundle = Bundle(f"{run.uri}/{FOLDER}")
    now = promotions_in(run.store)
    policy = known_policy(bundle, now)
    check_the_tags(client, run, registered_by(run))
    check_compared_with(record_of(bundle, Evaluated), asked.champion, run)
    return (
        f"the evidence holds, by {len(held.held)} checks",
        f"policy {policy.name}, version {policy.version}, is known here: "
        + approved_by(now, sha256(bundle.read("policy.yaml"))),
        "the model was compared with the champion" if asked.champion else "there was no champion",
        *served(client, run.store, asked.model),
    )


def _asked(now: Promotions, run: Run, name: str | None) -> Question:
    model = registered_by(run).model_sha256
    about = [each for each in now.questions if each.model.model_sha256 == model]
    found = [each for each in about if name is None or each.id == name]
    if not found:
        raise no_question(name or run.uri)
    return found[-1]


def _check_may(now: Promotions, asked: Question) -> None:
    state, closed = now.state(asked), now.closing(asked.id)
    if state == "rejected":
        rejected = next(each for each in now.answers(asked.id) if each.option == "reject")
        raise Halt(f"Nothing is promoted: rejected by {rejected.by.in_words}. {rejected.reason}")
    if closed:
        raise Halt(f"Nothing is promoted: the question is closed, {closed.why}.")
    if state == "open":
        given = len(now.answers(asked.id))
        raise BadInput(
            "Nobody has approved the model."
            if not given
            else "A second person must approve the model.",
            expected=f"{asked.asked.approvals} approval(s) in the ledger of promotions",
            received=f"{given}, for the question {asked.id}",
            do="answer the question under Required Actions in Airflow, or with `python -m tasks "
            "decide`; a task that is marked as a success gives no answer",
        )


def _promotion(now: Promotions, asked: Question, checks: tuple[str, ...]) -> Promotion | None:
    """The entry, if the ledger still is as the checks found it."""
    if now.promotion(asked.id):
        return None
    _check_may(now, asked)
    if now.champion != asked.champion:
        in_use = f"version {now.champion.version}" if now.champion else "none"
        raise BadInput(
            "The champion has changed since the question was asked.",
            expected=f"version {asked.champion.version}" if asked.champion else "no champion",
            received=in_use,
            do=f"compare anew: `python -m tasks compare --run {asked.model.run}`",
        )
    return Promotion(question=asked.id, before=now.champion, after=asked.model, checks=checks)
