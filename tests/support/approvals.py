"""People who decide about models."""

import shutil
from pathlib import Path

from tasks.engine.directory import DirectoryStore
from tasks.engine.person import Person
from tasks.engine.run import Run
from tasks.records.evaluated import Evaluated
from tasks.records.registered import Registered
from tasks.registry.promotions import Asked, Model, Question
from tasks.registry.versions import MODEL, mlflow_client
from tasks.release.decide import decide
from tasks.release.promote import promote
from tasks.release.question import ask

ENGINEER = Person(name="engineer", how="Airflow", authenticated=True)
PHYSICIAN = Person(name="physician", how="Airflow", authenticated=True)
COLLEAGUE = Person(name="colleague", how="Airflow", authenticated=True)
NOBODY = Person(name="", how="event", authenticated=False)


def question_about(run: Run) -> Question:
    """A question about a run's model, as `ask` would put it, that stands in no ledger."""
    evaluated, registered = run.record("evaluate"), run.record("register")
    assert isinstance(evaluated, Evaluated)
    assert isinstance(registered, Registered | None)
    model = Model(
        version=registered.version if registered else 1,
        run=run.uri,
        model_sha256=evaluated.model.sha256,
        threshold=evaluated.threshold,
        classes=evaluated.classes,
        evidence_sha256=registered.evidence.sha256 if registered else None,
    )
    one = Asked(approvals=1, different_from_trainer=True, authenticated=False, one_person=False)
    return Question(
        id="asked by a test", model=model, champion=None, asked_by=NOBODY,
        trained_by=(COLLEAGUE,), asked=one, deadline=None,
    )  # fmt: skip


def approved(run: Run, name: str = "asked by a test") -> Question:
    """A question about a run's model that as many people have approved as must."""
    question = ask(run, name, NOBODY)
    for person in (PHYSICIAN, COLLEAGUE)[: question.asked.approvals]:
        assert not decide(run.store, name, "approve", person, "It finds more.").refused
    return question


def promoted(run: Run, name: str = "asked by a test") -> int:
    """The version of a run's model, which people approved and which is the champion now."""
    return promote(run, approved(run, name).id)


def copy_with_two(store: Path, to: Path) -> DirectoryStore:
    """A copy of a store with the models of the runs ``first`` and ``second``, to be promoted in.
    MLflow's artifacts stay where they were."""
    copy = DirectoryStore(Path(shutil.copytree(store, to)))
    with mlflow_client(copy) as client:
        for version, name in (("1", "first"), ("2", "second")):
            client.set_model_version_tag(MODEL, version, "run", f"{copy.uri}/runs/{name}")
    return copy
