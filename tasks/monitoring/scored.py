"""The result of scoring a model, and its form as plain text."""

from tasks.lesions import MELANOMA
from tasks.records.figures import Figures
from tasks.records.record import Frozen
from tasks.release.card import counted, measured


class LeftOut(Frozen):
    """An image that was not scored, and why."""

    image_id: str
    reason: str


class Scored(Frozen):
    """The result of scoring a model on a labelled folder.

    Attributes:
        evidence: Address of the model's evidence; None without evidence.
        known_images_left_out: Number of images left out because the model learned from them, or
            from near duplicates, the same lesion or the same patient; None if not known.
        left_out: All images that were not scored.
        figures: Figures on the scored images, the same as those of `evaluate`.
        inside: Sensitivity and specificity on the model's own test part, from the evidence.
        test_images: Number of scored images of the model's test part, which are a look that the
            ledger counts; None if not known.
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
            [f"{scored.test_images} of them are in its test part: the ledger counts this look."]
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
            "no evidence bundle. The figures may be too good."
        )
    return (
        f"{left_out} images were left out because the model learned from them, or from others that "
        "show the same."
    )
