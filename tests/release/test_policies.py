"""An own policy before people: whose approval counts, and for which bytes."""

import json
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.engine.ledger import Entry, entry_key
from tasks.engine.person import ONE_PERSON, Person
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt, Halt
from tasks.evaluation.policy import policy_bytes
from tasks.records.record import sha256
from tasks.registry.promotions import FOLDER, Closing, append, promotions_in
from tasks.release.decide import decide
from tasks.release.history import as_json
from tasks.release.ledger_words import in_words
from tasks.release.policy_page import approved_by, of_own_policy
from tasks.release.propose import asked_about, propose
from tests.support.approvals import COLLEAGUE, NOBODY, PHYSICIAN
from tests.support.policies import OURS, approved_policy, like, put, with_rule

AT_A_TERMINAL = Person(name="anna", how="command line", authenticated=False)


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def known(store: Store, data: bytes) -> bool:
    return promotions_in(store).approved_policy(sha256(data)) is not None


# People -------------------------------------------------------------------------------------------


def test_two_people_approve_a_policy_and_one_does_not_on_every_store(store: Store) -> None:
    data = with_rule("synthetic", "sensitivity", at_least=0.1)
    put(store, data)
    question = propose(store, OURS, "q", PHYSICIAN)
    assert not known(store, data)
    assert not decide(store, "q", "approve", PHYSICIAN, "We need it.").refused
    assert not known(store, data)
    assert not decide(store, "q", "approve", COLLEAGUE, "I agree.").refused
    assert known(store, data)
    assert question.policy.text.encode() == data  # the ledger outlives the file
    store.delete(OURS)
    assert known(store, data)
    assert "sensitivity: at_least is 0.1 instead of 0.6" in question.page


def test_the_same_person_twice_is_one_person(folder: Store) -> None:
    put(folder, like("synthetic"))
    propose(folder, OURS, "q", NOBODY)
    assert not decide(folder, "q", "approve", PHYSICIAN, "x").refused
    same = PHYSICIAN.model_copy(update={"name": "Physician", "how": "command line"})
    assert "approved already" in decide(folder, "q", "approve", same, "x").refused
    assert not known(folder, like("synthetic"))


def test_an_approval_without_a_reason_or_a_name_does_not_count(folder: Store) -> None:
    put(folder, like("synthetic"))
    propose(folder, OURS, "q", NOBODY)
    assert "no reason" in decide(folder, "q", "approve", PHYSICIAN, " ").refused
    assert "nobody gave it" in decide(folder, "q", "approve", NOBODY, "x").refused
    assert promotions_in(folder).answers("q") == []


def test_a_team_of_one_approves_alone_and_the_ledger_says_so(
    folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ONE_PERSON, "yes")
    put(folder, like("synthetic"))
    question = approved_policy(folder, people=(PHYSICIAN,))
    now = promotions_in(folder)
    assert question.asked.one_person
    assert "the second person being switched off" in approved_by(now, question.policy.sha256)
    assert "switched off" in in_words(question, now)[1]
    monkeypatch.delenv(ONE_PERSON)
    put(folder, like("synthetic", version=2))
    assert propose(folder, OURS, "q", NOBODY).asked.approvals == 2


def test_a_policy_that_asks_for_a_login_is_not_approved_at_a_terminal(folder: Store) -> None:
    put(folder, like("synthetic", approval={"authenticated": True}))
    propose(folder, OURS, "q", NOBODY)
    assert "logged in" in decide(folder, "q", "approve", AT_A_TERMINAL, "x").refused
    assert not decide(folder, "q", "approve", PHYSICIAN, "x").refused


def test_who_rejects_a_policy_ends_the_question_and_it_may_be_asked_again(folder: Store) -> None:
    put(folder, like("synthetic"))
    propose(folder, OURS, "q", NOBODY)
    decide(folder, "q", "approve", PHYSICIAN, "x")
    assert not decide(folder, "q", "reject", COLLEAGUE, "Too weak.").refused
    assert "rejected" in decide(folder, "q", "approve", AT_A_TERMINAL, "x").refused
    assert not known(folder, like("synthetic"))
    assert asked_about(folder, OURS) is None
    approved_policy(folder)
    assert known(folder, like("synthetic"))
    too_late = decide(folder, promotions_in(folder).policies[-1].id, "reject", NOBODY, "")
    assert "answered before: approved" in too_late.refused


