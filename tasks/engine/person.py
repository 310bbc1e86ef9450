"""Who acts: the person behind a command, as far as the program can know."""

import getpass
import os
from typing import Literal

from pydantic import Field, ValidationError

from tasks.errors import BadInput
from tasks.records.record import Frozen

# Set by an orchestrator for the commands that it runs: a `Person`, in JSON.
VARIABLE = "MELANOMA_PERSON"
ONE_PERSON = "MELANOMA_ONE_PERSON"  # environment variable: "yes" switches the second person off

How = Literal["Airflow", "app", "command line", "schedule", "event"]


class Person(Frozen):
    """A person, and how the program knows the name."""

    name: str = Field(description="Login of the person; empty if nobody is known.")
    how: How = Field(description="Where the name comes from, or what acted without a person.")
    authenticated: bool = Field(description="Whether a login with a secret stands behind the name.")

    @property
    def in_words(self) -> str:
        """Such as ``physician (Airflow)`` or ``command line, user anna, not authenticated``."""
        if not self.name:
            return f"nobody ({self.how})"
        if self.authenticated:
            return f"{self.name} ({self.how})"
        return f"{self.how}, user {self.name}, not authenticated"

    def is_same(self, other: "Person") -> bool:
        """Whether both have the same name. Logins of any case and of any source are compared: one
        person may have both an account of Airflow and one of the machine."""
        return bool(self.name) and self.name.casefold() == other.name.casefold()


def person_here() -> Person:
    """The person whom the orchestrator names, else the user of this process.

    Raises:
        BadInput: The orchestrator's variable cannot be read.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return Person(name=_user(), how="command line", authenticated=False)
    try:
        return Person.model_validate_json(given)
    except ValidationError as error:
        raise BadInput(
            "It is not known who acts.",
            expected=f"{VARIABLE} as the orchestrator sets it, or no such variable",
            received=" ".join(str(error).split())[:200],
            do=f"remove {VARIABLE} from the environment",
        ) from error


def works_alone() -> bool:
    """Whether the installation has switched the second person off."""
    return os.environ.get(ONE_PERSON, "").casefold() in ("1", "yes", "true")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
