"""The figures on external sets beside those on the own test part.

They follow from rows and predictions alone, so anybody can recompute them.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tasks.evaluation.comparison import COLUMN, STANDING, compared, ranked
from tasks.evaluation.scoring import by_lesion
from tasks.intake.folders import folder_means
from tasks.intake.truths import truths_of
from tasks.lesions import Code, Diagnosis
from tasks.records.evaluated import Comparison, Ranking
from tasks.records.figures import Estimate, Figures
from tasks.statistics.differences import difference_of_estimates, difference_of_proportions
from tasks.statistics.proportions import proportion

NO_AREA = Estimate(value=None, lower=None, upper=None, n=0, method="DeLong")


def with_labels(
    rows: pd.DataFrame, coarse: Mapping[str, Diagnosis], classes: tuple[Diagnosis, ...]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of an external set that a model can be judged on, with ``label`` as it counts (a
    class, or `OTHER`) and ``group``; and the number of the other rows by reason, in words.

    Args:
        rows: Rows in the form of the manifest.
        coarse: The class that a person takes for each coarser code.
        classes: The classes that the model knows.
    """
    lesions = [each if isinstance(each, str) else None for each in rows["lesion_id"]]
    codes = [_codes(row) for row in rows.to_dict("records")]
    told = truths_of(codes, lesions, coarse, classes)
    left: dict[str, int] = {}
    for truth in told:
        if truth.counted is None:
            left[truth.why] = left.get(truth.why, 0) + 1
    labels = pd.Series([truth.counted for truth in told], index=rows.index, dtype="str")
    counted = rows.assign(label=labels)[labels.notna()].reset_index(drop=True)
    return counted.assign(group=counted["lesion_id"].fillna(counted["image_id"])), left


def _codes(row: Mapping[Any, Any]) -> tuple[Code, ...]:
    """What tables and the folder say about an image."""
    told = row["archive_diagnosis"]
    codes: tuple[Code, ...] = told if isinstance(told, tuple) else ()
    if isinstance(row["label"], str):
        return (*codes, Code("labels", (row["label"],)))
    folder = str(row["folder"])
    return (*codes, Code("labels", (folder,))) if folder_means(folder) else codes


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
