"""The record of ``check_balance``: how uneven the training part is, and how many copies to draw."""

from pydantic import Field

from tasks.lesions import Diagnosis
from tasks.records.record import Record


class Balance(Record):
    """How uneven the classes of the training part are, and how many copies would balance them."""

    counts: dict[Diagnosis, int] = Field(description="Training images of each class.")
    rarest: Diagnosis = Field(description="The class with the fewest training images.")
    dominating: Diagnosis = Field(description="The class with the most training images.")
    imbalance_ratio: float = Field(
        description="Images of the dominating class divided by images of the rarest class."
    )
    target: int = Field(
        description="Images that each class should have, copies included; 0 if no copies are "
        "wanted."
    )
    plan: dict[Diagnosis, int] = Field(description="Copies to draw for each class.")
    capped: tuple[Diagnosis, ...] = Field(
        description="Classes that stay below the target, because no image may be copied more often "
        "than `copies_per_image`."
    )
    finding: str = Field(description="Imbalance and plan, as a sentence.")
