"""What the DAG of an own policy asks, and what the forms offer, without an Airflow that runs."""

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.engine.storage import open_store
from tasks.errors import Momentary
from tasks.registry.promotions import promotions_in
from tasks.release.propose import propose
from tests.support.approvals import NOBODY, question_about
from tests.support.policies import OURS, like, put

BAD = ["policies/../x.yaml", "raw/x.yaml", "/policies/x.yaml", "policies/a b.yaml", "melanoma"]


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags import melanoma_policy

    return melanoma_policy


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MELANOMA_STORE", f"{tmp_path}/")
    return tmp_path


def test_the_policy_is_asked_about_then_two_people_decide(dag: Any) -> None:
    from dags.decision import Decide

    assert dag.proposed.task_id == "propose"
    assert dag.proposed.downstream_task_ids == {"decide"}
    assert dag.decide.downstream_task_ids == {"decide_second"}
    assert (dag.decide.second, dag.second.second) == (False, True)
    for task in (dag.decide, dag.second):
        assert isinstance(task, Decide)
        assert task.defaults == ["Reject"]


def test_the_question_has_one_name_for_the_command_and_for_the_people(dag: Any) -> None:
    from dags.decision import QUESTION, name_of

    run = SimpleNamespace(dag_id="melanoma_policy", run_id="manual__1")
    template = QUESTION[1]
    for found, value in (("dag_run.dag_id", run.dag_id), ("run_id", run.run_id)):
        template = template.replace(f"{{{{ {found} }}}}", value)
    context: Any = {"dag_run": run}
    assert template == name_of(context) == "melanoma_policy, manual__1"
    assert QUESTION[1] in list(dag.proposed.argv)


def test_the_form_takes_files_in_policies_only(dag: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    from dags.form import form

    for field in (dag.proposed.dag.params.get_param("policy"), form()["policy"]):
        assert field.resolve(OURS) == OURS
        for wrong in BAD[:-1]:
            with pytest.raises(ParamValidationError):
                field.resolve(wrong)
    with pytest.raises(ParamValidationError):
        dag.proposed.dag.params.get_param("policy").resolve("melanoma")
    assert form()["policy"].resolve("melanoma") == "melanoma"


def test_a_question_about_a_policy_has_no_pages_of_a_run(
    dag: Any, tmp_path: Path, registered_run: Any
) -> None:
    from dags.decision import links

    store = open_store(str(tmp_path))
    put(store, like("synthetic"))
    assert links(propose(store, OURS, "q", NOBODY)) == ""
    assert "report.html" in links(question_about(registered_run))


def test_who_answers_is_written_down_with_the_login(dag: Any, folder: Path) -> None:
    """The answer comes as Airflow's trigger gives it."""
    from datetime import UTC, datetime

    from airflow.sdk.exceptions import AirflowException

    store = open_store(str(folder))
    put(store, like("synthetic"))
    propose(store, OURS, "melanoma_policy, r", NOBODY)
    context: Any = {"dag_run": SimpleNamespace(dag_id="melanoma_policy", run_id="r")}

    def answer(task: Any, user: str | None, reason: str = "We need it.") -> None:
        by = {"id": user, "name": user} if user else None
        task.execute_complete(
            context,
            {
                "chosen_options": ["Approve"],
                "params_input": {"reason": reason},
                "responded_by_user": by,
                "responded_at": datetime.now(UTC),
                "timedout": False,
            },
        )

    answer(dag.decide, "physician")
    with pytest.raises(AirflowException, match="Asking again"):
        answer(dag.second, "Physician")
    with pytest.raises(AirflowException, match="no reason"):
        answer(dag.second, "colleague", "")
    now = promotions_in(store)
    assert now.state(now.policies[0]) == "open"
    answer(dag.second, "colleague")
    now = promotions_in(store)
    assert now.state(now.policies[0]) == "approved"
    assert [each.by.in_words for each in now.answers(now.policies[0].id)] == [
        "physician (Airflow)",
        "colleague (Airflow)",
    ]


# What the forms offer -----------------------------------------------------------------------------


def test_the_forms_offer_the_policies_that_lie_in_the_store(folder: Path) -> None:
    from dags.form import form
    from dags.store import policies_for_form

    assert policies_for_form() == []
    for name in ("ours.yaml", "b-2.yaml", "notes.txt", "odd name.yaml", "deep/a.yaml"):
        put(open_store(str(folder)), b"", f"policies/{name}")
    assert policies_for_form() == ["policies/b-2.yaml", OURS]
    shown = form(policies=policies_for_form())["policy"].schema
    assert shown["examples"] == ["melanoma", "synthetic", "smoke", "policies/b-2.yaml", OURS]
    assert "enum" not in shown  # a file that came later can be typed
    assert re.search(shown["pattern"], "policies/later.yaml")


def test_a_store_that_does_not_answer_offers_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags import store as seen

    put(open_store(str(folder)), b"")
    assert seen.policies_for_form() == [OURS]

    def silent(*_: Any) -> Any:
        raise Momentary("It does not answer.")

    monkeypatch.setattr(seen, "open_store", silent)
    assert seen.policies_for_form() == []
    monkeypatch.undo()
    monkeypatch.delenv("MELANOMA_STORE", raising=False)
    assert seen.policies_for_form() == []
