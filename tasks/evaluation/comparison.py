"""Compare two models on the same lesions: the melanomas that each finds and the other misses.

A comparison depends only on predictions, so anybody can recompute it without the models and
without MLflow.
"""

from typing import Any

import numpy as np
import pandas as pd

from tasks.lesions import MELANOMA
from tasks.records.evaluated import Comparison, Ranking
from tasks.statistics.confidence import CONFIDENCE
from tasks.statistics.proportions import proportion
from tasks.statistics.ranking import auc, auc_difference

Array = np.ndarray[Any, Any]

# Columns of predictions: the melanoma probability of the champion, and of the standing challenger.
COLUMN = "champion_melanoma"
STANDING = "standing_melanoma"


def compared(
    lesions: pd.DataFrame, threshold: float, champions: float, confidence: float = CONFIDENCE
) -> Comparison:
    """Compare challenger and champion, paired by lesion.

    Args:
        lesions: As `tasks.evaluation.scoring.by_lesion` gives them, with the mean probabilities (0
            to 1) of the challenger in `MELANOMA` and of the champion in `COLUMN`.
        threshold: The challenger's threshold.
        champions: The champion's threshold.
        confidence: Confidence of the interval of `auc_difference`, 0 to 1.
    """
    melanoma = (lesions["label"] == MELANOMA).to_numpy()
    own, other = (lesions[name].to_numpy(float) for name in (MELANOMA, COLUMN))
    found, found_by_champion = own >= threshold, other >= champions
    lost = melanoma & found_by_champion & ~found
    return Comparison(
        threshold=champions,
        sensitivity=proportion(int((found_by_champion & melanoma).sum()), int(melanoma.sum())),
        specificity=proportion(int((~found_by_champion & ~melanoma).sum()), int((~melanoma).sum())),
        auc=auc(other[melanoma], other[~melanoma]),
        both_found=int((melanoma & found & found_by_champion).sum()),
        champion_only=int(lost.sum()),
        challenger_only=int((melanoma & found & ~found_by_champion).sum()),
        neither_found=int((melanoma & ~found & ~found_by_champion).sum()),
        auc_difference=auc_difference(
            (own[melanoma], own[~melanoma]), (other[melanoma], other[~melanoma]), confidence
        ),
        lost=tuple(lesions.loc[lost, "image_ids"]),
    )


def ranked(lesions: pd.DataFrame, threshold: float, standings: float) -> Ranking:
    """Compare a new model and the standing challenger, paired by lesion.

    Args:
        lesions: As for `compared`, with the standing challenger's probability in `STANDING`.
        threshold: The new model's threshold.
        standings: The standing challenger's threshold.
    """
    other = lesions.drop(columns=COLUMN, errors="ignore").rename(columns={STANDING: COLUMN})
    found = compared(other, threshold, standings)
    return Ranking(
        threshold=standings,
        sensitivity=found.sensitivity,
        specificity=found.specificity,
        auc=found.auc,
        auc_difference=found.auc_difference,
        only_standing=found.champion_only,
        only_new=found.challenger_only,
    )
