"""A model is put before people in Airflow, and goes into use or back, as they decide."""

import subprocess
import sys
from typing import Any

import pytest

from demo.airflow_api import ENGINEER, POLICY, PROMOTION, RETRAINING, ROLLBACK
from demo.place import CODE
from demo.services import is_step, processes_of
from demo.settings import MARK
from tasks.errors import BadInput
from tasks.records.record import sha256
from tasks.records.registered import Registered
from tasks.records.trained import Trained
from tasks.registry.promotions import Rollback, promotions_in
from tests.support.demo import PASSING, Demo
from tests.support.policies import OURS, like, put


def test_a_registered_model_waits_for_a_person_who_reads_the_evidence(demo: Demo) -> None:
    promotion = demo.waiting_promotion()
    path = f"dags/{PROMOTION}/dagRuns/{promotion}/taskInstances/decide/-1/hitlDetails"
    shown = demo.airflow.request("GET", path)
    registered = demo.record(demo.first, "register")
    assert isinstance(registered, Registered)
    assert f"{registered.name}, version {registered.version}" in shown["body"]
    assert "Melanoma sensitivity" in shown["body"]
    assert "**Gate: pass.**" in shown["body"]
    assert f"Training started by: {ENGINEER}" in shown["body"]
    assert registered.evidence.sha256 in shown["body"]
    assert f"version {registered.version}" in shown["subject"]
    assert shown["defaults"] == ["Reject"]


def test_who_started_the_training_may_not_approve(demo: Demo) -> None:
    promotion = demo.waiting_promotion()
    demo.say(demo.airflow, promotion, "Approve")
    demo.wait(lambda: len(demo.answers) == 1)
    assert "engineer started the training" in demo.answers[0].refused
    assert demo.waiting_promotion() == promotion  # asked again
    text = "\n".join(demo.airflow.log(PROMOTION, promotion, "decide"))
    assert "does not count: engineer started the training" in text
    assert promotions_in(demo.store).champion is None


