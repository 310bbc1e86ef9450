"""From challenger to champion and back, with real networks and a real registry."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.engine.ledger import entry_key
from tasks.engine.person import VARIABLE
from tasks.engine.run import Run
from tasks.errors import BadInput, Corrupt, Halt
from tasks.evaluation.policy import policy_bytes
from tasks.records.evaluated import Evaluated
from tasks.records.registered import Registered
from tasks.registry.champion import alias_of, champion
from tasks.registry.promotions import FOLDER, Promotion, Rollback, promotions_in
from tasks.registry.versions import CHAMPION, MODEL, mlflow_client
from tasks.release.compare import compare
from tasks.release.decide import decide
from tasks.release.evidence import Bundle
from tasks.release.promote import promote
from tasks.release.question import ask, known_policy
from tasks.release.rollback import rollback
from tasks.release.trainers import DELIVERED
from tests.support.approvals import COLLEAGUE, ENGINEER, NOBODY, PHYSICIAN, approved, promoted
from tests.support.bundles import reseal
from tests.support.deliveries import run_of

pytestmark = pytest.mark.slow


def in_use(run: Run) -> tuple[int | None, int | None]:
    """The champion by the ledger, and by MLflow's alias."""
    said = promotions_in(run.store).champion
    with mlflow_client(run.store) as client:
        return said.version if said else None, alias_of(client, CHAMPION)


def test_what_nobody_approved_is_not_promoted_and_what_was_approved_is(first: Run) -> None:
    with pytest.raises(BadInput, match="Nobody was asked"):
        promote(first)
    question = ask(first, "q", NOBODY)
    assert question.trained_by == (ENGINEER,)
    with pytest.raises(BadInput, match="Nobody has approved"):
        promote(first)
    assert "started the training" in decide(first.store, "q", "approve", ENGINEER, "x").refused
    with pytest.raises(BadInput, match="Nobody has approved"):
        promote(first)
    assert in_use(first) == (None, None)
    assert not decide(first.store, "q", "approve", PHYSICIAN, "It finds more.").refused
    assert promote(first) == 1
    assert in_use(first) == (1, 1)
    last = promotions_in(first.store).facts[-1]
    assert isinstance(last, Promotion)
    assert (last.before, last.after.model_sha256) == (None, question.model.model_sha256)
    assert len(last.checks) >= 4


def test_promoting_again_changes_nothing_but_mends_the_alias(first: Run) -> None:
    assert promoted(first) == 1
    before = promotions_in(first.store)
    with mlflow_client(first.store) as client:
        client.delete_registered_model_alias(MODEL, CHAMPION)
    assert promote(first) == 1
    assert promotions_in(first.store) == before
    assert in_use(first) == (1, 1)


