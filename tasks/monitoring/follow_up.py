"""outcomes: whether the model in use keeps what it promised, by diagnoses that came later.

Reviewers release lesions with their diagnosis into a delivery. Here, what the app had answered is
counted beside these diagnoses. An alarm promotes no model and takes none back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.engine.ledger import entry_key, next_entry
from tasks.engine.store import Store
from tasks.errors import AlreadyExists, BadInput, Corrupt
from tasks.feedback.decided import FOLDER as FEEDBACK
from tasks.feedback.decided import Decided, Released, decided_in
from tasks.monitoring.counting import counted, of_version
from tasks.monitoring.history import FOLDER, OUTCOMES, History, history_in
from tasks.monitoring.outcomes import OfVersion, Outcomes
from tasks.monitoring.promise import sealed_of
from tasks.registry.champion import promotions_of
from tasks.registry.promotions import Model, Promotions
from tasks.registry.versions import mlflow_client


@dataclass(frozen=True)
class Followed:
    """A look at the released diagnoses, and what its plot shows.

    Attributes:
        outcomes: The look, as it stands in the ledger of monitoring.
        found: For each melanoma of the version in use that counts, in the order of the releases,
            whether the model had called it melanoma.
    """

    outcomes: Outcomes
    found: tuple[bool, ...]


def follow_up(store: Store, name: str = "") -> Followed:
    """Look at the released diagnoses, and enter what they say into the ledger of monitoring. A look
    that says what the last one said is not entered again.

    Args:
        store: The store with the ledgers, and the runs of the models.
        name: Name of the request that tells people of an alarm, such as the DAG run. The first one
            of an alarm is kept. So each alarm is told once, also if a task is done again.

    Raises:
        BadInput: No model is in use, or its evidence is gone.
        Corrupt: A ledger or the evidence was changed.
        Momentary: MLflow or the store does not answer.
    """
    with mlflow_client(store) as client:
        promotions = promotions_of(client, store)
    model = promotions.champion
    if model is None:
        raise BadInput(
            "There is no promise to keep.",
            expected="a model in use",
            received="no model was ever promoted",
            do="promote a model first: python -m tasks decide, or the DAG melanoma_promotion",
        )
    sealed = sealed_of(model)
    while True:
        history = history_in(store)
        decided = decided_in(store)  # read later than what it must continue
        _check_continued(decided, history)
        released = [fact for _, fact in decided.released]
        own, stood = _of(model, released), _alarmed(history)
        found = tuple(counted(own, sealed.pixels).melanomas_found)
        said = Outcomes(
            in_use=of_version(model, own, sealed, stood=model.model_sha256 in stood),
            earlier=_earlier(promotions, model, released, stood),
            never_in_use=len(_never_in_use(promotions, released)),
            released=decided.chain.head,
            told_by="",
        )
        said = said.model_copy(update={"told_by": _told_by(said.in_use, history, name)})
        if history.outcomes and history.outcomes[-1] == said:
            return Followed(said, found)
        content = said.model_dump(mode="json")
        entry = next_entry(history.chain, OUTCOMES, "", content, FOLDER)
        try:
            store.create(entry_key(entry.number, FOLDER), entry.data)
        except AlreadyExists:  # another process was faster
            continue
        return Followed(said, found)


def _of(model: Model, released: Sequence[Released]) -> list[Released]:
    return [each for each in released if each.kept.model_sha256 == model.model_sha256]


def _earlier(
    promotions: Promotions, in_use: Model, released: Sequence[Released], stood: set[str]
) -> tuple[OfVersion, ...]:
    """The earlier versions of which something was released. Evidence that is gone is told."""
    models = {each.model_sha256: each for each in reversed(promotions.earlier)}
    models.pop(in_use.model_sha256, None)
    found = []
    for model in reversed(models.values()):
        own = _of(model, released)
        if not own:
            continue
        sealed, why = None, ""
        try:
            sealed = sealed_of(model)
        except Corrupt:
            raise
        except BadInput as error:
            why = str(error).splitlines()[0].rstrip(".")
        stands = model.model_sha256 in stood
        found.append(of_version(model, own, sealed, no_promise=why, stood=stands))
    return tuple(found)


def _never_in_use(promotions: Promotions, released: Sequence[Released]) -> list[Released]:
    models = [*promotions.earlier, promotions.champion]
    known = {each.model_sha256 for each in models if each}
    return [each for each in released if each.kept.model_sha256 not in known]


def _alarmed(history: History) -> set[str]:
    """The models of which an earlier look raised the alarm."""
    versions = [each for look in history.outcomes for each in (look.in_use, *look.earlier)]
    return {each.model_sha256 for each in versions if each.state == "broken"}


def _told_by(in_use: OfVersion, history: History, name: str) -> str:
    if in_use.state != "broken":
        return ""
    own = (each for each in history.outcomes if each.in_use.model_sha256 == in_use.model_sha256)
    tellers = [each.told_by for each in own if each.told_by]
    return tellers[0] if tellers else name


def _check_continued(decided: Decided, history: History) -> None:
    """Check that the ledger of feedback holds what earlier looks read: releases must not vanish."""
    for each in history.outcomes[-1:]:
        if each.released and not decided.chain.holds(each.released):
            raise Corrupt(
                "The ledger of feedback was cut short or replaced.",
                expected=f"entry {each.released.number} with SHA-256 {each.released.sha256}, "
                "which the ledger of monitoring names",
                received=f"{len(decided.chain.entries)} entries, without this one",
                do=f"restore the folder {FEEDBACK} of the store from a backup, whole",
            )