def test_another_person_approves_and_the_challenger_becomes_the_champion(demo: Demo) -> None:
    registered = demo.record(demo.first, "register")
    assert isinstance(registered, Registered)
    assert demo.champion is None
    states = demo.answer(demo.waiting_promotion(), "Approve")
    assert (states["decide_second"], states["promote"]) == ("skipped", "success")
    assert demo.champion == registered.version
    last = demo.answers[-1]
    assert (last.by.in_words, last.refused, last.reason) == ("physician (Airflow)", "", "a test")
    bundle = f"{demo.home}/store/runs/{demo.first}/evidence"
    verified = subprocess.run(
        [sys.executable, "-m", "tasks", "verify", "--evidence", bundle],
        cwd=CODE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (verified.returncode, "holds: pass" in verified.stdout) == (0, True), verified.stderr


def test_a_killed_recipe_is_trained_again_alone_and_a_rejected_challenger_changes_nothing(
    demo: Demo,
) -> None:
    both = PASSING | {"recipes": ["baseline", "regularized"], "balance_policy": "none", "seed": 7}
    demo.airflow.trigger(RETRAINING, both, "another-seed")
    training = "runs/another-seed/train/regularized/progress.json"
    demo.wait(lambda: bool(list(demo.store.list(training))))  # it has trained for one epoch
    for process in processes_of(demo.home, MARK):
        if "--part regularized" in " ".join(process.cmdline()) and is_step(process):
            process.kill()
    demo.wait(lambda: demo.airflow.state(RETRAINING, "another-seed") in ("success", "failed"))

    tasks = demo.airflow.tasks(RETRAINING, "another-seed")
    tries = {name: (tasks[name].state, tasks[name].tries) for name in tasks if "train" in name}
    assert tries == {
        "train/baseline": ("success", 1),
        "train/regularized": ("success", 2),
        "train": ("success", 1),
    }
    trained = demo.record("another-seed", "train")
    assert isinstance(trained, Trained)
    assert [each.recipe for each in trained.recipes] == ["baseline", "regularized"]
    registered = demo.record("another-seed", "register")
    assert isinstance(registered, Registered)
    assert demo.answer(demo.waiting_promotion(), "Reject")["promote"] == "skipped"
    assert demo.champion == registered.version - 1


def test_a_decision_that_is_marked_as_a_success_promotes_nothing(demo: Demo) -> None:
    run = f"{demo.home}/store/runs/another-seed"
    demo.airflow.trigger(PROMOTION, {"run": run}, "forced")
    assert demo.waiting_promotion() == "forced"
    path = f"dags/{PROMOTION}/dagRuns/forced/taskInstances/decide"
    demo.physician.request("PATCH", path, {"new_state": "success"})
    assert demo.ended(PROMOTION, "forced") == "failed"
    text = "\n".join(demo.airflow.log(PROMOTION, "forced", "promote"))
    assert "Nobody has approved the model." in text
    assert demo.champion == 1


def test_a_rejected_model_may_be_asked_about_again_and_the_champion_comes_back(
    demo: Demo,
) -> None:
    demo.airflow.trigger(PROMOTION, {"run": f"{demo.home}/store/runs/another-seed"}, "again")
    assert demo.answer(demo.waiting_promotion(), "Approve")["promote"] == "success"
    assert demo.champion == 2
    form = {"version": 1, "reason": "It called a ruler melanoma."}
    demo.physician.trigger(ROLLBACK, form, "back")
    assert demo.ended(ROLLBACK, "back") == "success"
    assert demo.champion == 1
    last = promotions_in(demo.store).facts[-1]
    assert isinstance(last, Rollback)
    assert (last.by.in_words, last.reason) == ("physician (Airflow)", form["reason"])


@pytest.mark.parametrize(
    ("form", "told"),
    [({"version": 1, "reason": ""}, "a person and a reason"), ({"reason": "harm"}, "never in use")],
)
def test_a_rollback_without_a_reason_or_a_version_is_refused(
    demo: Demo, form: dict[str, Any], told: str
) -> None:
    run = demo.physician.trigger(ROLLBACK, form)
    assert demo.ended(ROLLBACK, run) == "failed"
    assert told in "\n".join(demo.airflow.log(ROLLBACK, run, "rollback"))


def test_two_people_approve_a_policy_of_the_installations_own(demo: Demo) -> None:
    put(demo.store, like("smoke"))
    demo.airflow.trigger(POLICY, {"policy": OURS}, "ours")
    demo.answer_about_policy(demo.airflow, "ours", "decide", "Approve")
    demo.answer_about_policy(demo.airflow, "ours", "decide_second", "Approve")  # the same person
    demo.wait(lambda: "approved already" in demo.answers[-1].refused)
    assert promotions_in(demo.store).approved_policy(sha256(like("smoke"))) is None
    demo.answer_about_policy(demo.physician, "ours", "decide_second", "Approve")
    assert demo.ended(POLICY, "ours") == "success"
    now = promotions_in(demo.store)
    question = now.approved_policy(sha256(like("smoke")))
    assert question
    assert [each.by.in_words for each in now.answers(question.id)] == [
        f"{ENGINEER} (Airflow)",
        "physician (Airflow)",
    ]


def test_a_file_that_is_no_policy_is_put_before_nobody(demo: Demo) -> None:
    with pytest.raises(BadInput, match="policies/"):
        demo.airflow.trigger(POLICY, {"policy": "raw/ours.yaml"})
    run = demo.airflow.trigger(POLICY, {"policy": "policies/none.yaml"})
    assert demo.ended(POLICY, run) == "failed"
    assert "There is no such policy." in "\n".join(demo.airflow.log(POLICY, run, "propose"))
    with pytest.raises(BadInput, match="policy"):
        demo.airflow.trigger(RETRAINING, PASSING | {"policy": "policies/../ours.yaml"})
