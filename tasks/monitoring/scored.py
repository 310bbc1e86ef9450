"""The result of scoring a model, and its form as plain text."""

from tasks.figures import listed, plural
from tasks.intake.truths import Kind
from tasks.lesions import MELANOMA, Meaning
from tasks.monitoring.drift import Drift
from tasks.monitoring.drop import Drop
from tasks.records.figures import Figures
from tasks.records.record import Frozen
from tasks.release.card import counted, measured

MAY_BE = ("undecided", "contradiction", "not understood")


class LeftOut(Frozen):
    """An image that was not scored, and why.

    Attributes:
        file: Path below the folder of images.
    """

    image_id: str
    reason: str
    file: str = ""


class Missing(Frozen):
    """An image that the labels name and that is not there.

    Attributes:
        label: As `tasks.intake.truths.Truth.counted`.
        kind: How its label was taken.
    """

    image_id: str
    label: Meaning | None
    kind: Kind

    @property
    def may_be_melanoma(self) -> bool:
        return self.label == MELANOMA or self.kind in MAY_BE


class Scored(Frozen):
    """The result of scoring a model on a labelled folder.

    Attributes:
        evidence: Address of the model's evidence; None without evidence.
        images: Number of images that were scored.
        label_rows: Number of rows of the table of labels.
        known_images_left_out: Number of images left out because the model learned from them, or
            from near duplicates, the same lesion or the same patient; None if not known.
        left_out: All images that were not scored.
        missing: All images that the labels name and that are not there.
        of_no_class: Number of scored images that are not melanoma, and whose class is not known
            or none of the model's.
        figures: Figures on the scored images, the same as those of `evaluate`.
        inside: Sensitivity and specificity on the model's own test part, from the evidence.
        test_images: Number of scored images of the model's test part, which are a look that the
            ledger counts; None if not known.
        drops: `Figures.headline` against that on the model's own test part; empty if they cannot be
            compared, see `not_compared`.
        not_compared: Why figures were not compared, in words; empty if all were.
        drift: What differs from the lesions that the model learned from; None if that is not known
            or there are too few lesions.
    """

    model: str
    model_sha256: str
    evidence: str | None
    images: int
    label_rows: int
    known_images_left_out: int | None
    left_out: tuple[LeftOut, ...]
    missing: tuple[Missing, ...]
    of_no_class: int
    figures: Figures
    inside: dict[str, str] | None
    test_images: int | None = None
    drops: tuple[Drop, ...] = ()
    not_compared: str = ""
    drift: tuple[Drift, ...] | None = None


def in_words(scored: Scored) -> str:
    """The result in plain text."""
    made = scored.figures
    lines = [
        f"{scored.images} images of {made.lesions} lesions scored, {len(scored.left_out)} left "
        "out.",
        *_accounted(scored),
        _overlap_in_words(scored.known_images_left_out),
        *(
            [f"{scored.test_images} of them are in its test part: the ledger counts this look."]
            if scored.test_images
            else []
        ),
        "",
        *_verdicts(scored),
        *_drift(scored),
        "",
        *_headline(made),
        f"Melanoma sensitivity: {counted(made.sensitivity)}",
        f"Melanoma specificity: {counted(made.specificity)}",
        f"Area under the ROC curve: {measured(made.auc)}",
        f"Expected calibration error: {measured(made.calibration.expected_error)}",
        *_of_classes(made),
    ]
    if scored.inside:
        lines += [
            "",
            f"On its own test part: sensitivity {scored.inside['sensitivity']}, specificity "
            f"{scored.inside['specificity']}.",
        ]
    return "\n".join(lines)


def _accounted(scored: Scored) -> list[str]:
    """What became of the rows and images, in sentences."""
    said = []
    if scored.missing:
        gone = [each.image_id for each in scored.missing if each.may_be_melanoma]
        some = listed([each.image_id for each in scored.missing], 3)
        melanomas = f"{len(gone)} of them melanoma or perhaps" if gone else "none of them melanoma"
        said.append(f"{plural(len(scored.missing), 'row')} without an image, {melanomas}: {some}.")
    if scored.of_no_class:
        said.append(
            f"{plural(scored.of_no_class, 'image')} of no class that the model knows, or of a "
            "label coarser than a class: counted as not melanoma, and for no class. --coarse names "
            "the class of a coarser code."
        )
    return said


def _verdicts(scored: Scored) -> list[str]:
    said = [f"Against its own test part: {each.words}." for each in scored.drops]
    return said + [f"{scored.not_compared}."] * bool(scored.not_compared)


def _drift(scored: Scored) -> list[str]:
    if scored.drift is None:
        why = "there is no evidence bundle" if scored.evidence is None else "too few lesions"
        return [f"Whether these lesions differ from what it learned from is not known: {why}."]
    if not scored.drift:
        return ["No drift shown against what it learned from: classes, sources, sizes, colours."]
    return [f"Differs from what it learned from: {each.words}." for each in scored.drift]


def _headline(made: Figures) -> list[str]:
    """The figures that no archive flatters, where they differ from those over all lesions."""
    mixed = made.mixed
    if mixed is None or not mixed.archives or not mixed.left_out:
        return []
    return [
        f"In the archives that hold both kinds of lesions ({', '.join(mixed.archives)}): "
        f"sensitivity {counted(mixed.sensitivity)}, specificity {counted(mixed.specificity)}, "
        f"area {measured(mixed.auc)}. Over all lesions:",
    ]


def _of_classes(made: Figures) -> list[str]:
    """The figures of classes, where the labels name at least two."""
    recalls = {name: each.recall for name, each in made.per_class.items() if each.recall.n}
    if len(recalls) < 2:
        return ["The labels name too few classes for figures of classes."]
    return [
        f"Balanced accuracy: {measured(made.balanced_accuracy)}",
        f"Accuracy: {counted(made.accuracy)}",
        *(
            f"Melanoma against nevus within {each.source} (AUC): {measured(each.auc)}"
            for each in made.within_source
        ),
        *(
            f"Recall of {name}: {counted(each)}"
            for name, each in recalls.items()
            if name != MELANOMA
        ),
    ]


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
