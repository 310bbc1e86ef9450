"""People who decide about models."""

from tasks.engine.person import Person
from tasks.engine.run import Run
from tasks.registry.promotions import Question
from tasks.release.decide import decide
from tasks.release.promote import promote
from tasks.release.question import ask

PHYSICIAN = Person(name="physician", how="Airflow", authenticated=True)
COLLEAGUE = Person(name="colleague", how="Airflow", authenticated=True)
NOBODY = Person(name="", how="event", authenticated=False)


def approved(run: Run, name: str = "asked by a test") -> Question:
    """A question about a run's model that as many people have approved as must."""
    question = ask(run, name, NOBODY)
    for person in (PHYSICIAN, COLLEAGUE)[: question.asked.approvals]:
        assert not decide(run.store, name, "approve", person, "It finds more.").refused
    return question


def promoted(run: Run, name: str = "asked by a test") -> int:
    """The version of a run's model, which people approved and which is the champion now."""
    return promote(run, approved(run, name).id)
