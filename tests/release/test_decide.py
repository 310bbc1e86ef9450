"""Whose answer counts: each law with an answer that keeps it and one that does not."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.person import ONE_PERSON, Person
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.evaluation.policy import Policy
from tasks.registry.promotions import Asked, Closing, Model, Question, append, promotions_in
from tasks.release.decide import decide
from tasks.release.question import asked_of
from tests.support.approvals import COLLEAGUE, NOBODY, PHYSICIAN
from tests.support.judged import MELANOMA_POLICY

ENGINEER = Person(name="engineer", how="Airflow", authenticated=True)
AT_A_TERMINAL = Person(name="anna", how="command line", authenticated=False)
MODEL = Model(
    version=2, run="s/runs/two", model_sha256="2" * 64,
    threshold=0.4, classes=("melanoma",), evidence_sha256="e" * 64,
)  # fmt: skip


def asked(store: Store, *, trained_by: tuple[Person, ...] = (ENGINEER,), **rules: Any) -> str:
    """A question with the usual rules but these."""
    usual = {
        "approvals": 1,
        "different_from_trainer": True,
        "authenticated": False,
        "one_person": False,
    }
    deadline = rules.pop("deadline", None)
    question = Question(
        id="q", model=MODEL, champion=None, asked_by=NOBODY, trained_by=trained_by,
        asked=Asked(**(usual | rules)), deadline=deadline,
    )  # fmt: skip
    append(store, "two", lambda now: question)
    return question.id


def state(store: Store) -> str:
    now = promotions_in(store)
    question = now.question("q")
    assert question
    return now.state(question)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def test_who_trained_may_not_approve_and_another_person_may(store: Store) -> None:
    question = asked(store)
    same = ENGINEER.model_copy(update={"name": "Engineer", "how": "command line"})
    assert "started the training" in decide(store, question, "approve", same, "good").refused
    assert state(store) == "open"
    assert not decide(store, question, "approve", PHYSICIAN, "good").refused
    assert state(store) == "approved"


def test_a_second_approval_is_another_persons(store: Store) -> None:
    question = asked(store, approvals=2)
    assert not decide(store, question, "approve", PHYSICIAN, "good").refused
    assert state(store) == "open"
    assert "has approved already" in decide(store, question, "approve", PHYSICIAN, "good").refused
    assert not decide(store, question, "approve", COLLEAGUE, "good").refused
    assert state(store) == "approved"


def test_who_has_not_logged_in_may_approve_only_where_the_policy_lets_them(store: Store) -> None:
    question = asked(store, authenticated=True)
    assert "logged in" in decide(store, question, "approve", AT_A_TERMINAL, "good").refused
    assert not decide(store, question, "approve", PHYSICIAN, "good").refused


def test_an_approval_needs_a_name_and_a_reason(store: Store) -> None:
    question = asked(store)
    assert "nobody gave it" in decide(store, question, "approve", NOBODY, "good").refused
    assert "no reason" in decide(store, question, "approve", PHYSICIAN, " \n ").refused
    assert decide(store, question, "approve", PHYSICIAN, "two\nlines").reason == "two lines"


def test_anybody_may_reject_and_then_nobody_may_approve(store: Store) -> None:
    question = asked(store, authenticated=True)
    assert not decide(store, question, "reject", ENGINEER, "").refused
    assert state(store) == "rejected"
    assert "answered before" in decide(store, question, "approve", PHYSICIAN, "good").refused


def test_an_answer_counts_once(store: Store) -> None:
    question = asked(store)
    assert not decide(store, question, "approve", PHYSICIAN, "good").refused
    again = decide(store, question, "reject", COLLEAGUE, "no")
    assert "answered before: approved" in again.refused
    assert state(store) == "approved"


def test_after_the_deadline_an_answer_is_too_late(store: Store) -> None:
    question = asked(store, deadline="2026-11-29T12:00:00+00:00")
    late, in_time = "2026-11-29T14:00:00+01:30", "2026-11-29T13:29:59+01:30"
    assert "time to answer" in decide(store, question, "approve", PHYSICIAN, "good", late).refused
    assert not decide(store, question, "approve", PHYSICIAN, "good", in_time).refused


def test_a_closed_question_takes_no_answer(store: Store) -> None:
    question = asked(store)
    append(store, "", lambda now: Closing(question=question, why="superseded"))
    assert "superseded" in decide(store, question, "approve", PHYSICIAN, "good").refused
    assert state(store) == "closed"


def test_what_does_not_count_is_written_down_too(store: Store) -> None:
    question = asked(store)
    given = decide(store, question, "approve", ENGINEER, "good")
    assert promotions_in(store).facts[-1] == given
    assert given.by == ENGINEER


def test_nobody_answers_what_was_never_asked(store: Store) -> None:
    with pytest.raises(BadInput, match="Nobody was asked"):
        decide(store, "another", "approve", PHYSICIAN, "good")
    assert promotions_in(store).facts == ()


# What is asked -----------------------------------------------------------------------------------


def policy(**approval: Any) -> Policy:
    changed = MELANOMA_POLICY.model_dump() | {"approval": approval}
    return Policy.model_validate(changed)


def test_two_people_must_approve_where_nobody_knows_who_trained() -> None:
    assert asked_of(policy(), ()).approvals == 2
    assert asked_of(policy(), (ENGINEER,)).approvals == 1
    assert asked_of(policy(approvals=2), (ENGINEER,)).approvals == 2
    assert asked_of(policy(different_from_trainer=False), ()).approvals == 1


def test_a_team_of_one_may_switch_the_second_person_off_and_the_question_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not asked_of(policy(), (ENGINEER,)).one_person
    monkeypatch.setenv(ONE_PERSON, "yes")
    alone = asked_of(policy(approvals=2, authenticated=True), ())
    assert (alone.approvals, alone.different_from_trainer, alone.one_person) == (1, False, True)
    assert alone.authenticated  # a login is no second person
    monkeypatch.setenv(ONE_PERSON, "no")
    assert not asked_of(policy(), (ENGINEER,)).one_person


people = st.builds(
    Person,
    name=st.sampled_from(["", "engineer", "ENGINEER", "physician", "colleague"]),
    how=st.sampled_from(["Airflow", "command line"]),
    authenticated=st.booleans(),
)


@given(
    answers=st.lists(st.tuples(people, st.sampled_from(["", "good"])), max_size=6),
    approvals=st.sampled_from([1, 2]),
    authenticated=st.booleans(),
)
def test_whatever_is_answered_only_enough_other_named_people_approve(
    answers: list[tuple[Person, str]],
    approvals: int,
    authenticated: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("any")))
    question = asked(store, approvals=approvals, authenticated=authenticated)
    for person, reason in answers:
        decide(store, question, "approve", person, reason)
    may = {
        person.name.casefold()
        for person, reason in answers
        if person.name and reason and (person.authenticated or not authenticated)
    } - {"engineer"}
    assert (state(store) == "approved") == (len(may) >= approvals)
