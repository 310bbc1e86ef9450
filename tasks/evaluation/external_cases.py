"""What the gate judges on external sets: figures with the confidence that earlier looks leave.

They follow from predictions and ledger alone, so anybody can recompute them.
"""

from collections.abc import Mapping

import pandas as pd

from tasks.engine.ledger import Chain
from tasks.evaluation.elsewhere import NO_AREA
from tasks.evaluation.policy import Policy
from tasks.evaluation.rules import Elsewhere
from tasks.evaluation.scoring import by_lesion, figures
from tasks.lesions import MELANOMA, Diagnosis
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Estimate, Figures
from tasks.splitting.looks import identity_of, looks_before
from tasks.statistics.differences import difference_of_estimates, difference_of_proportions
from tasks.statistics.proportions import proportion
from tasks.statistics.ranking import auc


def area_of(
    predictions: pd.DataFrame, classes: tuple[Diagnosis, ...], confidence: float
) -> Estimate:
    """Area under the ROC curve: melanoma lesions against all others."""
    lesions = by_lesion(predictions, classes)
    melanoma = (lesions["label"] == MELANOMA).to_numpy()
    scores = lesions[MELANOMA].to_numpy(float)
    return auc(scores[melanoma], scores[~melanoma], confidence)


def _of_headline(predictions: pd.DataFrame, own: Figures) -> pd.DataFrame:
    """The predictions of the archives that hold both kinds of lesions, if any does."""
    if not own.mixed or not own.mixed.archives:
        return predictions
    return predictions[predictions["source"].isin(own.mixed.archives)]


def elsewhere_of(
    evaluated: Evaluated,
    predictions: pd.DataFrame,
    sets: Mapping[str, pd.DataFrame],
    policy: Policy,
    chain: Chain,
) -> tuple[Elsewhere, ...]:
    """The figures on each external set, with the confidence that the looks at the set leave.

    Args:
        evaluated: Figures of the run, as they are judged.
        predictions: Predictions of the test part, as they are judged.
        sets: Predictions of each set.
        policy: What a look costs.
        chain: The ledger.
    """
    own, found = evaluated.figures, []
    for each in evaluated.external:
        rows = sets.get(each.name)
        identity = identity_of(evaluated.model.sha256, each.set_sha256, evaluated.threshold)
        earlier = 0 if rows is None else looks_before(chain, rows, identity)
        confidence = policy.confidence(earlier + 1)
        melanomas, others, area = proportion(0, 0), proportion(0, 0), NO_AREA
        if rows is not None:
            made = figures(rows, own.classes, own.threshold, {})
            melanomas, others = made.sensitivity, made.specificity
            area = area_of(rows, own.classes, confidence)
        inside = area_of(_of_headline(predictions, own), own.classes, confidence)
        found.append(
            Elsewhere(
                name=each.name,
                sensitivity=melanomas,
                specificity=others,
                auc=area,
                sensitivity_drop=difference_of_proportions(
                    own.headline.sensitivity, melanomas, confidence
                ),
                auc_drop=difference_of_estimates(inside, area),
                confidence=confidence,
                earlier=earlier,
            )
        )
    return tuple(found)