# Bytes --------------------------------------------------------------------------------------------


def test_approved_are_the_bytes_and_no_others(folder: Store) -> None:
    put(folder, like("synthetic"))
    approved_policy(folder)
    weaker = like("synthetic") + b"# weaker\n"
    assert known(folder, like("synthetic"))
    assert not known(folder, weaker)
    put(folder, weaker)
    with pytest.raises(BadInput, match="changed under its own name and version"):
        propose(folder, OURS, "again", NOBODY)
    put(folder, like("synthetic", version=2))
    propose(folder, OURS, "again", NOBODY)


def test_a_file_that_changed_after_the_question_is_not_what_people_approve(folder: Store) -> None:
    put(folder, like("synthetic"))
    propose(folder, OURS, "q", NOBODY)
    weaker = with_rule("synthetic", "sensitivity", at_least=0.0)
    put(folder, weaker)
    for person in (PHYSICIAN, COLLEAGUE):
        assert not decide(folder, "q", "approve", person, "x").refused
    assert known(folder, like("synthetic"))
    assert not known(folder, weaker)
    with pytest.raises(BadInput, match="changed since the question"):
        propose(folder, OURS, "q", NOBODY)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (policy_bytes("smoke"), "nothing to approve"),
        (policy_bytes("smoke") + b"#\n", "bears the name of a released one"),
        (b"rules: []", "cannot be read"),
    ],
)
def test_what_is_no_policy_of_its_own_is_not_put_before_people(
    folder: Store, data: bytes, words: str
) -> None:
    put(folder, data)
    with pytest.raises(BadInput, match=words):
        propose(folder, OURS, "q", NOBODY)
    assert promotions_in(folder).facts == ()


def test_asking_again_asks_once_and_another_question_takes_the_place(folder: Store) -> None:
    put(folder, like("synthetic"))
    first = propose(folder, OURS, "q", NOBODY)
    assert propose(folder, OURS, "q", PHYSICIAN) == first
    assert len(promotions_in(folder).facts) == 1
    put(folder, like("synthetic", version=2))
    propose(folder, OURS, "q2", NOBODY)
    now = promotions_in(folder)
    assert [now.state(each) for each in now.policies] == ["closed", "open"]
    assert isinstance(now.facts[1], Closing)
    assert "superseded" in decide(folder, "q", "approve", PHYSICIAN, "x").refused
    for person in (PHYSICIAN, COLLEAGUE):
        assert not decide(folder, "q2", "approve", person, "x").refused
    with pytest.raises(Halt, match="stands approved"):
        propose(folder, OURS, "q3", NOBODY)


def test_an_answer_after_the_time_to_answer_is_too_late(folder: Store) -> None:
    put(folder, like("synthetic"))
    propose(folder, OURS, "q", NOBODY, "2020-01-01T00:00:00+00:00")
    assert "time to answer" in decide(folder, "q", "approve", PHYSICIAN, "x").refused
    assert asked_about(folder, OURS) is None
    propose(folder, OURS, "q2", NOBODY, "2999-01-01T00:00:00+00:00")
    found = asked_about(folder, OURS)
    assert found
    assert found.id == "q2"


def test_an_entry_about_a_policy_that_was_changed_is_refused(folder: Store) -> None:
    put(folder, like("synthetic"))
    approved_policy(folder)
    key = entry_key(1, FOLDER)
    entry = Entry.model_validate_json(folder.read(key))
    text = entry.content["policy"]["text"].replace("0.6", "0.1")
    entry.content["policy"]["text"] = text
    folder.replace(key, entry.data)
    with pytest.raises(Corrupt, match="ledger is damaged"):
        promotions_in(folder)


def test_an_entry_whose_hash_is_not_of_its_text_is_refused(folder: Store) -> None:
    """People would approve what they read, and something else would count."""
    put(folder, like("synthetic"))
    forged = propose(folder, OURS, "q", NOBODY)
    other = forged.policy.model_copy(update={"sha256": "0" * 64})
    append(folder, "", lambda now: forged.model_copy(update={"id": "q2", "policy": other}))
    with pytest.raises(Corrupt, match="another SHA-256"):
        promotions_in(folder)


# What people read ---------------------------------------------------------------------------------


