"""Who answers for a training, and so may not be the only one to approve its model."""

from tasks.engine.deliveries import answerable_for
from tasks.engine.person import Person
from tasks.engine.run import Run
from tasks.engine.started import started_by
from tasks.records.trained import Trained

STARTED = "started the training"
DELIVERED = "delivered the newest files of the training or set its defaults"


def trainers_of(run: Run) -> tuple[tuple[Person, ...], str]:
    """Who answers for the training of a run's model, and why.

    A person who started the run; of a run that a schedule or an event started, who delivered its
    newest files and who set its defaults.

    Returns:
        The people, empty if nobody is known; and what they did, in words.

    Raises:
        Corrupt: The ledger of deliveries is damaged.
    """
    trained = run.record("train")
    if not isinstance(trained, Trained) or trained.provenance is None:
        return (), STARTED
    of = trained.provenance.reused_from or run.name
    person = started_by(run.store, of)
    if person and person.name:
        return (person,), STARTED
    found = answerable_for(run.store, of)
    return found, DELIVERED if found else STARTED
