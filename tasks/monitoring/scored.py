"""What came of scoring a model, and how it is told in plain text."""

from tasks.lesions import MELANOMA
from tasks.records.figures import Figures
from tasks.records.record import Frozen
from tasks.release.card import counted, measured


class LeftOut(Frozen):
    """An image that was not scored, and why."""

    image_id: str
    reason: str


class Scored(Frozen):
    """A model on a labelled folder.

    Attributes:
        evidence: Of the model, that says what it learned from; None if there is none.
        known_images_left_out: Images that the model learned from, or that are too like them; None
            if that could not be found out.
        left_out: All images that were not scored.
        figures: On the rest; the same as `evaluate` gives.
        inside: The sensitivity and specificity that the evidence tells of its own test part.
        test_images: Images of its test part among those that were scored: a look that the ledger
            counts; None if that could not be found out.
    """

    model: str
    model_sha256: str
    evidence: str | None
    images: int
    known_images_left_out: int | None
    left_out: tuple[LeftOut, ...]
    figures: Figures
    inside: dict[str, str] | None
    test_images: int | None = None


def in_words(scored: Scored) -> str:
    """The result in plain text."""
    made = scored.figures
    lines = [
        f"{scored.images} images of {made.lesions} lesions scored, {len(scored.left_out)} left "
        "out.",
        _overlap_in_words(scored.known_images_left_out),
        *(
            [f"{scored.test_images} of them are of its test part: the ledger counts this look."]
            if scored.test_images
            else []
        ),
        "",
        f"Melanoma sensitivity: {counted(made.sensitivity)}",
        f"Melanoma specificity: {counted(made.specificity)}",
        f"Area under the ROC curve: {measured(made.auc)}",
        f"Balanced accuracy: {measured(made.balanced_accuracy)}",
        f"Accuracy: {counted(made.accuracy)}",
        f"Expected calibration error: {measured(made.calibration.expected_error)}",
        *(
            f"Melanoma against nevus within {each.source} (AUC): {measured(each.auc)}"
            for each in made.within_source
        ),
        *(
            f"Recall of {name}: {counted(each.recall)}"
            for name, each in made.per_class.items()
            if each.recall.n and name != MELANOMA
        ),
    ]
    if scored.inside:
        lines += [
            "",
            f"On its own test part: sensitivity {scored.inside['sensitivity']}, specificity "
            f"{scored.inside['specificity']}.",
        ]
    return "\n".join(lines)


def _overlap_in_words(left_out: int | None) -> str:
    if left_out is None:
        return (
            "It is NOT known whether the model learned from any of these images, because there is "
            "no evidence of it. The figures may flatter it."
        )
    return (
        f"{left_out} images were left out because the model learned from them, or from others that "
        "show the same."
    )