def test_the_page_shows_the_whole_file_as_text_and_who_approved(folder: Store) -> None:
    hostile = "![x](http://evil.example) <script> | **bold**"
    put(folder, like("synthetic", intended_use=hostile))
    question = propose(folder, OURS, "q", PHYSICIAN)
    shown = question.page.split("**The whole file**")[1].strip("\n").splitlines()
    assert [line.removeprefix("    ") for line in shown] == question.policy.text.splitlines()
    assert all(line.startswith("    ") for line in shown)
    assert "Two people must approve." in question.page
    assert of_own_policy(promotions_in(folder), question.policy.sha256) == ()
    for person in (PHYSICIAN, COLLEAGUE):
        decide(folder, "q", "approve", person, "We *need* it.")
    told = "\n".join(of_own_policy(promotions_in(folder), question.policy.sha256))
    assert "this installation's own" in told
    assert "physician (Airflow)" in told
    assert "colleague (Airflow)" in told
    assert r"We \*need\* it" in told
    assert "intended use reads otherwise" in told


def test_the_ledger_tells_of_policies_in_words_and_as_json(folder: Store) -> None:
    put(folder, with_rule("synthetic", "sensitivity", at_least=0.1))
    question = approved_policy(folder)
    now = promotions_in(folder)
    what, why = in_words(now.facts[0], now)
    assert what.startswith("policy ours, version 1, put before people")
    assert "at_least is 0.1 instead of 0.6" in why
    told = json.loads(as_json(now, ""))
    assert told["policies"][question.policy.sha256]["state"] == "approved"
    assert told["policies"][question.policy.sha256]["approved_by"] == [
        "physician (Airflow)",
        "colleague (Airflow)",
    ]
    assert told["entries"][0]["content"]["policy"]["text"] == question.policy.text


def test_a_policy_is_no_question_about_a_model(folder: Store) -> None:
    put(folder, like("synthetic"))
    approved_policy(folder)
    now = promotions_in(folder)
    assert (list(now.questions), now.open, now.champion) == ([], [], None)
    assert not now.about_models


# The command line ---------------------------------------------------------------------------------


def test_two_users_of_the_machine_approve_a_policy_on_the_command_line(
    folder: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = ["approve-policy", "--store", folder.uri, "--policy", OURS, "--reason"]
    put(folder, with_rule("synthetic", "sensitivity", at_least=0.1))
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    assert main([*argv, " "]) == 64
    assert main([*argv[:-1]]) == 64
    assert main([*argv, "We need it."]) == 0
    said = capfd.readouterr().out
    assert "1 of 2 approvals. Another must approve." in said
    assert "at_least is 0.1 instead of 0.6, which asks for less" in said
    assert main([*argv, "Again."]) == 64
    monkeypatch.setattr("getpass.getuser", lambda: "bert")
    assert main([*argv, "I agree."]) == 0
    said = capfd.readouterr().out
    assert "approved by command line, user anna, not authenticated" in said
    assert "and command line, user bert" in said
    before = promotions_in(folder)
    assert main([*argv, "Again."]) == 0
    assert promotions_in(folder) == before
    assert main(["ledger", "--store", folder.uri]) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "policy ours," in said
    assert "I agree." in said


def test_the_command_line_refuses_what_it_may_not_approve(
    folder: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = ["approve-policy", "--store", folder.uri, "--reason", "x", "--policy"]
    for wrong in (OURS, "raw/ours.yaml", "policies/../ours.yaml", "smoke"):
        assert main([*argv, wrong]) == 64
    put(folder, like("synthetic", approval={"authenticated": True}))
    assert main([*argv, OURS]) == 64
    said = capfd.readouterr().err
    assert "logged in" in said
    assert "melanoma_policy" in said


def test_another_program_puts_a_policy_before_people(
    folder: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = ["propose", "--store", folder.uri, "--policy", OURS, "--question", "q"]
    assert main(argv) == 64
    put(folder, like("synthetic"))
    assert main(argv) == 0
    assert "Shall the policy ours, version 1" in capfd.readouterr().out
    question = promotions_in(folder).policies[-1]
    assert (question.id, bool(question.deadline)) == ("q", True)
    for person in (PHYSICIAN, COLLEAGUE):
        decide(folder, "q", "approve", person, "x")
    assert main([*argv[:-1], "q2"]) == 99
    append(folder, "", lambda now: None)
