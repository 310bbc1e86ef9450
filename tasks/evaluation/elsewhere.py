"""The figures on external sets beside those on the own test part.

They follow from rows and predictions alone, so anybody can recompute them.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tasks.evaluation.comparison import COLUMN, STANDING, compared, ranked
from tasks.evaluation.scoring import by_lesion
from tasks.intake.cells import spelling
from tasks.intake.folders import folder_means
from tasks.intake.truths import Truth, truths_of
from tasks.lesions import MELANOMA, OTHER, Code, Diagnosis, Meaning
from tasks.records.evaluated import Comparison, Ranking
from tasks.records.figures import Estimate, Figures
from tasks.splitting.groups import groups_of
from tasks.statistics.differences import difference_of_estimates, difference_of_proportions
from tasks.statistics.proportions import proportion

LESION = "told_lesion_id"  # column: the lesion by the set's tables; ``lesion_id`` is what counts
NO_AREA = Estimate(value=None, lower=None, upper=None, n=0, method="DeLong")


def with_labels(
    rows: pd.DataFrame, coarse: Mapping[str, Diagnosis], classes: tuple[Diagnosis, ...]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of an external set that a model can be judged on, with ``label`` as it counts (a
    class, or `OTHER`) and `LESION`; and the number of the other rows by reason, in words.

    Images of one id, of the same pixels, or near duplicates, count as one lesion with one label,
    whatever tables say: a copied melanoma is found once.

    Args:
        rows: Rows in the form of the manifest, with ``near_duplicate``.
        coarse: The class that a person takes for each coarser code.
        classes: The classes that the model knows.
    """
    linking = rows.assign(
        lesion_id=rows["lesion_id"].map(spelling, na_action="ignore").astype("str"),
        patient_id=pd.Series(pd.NA, rows.index, "str"),  # who may have several lesions
    )
    lesions = groups_of(linking)
    codes = [_codes(row) for row in rows.to_dict("records")]
    truths = truths_of(codes, list(lesions), coarse, classes)
    found = [_beside_folder(*each) for each in zip(truths, rows["folder"], strict=True)]
    left: dict[str, int] = {}
    for _, why in found:
        if why:
            left[why] = left.get(why, 0) + 1
    labels = pd.Series([label for label, _ in found], index=rows.index, dtype="str")
    told = {LESION: rows["lesion_id"], "label": labels, "lesion_id": lesions, "group": lesions}
    counted = rows.assign(**told)
    return counted[labels.notna()].reset_index(drop=True), left


def _codes(row: Mapping[Any, Any]) -> tuple[Code, ...]:
    """What tables, and a folder that is a class, say about an image."""
    told = row["archive_diagnosis"]
    codes: tuple[Code, ...] = told if isinstance(told, tuple) else ()
    return (*codes, Code("labels", (row["label"],))) if isinstance(row["label"], str) else codes


def _beside_folder(truth: Truth, folder: str) -> tuple[Meaning | None, str]:
    """The label as it counts, and why none does: of what codes say, and of what a folder that is
    coarser than a class (``benign``, ``NotMelanoma``) leaves possible."""
    means = folder_means(str(folder)) or ()
    if truth.kind == "silent" and means:
        if MELANOMA not in means:
            return OTHER, ""
        return None, f"the folder {folder} may hold melanomas and others, and no row says more"
    ruled_out = truth.label is not None and bool(means) and truth.label not in means
    if ruled_out or (truth.melanoma and means and MELANOMA not in means):
        return None, f"the folder {folder} rules out what its row names"
    return truth.counted, "" if truth.counted else truth.why


def drops(own: Figures, made: Figures | None) -> tuple[Estimate, Estimate]:
    """The drop in sensitivity, and in the area under the ROC curve, from the own test part to a
    set."""
    found, area = (made.sensitivity, made.auc) if made else (proportion(0, 0), NO_AREA)
    inside = own.headline  # of archives that hold both kinds of lesions
    return (
        difference_of_proportions(inside.sensitivity, found),
        difference_of_estimates(inside.auc, area),
    )


def beside(
    predictions: pd.DataFrame, own: Figures, bars: Mapping[str, float]
) -> tuple[Comparison | None, Ranking | None]:
    """The champion and the standing challenger on the same lesions, each at its own threshold."""
    bar = own.threshold or 0.0
    lesions = by_lesion(predictions, (*own.classes, *bars))
    return (
        compared(lesions, bar, bars[COLUMN]) if COLUMN in bars else None,
        ranked(lesions, bar, bars[STANDING]) if STANDING in bars else None,
    )
