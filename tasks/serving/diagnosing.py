"""Who may see a lesion that is kept, and the API by which a later diagnosis is entered."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

from fastapi import FastAPI, Form, Request
from pydantic import Field

from tasks.engine.person import Person, person_here
from tasks.engine.store import Store
from tasks.errors import NotFound
from tasks.feedback.kept import LESION, Diagnosed, Kept, Proof, Waiting, diagnose, waiting
from tasks.lesions import Diagnosis
from tasks.records.record import Frozen
from tasks.serving.problems import PROBLEMS
from tasks.serving.settings import Settings


class Entered(Frozen):
    """The diagnosis that stands for a lesion."""

    lesion: str = Field(description="Number of the lesion.")
    diagnosed: Diagnosed = Field(description="The diagnosis that stands: the last one entered.")
    entries: int = Field(description="Diagnoses that were entered so far.")


class Viewer:
    """Who sends a request.

    Attributes:
        login: Login; empty without a login.
        reviewer: Whether this person reviews. Without a login everybody does.
    """

    def __init__(self, request: Request, settings: Settings) -> None:
        self.login: str = getattr(request.state, "person", "")
        self.reviewer = settings.is_reviewer(self.login)

    @property
    def person(self) -> Person:
        """The person, for a ledger. Raises `BadInput` where the process cannot say who acts."""
        if self.login:
            return Person(name=self.login, how="app", authenticated=True)
        return person_here()

    def may_see(self, kept: Kept) -> bool:
        """Whether this person reviews, or has asked about the lesion."""
        return self.reviewer or (bool(self.login) and kept.by == self.login)


def lesion_for(viewer: Viewer, store: Store, lesion: str) -> Waiting:
    """A lesion that is kept.

    Raises:
        NotFound: It is not kept, or is none of this person's business: nobody learns which.
        Corrupt: A file was changed.
    """
    with suppress(NotFound):
        found = waiting(store, lesion)
        if viewer.may_see(found.kept):
            return found
    raise NotFound(
        "No images of this lesion wait.",
        expected="the number of a lesion whose images are kept",
        received=lesion[:40],
        do="correct the number; a lesion that was released or deleted is gone from here",
    )


def entered(
    viewer: Viewer, store: Store, lesion: str, diagnosis: Diagnosis, proof: Proof
) -> Waiting:
    """Enter a diagnosis; a later one corrects the earlier ones.

    Raises:
        NotFound: As `lesion_for`.
        BadInput: The proof does not bear the diagnosis, or there are too many corrections.
    """
    lesion_for(viewer, store, lesion)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    said = Diagnosed(diagnosis=diagnosis, proof=proof, by=viewer.login, at=now)
    return diagnose(store, lesion, said)


def enter_diagnosis(
    request: Request,
    lesion: Annotated[
        str, Form(pattern=f"^{LESION}$", description="Number of the lesion, from its answer.")
    ],
    diagnosis: Annotated[Diagnosis, Form(description="The class.")],
    proof: Annotated[Proof, Form(description="How the diagnosis is proven.")],
) -> Entered:
    """Enter the diagnosis of a lesion whose images are kept. A later entry corrects the earlier
    ones. A melanoma needs histopathology. Who asked about the lesion may, and reviewers."""
    settings, store = request.app.state.settings, request.app.state.follower.store
    found = entered(Viewer(request, settings), store, lesion, diagnosis, proof)
    assert found.diagnosed
    return Entered(lesion=lesion, diagnosed=found.diagnosed, entries=len(found.diagnoses))


def add_diagnosis(app: FastAPI) -> None:
    """Add the address of the API."""
    answers = {status: told for status, told in PROBLEMS.items() if status != 413}
    app.add_api_route("/diagnosis", enter_diagnosis, methods=["POST"], responses=answers)
