"""What the gate judges on external sets: figures with the confidence that earlier looks leave.

They follow from predictions and ledger alone, so anybody can recompute them.
"""

from collections.abc import Mapping

import pandas as pd

from tasks.engine.judged import DIGITS, Judged
from tasks.engine.ledger import Chain
from tasks.evaluation.elsewhere import NO_AREA
from tasks.evaluation.policy import Policy
from tasks.evaluation.rules import Elsewhere
from tasks.evaluation.scoring import by_lesion, figures
from tasks.lesions import MELANOMA, Diagnosis
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Estimate, Figures
from tasks.records.verdict import Departed
from tasks.splitting.looks import identity_of, looks_before, looks_of
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
        rows, departed = _as_before(sets.get(each.name), judged_in(chain, each.name), evaluated)
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
                departed=departed,
            )
        )
    return tuple(found)


def judged_in(chain: Chain, name: str) -> list[Judged]:
    """The images of an external set that models were judged on, each as it was first."""
    found: dict[str, Judged] = {}
    for look in looks_of(chain):
        if look.of_set == name:
            for image in look.images:
                found.setdefault(image.image_id, image)
    return [found[name] for name in sorted(found)]


def gone_sets(evaluated: Evaluated, chain: Chain) -> tuple[str, ...]:
    """The external sets that models were judged on, and that this one was not."""
    judged = {look.of_set for look in looks_of(chain) if look.of_set}
    return tuple(sorted(judged - {each.name for each in evaluated.external}))


def _as_before(
    rows: pd.DataFrame | None, judged: list[Judged], evaluated: Evaluated
) -> tuple[pd.DataFrame | None, tuple[Departed, ...]]:
    """The predictions on a set, with each image that left it as wrong as can be."""
    here = set() if rows is None else set(rows["image_id"])
    pixels = set() if rows is None else set(rows["pixel_hash"].astype(str).str[:DIGITS])
    gone = [each for each in judged if each.image_id not in here and each.pixels not in pixels]
    if rows is None or not gone:
        return rows, ()
    missed = []
    for each in gone:
        wrong = next(name for name in evaluated.classes if name != each.label)
        answer = wrong if each.label == MELANOMA else MELANOMA
        row: dict[str, object] = dict.fromkeys(rows.columns)
        row |= {"image_id": each.image_id, "lesion": each.lesion, "label": each.label}
        row |= {"source": "unknown", "pixel_hash": each.pixels}
        missed.append(row | {name: float(name == answer) for name in evaluated.classes})
    told = tuple(
        Departed(image_id=each.image_id, lesion=each.lesion, label=each.label) for each in gone
    )
    return pd.concat([rows, pd.DataFrame(missed)], ignore_index=True), told
