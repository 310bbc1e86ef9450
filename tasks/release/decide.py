"""decide: record a person's answer to a question in the ledger of promotions."""

import logging
from datetime import datetime
from typing import Literal

from tasks.engine.person import Person
from tasks.engine.store import Store
from tasks.registry.promotions import (
    Answer,
    PolicyQuestion,
    Promotions,
    Question,
    append,
    no_question,
    now_utc,
)

log = logging.getLogger(__name__)


def decide(
    store: Store,
    question: str,
    option: Literal["approve", "reject"],
    by: Person,
    reason: str,
    at: str | None = None,
) -> Answer:
    """Record an answer, also one that does not count: the ledger then says why not.

    Args:
        store: The store.
        question: Name of the question.
        option: The answer.
        by: Who answered; without a name if the time to answer is over.
        reason: The person's reason.
        at: Time of the answer, UTC, ISO 8601; None for now.

    Returns:
        The answer. `Answer.refused` says why it does not count; empty if it counts.

    Raises:
        BadInput: There is no such question.
        Corrupt: The ledger is damaged.
    """
    given = Answer(
        question=question,
        option=option,
        by=by,
        reason=" ".join(reason.split()),
        at=at or now_utc(),
        refused="",
    )
    made: list[Answer] = []

    def said(now: Promotions) -> Answer | None:
        asked = now.asked(question)
        if asked is None:
            raise no_question(question)
        made[:] = [given.model_copy(update={"refused": why_refused(now, asked, given)})]
        return made[0]

    append(store, "", said)
    (answer,) = made
    who = answer.by.in_words
    if answer.refused:
        log.warning("The answer of %s does not count: %s.", who, answer.refused)
    else:
        log.info("%s: %s. Reason: %s", who, answer.option, answer.reason)
    return answer


def why_refused(now: Promotions, asked: Question | PolicyQuestion, given: Answer) -> str:
    """Why an answer does not count; empty if it counts."""
    closed = now.closing(asked.id)
    state = now.state(asked)
    if closed:
        return f"the question is closed, {closed.why}"
    if state != "open":
        return f"the question was answered before: {state}"
    if asked.deadline and datetime.fromisoformat(given.at) > datetime.fromisoformat(asked.deadline):
        return f"the time to answer ended at {asked.deadline}"
    if given.option == "reject":
        return ""  # whoever doubts a model may stop it, without a login and without an answer
    if not given.by.name:
        return "nobody gave it"
    if not given.reason:
        return "it gives no reason"
    return _why_not_this_person(now, asked, given.by)


def _why_not_this_person(now: Promotions, asked: Question | PolicyQuestion, by: Person) -> str:
    if asked.asked.authenticated and not by.authenticated:
        return "the policy asks for a person who has logged in"
    if asked.asked.different_from_trainer and any(map(by.is_same, asked.trained_by)):
        return f"{by.name} {asked.did}, and another person must approve the model"
    if any(by.is_same(each.by) for each in now.answers(asked.id)):
        return f"{by.name} has approved already, and a second person must approve"
    return ""
