"""The other cancers, and their precursor: what specificity must not count as rightly left alone."""

from dataclasses import dataclass

from tasks.lesions import Diagnosis
from tasks.records.figures import Figures, Proportion

CANCERS: tuple[Diagnosis, ...] = ("basal cell carcinoma", "squamous cell carcinoma")
# Some actinic keratoses become squamous cell carcinomas (Criscione et al., Cancer 115:2523, 2009).
PRECURSORS: tuple[Diagnosis, ...] = ("actinic keratosis",)


@dataclass(frozen=True)
class Serious:
    """One class of lesions that a clinician must not leave alone, though it is no melanoma.

    Attributes:
        precursor: Whether it is none yet, but may become a cancer.
        called: How many were called melanoma, at the threshold; None if it was not recorded.
        recall: How many had their own class as the first answer.
    """

    name: Diagnosis
    precursor: bool
    called: Proportion | None
    recall: Proportion


def serious_of(figures: Figures) -> list[Serious]:
    """Those of which there are lesions in the test part."""
    return [
        Serious(name, name in PRECURSORS, (figures.called or {}).get(name), each.recall)
        for name in (*CANCERS, *PRECURSORS)
        if (each := figures.per_class.get(name)) and each.recall.n
    ]