def test_a_kill_between_decision_and_alias_is_mended_by_the_next_attempt(
    first: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(first)
    monkeypatch.setattr("tasks.release.promote.follow_ledger", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        promote(first)
    assert in_use(first) == (1, None)
    monkeypatch.undo()
    assert promote(first) == 1
    assert in_use(first) == (1, 1)


def test_a_model_that_was_asked_about_is_known_whatever_the_answer(first: Run, second: Run) -> None:
    question = ask(first, "q", NOBODY)
    model = question.model.model_sha256
    assert promotions_in(first.store).about(model) == question
    decide(first.store, "q", "reject", PHYSICIAN, "no")
    assert promotions_in(first.store).about(model) == question
    registered = second.record("register")
    assert isinstance(registered, Registered)
    assert promotions_in(first.store).about(registered.model_sha256) is None


def test_the_ledger_keeps_what_people_were_shown(first: Run) -> None:
    question = ask(first, "q", NOBODY)
    assert "version 1 of" in question.subject
    assert "Melanoma sensitivity" in question.page
    assert str(question.model.evidence_sha256) in question.page
    assert promotions_in(first.store).question("q") == question


def test_a_rejected_model_stays_what_it_is(first: Run) -> None:
    ask(first, "q", NOBODY)
    decide(first.store, "q", "reject", PHYSICIAN, "It misses a nodular melanoma.")
    with pytest.raises(Halt, match="nodular"):
        promote(first)
    assert in_use(first) == (None, None)
    with mlflow_client(first.store) as client:
        assert client.get_model_version(MODEL, "1").tags["status"] == "rejected"


def test_a_later_question_closes_an_earlier_one_whose_model_may_be_asked_about_again(
    first: Run, second: Run
) -> None:
    approved(first, "about the first")
    ask(second, "about the second", NOBODY)
    with pytest.raises(Halt, match="superseded"):
        promote(first)
    assert promoted(first, "about the first again") == 1
    assert in_use(first) == (1, 1)


def test_a_challenger_is_compared_with_the_champion_of_the_moment(first: Run, second: Run) -> None:
    """Both were judged before there was a champion."""
    promoted(first)
    with pytest.raises(BadInput, match="not compared with the champion") as refused:
        ask(second, "q", NOBODY)
    assert f"compare --run {second.uri}" in refused.value.do
    anew = compare(second)
    assert anew.name == "second-against-1"
    assert compare(second).uri == anew.uri
    assert compare(anew) is anew
    evaluated = Bundle(f"{anew.uri}/evidence").record("evaluate")
    assert isinstance(evaluated, Evaluated)
    assert evaluated.champion
    assert evaluated.champion.version == 1
    assert promoted(anew, "about the second") == 2
    assert in_use(second) == (2, 2)
    with mlflow_client(second.store) as client:
        assert alias_of(client, "previous_champion") == 1


def test_of_two_approved_models_one_wins_and_the_other_is_told(first: Run, second: Run) -> None:
    approved(first, "first")
    checks_of_the_second = ask(second, "second", NOBODY)  # closes the first
    for person in (PHYSICIAN, COLLEAGUE)[: checks_of_the_second.asked.approvals]:
        decide(second.store, "second", "approve", person, "x")
    assert promote(second) == 2
    with pytest.raises(Halt, match="superseded"):
        promote(first)
    assert in_use(first) == (2, 2)


def test_an_earlier_champion_comes_back_with_a_reason_and_only_an_earlier_champion(
    first: Run, second: Run
) -> None:
    promoted(first)
    promoted(compare(second), "q2")
    with pytest.raises(BadInput, match="in use already"):
        rollback(first.store, 2, PHYSICIAN, "harm")
    with pytest.raises(BadInput, match="never in use"):
        rollback(first.store, 3, PHYSICIAN, "harm")
    with pytest.raises(BadInput, match="a person and a reason"):
        rollback(first.store, 1, PHYSICIAN, " ")
    with pytest.raises(BadInput, match="a person and a reason"):
        rollback(first.store, 1, NOBODY, "harm")
    assert in_use(first) == (2, 2)
    assert rollback(first.store, 1, PHYSICIAN, "harm") == 1
    assert in_use(first) == (1, 1)
    # A promotion that is run again, as a cleared task is, does not undo the rollback.
    assert promote(run_of(first.store, "second-against-1"), "q2") == 2
    assert in_use(first) == (1, 1)
    assert rollback(first.store, 2, PHYSICIAN, "it was the camera") == 2
    assert in_use(first) == (2, 2)
    with mlflow_client(first.store) as client:
        status = [client.get_model_version(MODEL, number).tags["status"] for number in "12"]
    assert status == ["previous champion", "champion"]


def test_a_rollback_that_is_run_again_only_mends_the_alias(
    first: Run, second: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(first)
    promoted(compare(second), "q2")
    monkeypatch.setattr("tasks.release.rollback.follow_ledger", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rollback(first.store, 1, PHYSICIAN, "harm", "run a")
    assert in_use(first) == (1, 2)
    monkeypatch.undo()
    assert rollback(first.store, 1, PHYSICIAN, "harm", "run a") == 1
    assert in_use(first) == (1, 1)
    assert sum(isinstance(each, Rollback) for each in promotions_in(first.store).facts) == 1
    # Weeks later somebody clears the old task: nothing moves in the physician's name.
    rollback(first.store, 2, COLLEAGUE, "it was the camera", "run b")
    rollback(first.store, 1, PHYSICIAN, "harm", "run a")
    assert in_use(first) == (2, 2)


def test_evidence_that_changed_after_the_question_promotes_nothing(first: Run) -> None:
    approved(first)
    bundle = Path(first.store.uri, "runs/first/evidence")
    reseal(bundle, {"environment.json": (bundle / "environment.json").read_bytes() + b" "})
    with pytest.raises(Corrupt, match="not the bundle that was registered"):
        promote(first)
    assert in_use(first) == (None, None)


def test_a_policy_weakened_under_its_own_name_is_not_known(first: Run) -> None:
    bundle = Path(first.store.uri, "runs/first/evidence")
    now = promotions_in(first.store)
    assert known_policy(Bundle(str(bundle)), now).name == "smoke"
    reseal(bundle, {"policy.yaml": policy_bytes("smoke") + b"# weaker\n"})
    with pytest.raises(BadInput, match="does not know the policy"):
        known_policy(Bundle(str(bundle)), now)


def test_a_ledger_that_was_cut_short_is_noticed_by_what_mlflow_holds(first: Run) -> None:
    promoted(first)
    last = len(promotions_in(first.store).facts)
    with mlflow_client(first.store) as client:
        assert champion(client, first.store)
        first.store.delete(entry_key(last, FOLDER))
        with pytest.raises(Corrupt, match="cut short"):
            champion(client, first.store)


# The command line --------------------------------------------------------------------------------


def test_people_decide_on_the_command_line_and_the_ledger_says_that_nobody_logged_in(
    first: Run,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(VARIABLE, ENGINEER.model_dump_json())
    answer = ["decide", "--run", first.uri, "--reason", "It finds more."]
    assert main([*answer, "--approve"]) == 64  # the engineer, who trained
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    assert main(answer) == 64  # neither yes nor no
    assert main([*answer, "--approve"]) == 0
    capfd.readouterr()
    assert main(["ledger", "--store", first.store.uri, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["champion"]["version"] == 1
    assert told["alias_differs"] is None
    given = [each["content"] for each in told["entries"] if each["kind"] == "answer"]
    assert [(each["by"]["name"], each["by"]["authenticated"]) for each in given] == [
        ("engineer", True),
        ("anna", False),
    ]
    assert main(["ledger", "--store", first.store.uri]) == 0
    table = " ".join(capfd.readouterr().out.split())
    assert "user anna, not" in table
    assert "Champion: version 1." in table
    assert main(["ledger", "--store", first.store.uri, "--on", "2020-01-01"]) == 0
    assert "No model was in use." in capfd.readouterr().out
    assert main(["ledger", "--store", first.store.uri, "--on", "yesterday"]) == 64
    logging.getLogger("tasks").info("the handler of the last command is replaced")


def test_the_ledger_is_verified_without_mlflow_too(
    first: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A copy of the folder of the ledger, as an archive keeps it."""
    promoted(first)
    ledger = Path(shutil.copytree(f"{first.store.uri}/ledger", tmp_path / "archive" / "ledger"))
    capfd.readouterr()
    assert main(["ledger", "--store", str(tmp_path / "archive")]) == 0
    said = capfd.readouterr()
    assert "Champion: version 1." in said.out
    assert "No MLflow is named" in said.err
    entry = ledger / "promotions" / "000001.json"
    entry.write_bytes(entry.read_bytes().replace(b"physician", b"physicist"))
    entry.write_bytes(entry.read_bytes().replace(b'"number": 1', b'"number": 2'))
    assert main(["ledger", "--store", str(tmp_path / "archive")]) == 64
    assert main(["ledger", "--store", str(tmp_path / "archive"), "--repair"]) == 64


def test_a_rollback_on_the_command_line_asks_for_a_version_that_was_in_use(
    first: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    promoted(first)
    argv = ["rollback", "--store", first.store.uri, "--reason", "harm", "--to"]
    assert main([*argv, "1"]) == 64
    assert "in use already" in capfd.readouterr().err


def test_of_a_run_that_no_person_started_who_delivered_may_not_approve_alone(
    first: Run, second: Run
) -> None:
    nobody = json.dumps({"by": NOBODY.model_dump(mode="json"), "at": "2026-11-01T00:00:00+00:00"})
    for run in (first, second):
        run.store.replace(f"runs/{run.name}/started.json", nobody.encode())
        run.store.create(f"runs/{run.name}/config.json", b"{}")  # as the command line does
    question = ask(second, "q", NOBODY)
    (deliverer,) = question.trained_by
    assert (question.did, question.asked.approvals) == (DELIVERED, 1)
    assert "delivered the newest" in decide(second.store, "q", "approve", deliverer, "x").refused
    assert not decide(second.store, "q", "approve", PHYSICIAN, "x").refused

    # What came in past deliver is nobody's, so two people must approve.
    listed = json.loads(first.store.read("runs/first/raw.json"))
    listed.append({"key": "raw/x/nevus/1.png", "size_bytes": 1, "etag": "1"})
    first.store.replace("runs/first/raw.json", json.dumps(listed).encode())
    question = ask(first, "r", NOBODY)
    assert (question.trained_by, question.asked.approvals) == ((), 2)
