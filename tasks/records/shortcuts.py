"""What tells melanoma without its lesion: of the data, as validate finds it."""

from pydantic import Field

from tasks.records.figures import Estimate
from tasks.records.record import Frozen


class Telling(Frozen):
    """How well one thing beside the lesion tells melanoma from all other lesions."""

    about: str = Field(description="The thing, such as the corners or the file.")
    auc: Estimate = Field(
        description="Area under the ROC curve, by lesion, of a classifier that sees nothing else. "
        "Each lesion was scored by a classifier that had not learned from it."
    )
    most: str = Field(
        "",
        description="Of the figures about a shortcut, the one that alone tells most; else empty.",
    )
    shortcut: bool = Field(
        description="Whether it tells so much that a network may learn it instead of the lesion."
    )


class TellingSource(Frozen):
    """A source of images, as far as the files show it, and what it tells."""

    source: str = Field(description="The source in words: archive, numbers, dimensions, format.")
    lesions: int = Field(description="Lesions from the source.")
    melanomas: int = Field(description="How many of them are melanomas.")
    auc: Estimate = Field(
        description="Area under the ROC curve of the rule 'from this source', or of its opposite."
    )
    shortcut: bool = Field(description="As `Telling.shortcut`.")


class Beside(Frozen):
    """Everything but the lesion, asked for melanoma."""

    images: int = Field(description="Accepted images that were looked at.")
    melanomas: int = Field(description="Melanoma lesions.")
    others: int = Field(description="Other lesions.")
    everything: Telling = Field(
        description="All figures of border and file together, without the source."
    )
    things: tuple[Telling, ...] = Field(description="Each group of figures, what tells most first.")
    with_lesion: Telling = Field(
        description="The colour of the whole image, lesion included: it may tell by right."
    )
    sources: tuple[TellingSource, ...] = Field(
        description="The sources that hold enough lesions, what tells most first."
    )
