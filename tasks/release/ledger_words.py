"""What the entries of the ledger of promotions say, for people.

It imports no library of numbers, and nothing of MLflow: Airflow's pages show these words too.
"""

from tasks.registry.promotions import (
    Adoption,
    Answer,
    Closing,
    Fact,
    Model,
    PolicyQuestion,
    Promotion,
    Promotions,
    Question,
    Rollback,
    Signing,
)


def rows(now: Promotions) -> list[tuple[str, str, str, str]]:
    """Number, time, what happened and why, of each entry."""
    return [
        (str(entry.number), entry.at, *in_words(fact, now))
        for entry, fact in zip(now.chain.entries, now.facts, strict=True)
    ]


def in_words(fact: Fact, now: Promotions) -> tuple[str, str]:
    """What an entry says, and the reason that it gives."""
    if isinstance(fact, Question):
        return f"{_named(fact.model)} put before people, {fact.id}", _asks(fact)
    if isinstance(fact, PolicyQuestion):
        return f"policy {fact.policy.in_words}, put before people, {fact.id}", _asks_policy(fact)
    if isinstance(fact, Answer):
        counted = f"; does not count: {fact.refused}" if fact.refused else ""
        verb = "approved" if fact.option == "approve" else "rejected"
        return f"{verb} by {fact.by.in_words}{counted}", fact.reason
    if isinstance(fact, Closing):
        return f"closed, {fact.question}", fact.why
    if isinstance(fact, Promotion):
        moved = f"{_named(fact.after)} is the champion, before: {_named(fact.before)}"
        return moved, "; ".join(fact.checks)
    if isinstance(fact, Rollback):
        moved = f"{_named(fact.after)} is the champion again, before: {_named(fact.before)}"
        return f"{moved}, by {fact.by.in_words}", fact.reason
    if isinstance(fact, Signing):
        return f"{fact.by.in_words} vouches for {fact.vouched}", fact.reason
    assert isinstance(fact, Adoption)
    return f"{_named(fact.after)} was the champion when this ledger began", fact.why


def _named(model: Model | None) -> str:
    return f"version {model.version}" if model else "none"


def _asks(question: Question) -> str:
    trainers = ", ".join(each.in_words for each in question.trained_by) or "nobody known"
    second = "; the second person is switched off here" if question.asked.one_person else ""
    return f"{question.asked.approvals} approval(s) needed; trained by {trainers}{second}"


def _asks_policy(question: PolicyQuestion) -> str:
    policy, asked = question.policy, question.asked
    second = "; the second person is switched off here" if asked.one_person else ""
    differs = "; ".join(policy.changes) or "nothing"
    return (
        f"{asked.approvals} approval(s) needed; SHA-256 {policy.sha256[:12]}...; "
        f"against {policy.nearest}: {differs}{second}"
    )
