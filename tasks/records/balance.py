"""What ``check_balance`` promises: how uneven the training part is, and the plan against it."""

from pydantic import Field

from tasks.lesions import Diagnosis
from tasks.records.record import Record


class Balance(Record):
    """How uneven the training part is, and what would even it out."""

    counts: dict[Diagnosis, int] = Field(description="Training images of each class.")
    rarest: Diagnosis = Field(description="The class with the fewest training images.")
    dominating: Diagnosis = Field(description="The class with the most training images.")
    imbalance_ratio: float = Field(
        description="Images of the dominating class for each image of the rarest."
    )
    target: int = Field(
        description="Images that each class shall have with its copies; 0 if no copies are wanted."
    )
    plan: dict[Diagnosis, int] = Field(description="Copies to draw for each class.")
    capped: tuple[Diagnosis, ...] = Field(
        description="Classes whose copies are fewer than the target asks, because no image is "
        "copied more often than `copies_per_image`."
    )
    finding: str = Field(description="The same as a sentence.")
