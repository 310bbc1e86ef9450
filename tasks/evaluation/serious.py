"""Cancers other than melanoma, and their precursor: lesions that specificity counts as harmless."""

from dataclasses import dataclass

from tasks.lesions import Diagnosis
from tasks.records.figures import Figures, Proportion

CANCERS: tuple[Diagnosis, ...] = ("basal cell carcinoma", "squamous cell carcinoma")
# Some actinic keratoses become squamous cell carcinomas (Criscione et al., Cancer 115:2523, 2009).
PRECURSORS: tuple[Diagnosis, ...] = ("actinic keratosis",)


@dataclass(frozen=True)
class Serious:
    """A class of lesions that a clinician must not leave alone, though it is not melanoma.

    Attributes:
        precursor: Whether the lesion is not yet a cancer but may become one.
        called: Lesions called melanoma, at the threshold; None if they were not recorded.
        recall: Lesions whose most probable class was their own class.
    """

    name: Diagnosis
    precursor: bool
    called: Proportion | None
    recall: Proportion


def serious_of(figures: Figures) -> list[Serious]:
    """The serious classes with lesions in the test part."""
    return [
        Serious(name, name in PRECURSORS, (figures.called or {}).get(name), each.recall)
        for name in (*CANCERS, *PRECURSORS)
        if (each := figures.per_class.get(name)) and each.recall.n
    ]
