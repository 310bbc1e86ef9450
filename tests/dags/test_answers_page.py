"""The page of what people answered about a model, and whether it counts."""

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.config import Retraining
from tasks.engine.directory import DirectoryStore
from tasks.engine.person import Person
from tasks.engine.run import open_run
from tasks.engine.store import Store
from tasks.records.registered import Registered
from tasks.registry.promotions import Asked, Model, Question, append
from tasks.registry.versions import MODEL
from tasks.release.decide import decide
from tests.support.approvals import NOBODY, PHYSICIAN
from tests.support.judged import NOTHING
from tests.support.reported import HOSTILE, commit

ENGINEER = Person(name="engineer", how="Airflow", authenticated=True)


@pytest.fixture
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # Importing Airflow writes a configuration file into AIRFLOW_HOME.
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags.pages import answers

    return answers


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in which a person was asked about the model of the run `first`."""
    store = DirectoryStore(tmp_path)
    model = Model(
        version=1, run=f"{store.uri}/runs/first", model_sha256="1" * 64, threshold=0.4,
        classes=("melanoma", "nevus"), evidence_sha256=None,
    )  # fmt: skip
    one = Asked(approvals=1, different_from_trainer=True, authenticated=False, one_person=False)
    question = Question(
        id="q", model=model, champion=None, asked_by=NOBODY, trained_by=(ENGINEER,), asked=one,
        deadline=None, subject="Shall version 1 go into use?",
    )  # fmt: skip
    append(store, "", lambda now: question)
    for run, sha256 in (("first", "1" * 64), ("second", "2" * 64)):
        registered = Registered(
            name=MODEL, version=1, alias="challenger", newly=True, model_sha256=sha256,
            evidence=NOTHING,
        )  # fmt: skip
        commit(open_run(f"{store.uri}/runs/{run}", Retraining()), {"register": registered})
    return store


def page_of(answers: Any, store: Store, run: str) -> str:
    from dags.pages.contents import Folder

    return str(answers.answers(Folder(store, run)))


def test_why_an_answer_does_not_count_stands_beside_it(answers: Any, store: Store) -> None:
    decide(store, "q", "approve", ENGINEER, "I made it.", "2026-11-29T10:44:48+00:00")
    page = page_of(answers, store, "first")
    assert "does not count: engineer started the training" in page
    assert "Open: a person must answer." in page
    assert " UTC</td>" in page
    decide(store, "q", "approve", PHYSICIAN, "It finds more.")
    page = page_of(answers, store, "first")
    assert "approved by physician (Airflow)</td><td>It finds more." in page
    assert "Open:" not in page


def test_a_run_that_nobody_was_asked_about_has_no_answers(answers: Any, store: Store) -> None:
    page = page_of(answers, store, "second")
    assert "Nobody was asked about the model of this run." in page
    assert "Shall version 1" not in page


def test_reasons_are_text(answers: Any, store: Store) -> None:
    decide(store, "q", "reject", PHYSICIAN, HOSTILE)
    assert "<script" not in page_of(answers, store, "first")
    assert "Rejected." in page_of(answers, store, "first")
