"""What the gate judges on external sets: figures with the confidence that earlier looks leave.

They follow from predictions and ledger alone, so anybody can recompute them. What was judged before
is in `tasks.evaluation.external_history`.
"""

from collections.abc import Mapping

import pandas as pd

from tasks.engine.ledger import Chain
from tasks.evaluation.comparison import COLUMN, compared
from tasks.evaluation.elsewhere import NO_AREA
from tasks.evaluation.external_history import Before, before_of
from tasks.evaluation.policy import Policy
from tasks.evaluation.rules import Elsewhere
from tasks.evaluation.scoring import by_lesion, figures
from tasks.lesions import MELANOMA, Diagnosis
from tasks.records.evaluated import Comparison, Evaluated, External
from tasks.records.figures import Estimate, Figures
from tasks.splitting.earlier_looks import looks_before
from tasks.splitting.looks import identity_of, looks_of
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
    *,
    as_judged: bool = False,
) -> tuple[Elsewhere, ...]:
    """The figures on each external set, with the confidence that the looks at the set leave.

    Args:
        evaluated: Figures of the run, as they are judged.
        predictions: Predictions of the test part, as they are judged.
        sets: Predictions of each set.
        policy: What a look costs.
        chain: The ledger.
        as_judged: Whether images that models were judged on count under the labels, and in the
            lesions, of the first look at them.
    """
    own, found = evaluated.figures, []
    before = before_of(evaluated, sets, chain)
    for each in evaluated.external:
        here = before.get(each.name, Before(None, None))
        rows = here.as_judged if as_judged else here.rows
        identity = identity_of(evaluated.model.sha256, each.set_sha256, evaluated.threshold)
        earlier = 0 if here.rows is None else looks_before(chain, here.rows, identity, each.name)
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
                departed=here.departed,
                comparison=_beside_champion(each, rows, own, confidence),
                relabelled=here.relabelled,
            )
        )
    return tuple(found)


def _beside_champion(
    told: External, rows: pd.DataFrame | None, own: Figures, confidence: float
) -> Comparison | None:
    """The champion on the lesions of a set, with the confidence that the looks leave."""
    if rows is None or told.champion is None or COLUMN not in rows:
        return None
    lesions = by_lesion(rows, (*own.classes, COLUMN))
    return compared(lesions, own.threshold or 0.0, told.champion.threshold, confidence)


def gone_sets(evaluated: Evaluated, chain: Chain) -> tuple[str, ...]:
    """The external sets that models were judged on, and that this one was not."""
    judged = {look.of_set for look in looks_of(chain) if look.of_set}
    return tuple(sorted(judged - {each.name for each in evaluated.external}))
