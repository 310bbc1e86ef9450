"""The cases that the gate judges: the predictions of a run as they are, and as judged before.

The figures are recomputed from the predictions, with the confidence that the looks at the test part
leave. A second case is needed where judged images left the test part, moved to other lesions, or
had their label superseded. There, each image that left counts as a miss, and each other judged
image has its earlier lesion and label. A third case is needed where images of external sets had
other labels when they were judged first. The worst case counts, so nobody gains by changing the
data after a verdict. The cases depend only on predictions, parts and ledger, so anybody can
recompute a verdict.
"""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from tasks.config import Retraining
from tasks.engine.judged import Judged
from tasks.engine.ledger import Chain
from tasks.evaluation.comparison import COLUMN, compared
from tasks.evaluation.external_cases import elsewhere_of, gone_sets
from tasks.evaluation.policy import Policy
from tasks.evaluation.rules import Case
from tasks.evaluation.scoring import by_lesion, figures
from tasks.lesions import MELANOMA, source_from
from tasks.records.evaluated import Evaluated
from tasks.records.verdict import Departed, Looks, Superseded
from tasks.splitting.earlier_looks import looks_before
from tasks.splitting.groups import straddling
from tasks.splitting.looks import Settled, hash_of_test_part, identity_of, settled_of
from tasks.statistics.confidence import looks_until

BEFORE = (
    "as it was judged before: with each image that left as a miss, and under the labels and in the "
    "lesions of then"
)
ELSEWHERE_BEFORE = "with external images under the labels, and in the lesions, of the first look"


def cases_of(
    policy: Policy,
    config: Retraining,
    evaluated: Evaluated,
    predictions: pd.DataFrame,
    parts: pd.DataFrame,
    chain: Chain,
    elsewhere: Mapping[str, pd.DataFrame] | None = None,
) -> tuple[Case, ...]:
    """The cases to judge: the predictions as they are and, if different, as judged before.

    Args:
        policy: The policy; its spending sets the confidence.
        config: Configuration of the run.
        evaluated: Figures of the run.
        predictions: The table that `evaluated` names.
        parts: The table of the split.
        chain: The ledger, at least up to the entry of this evaluation.
        elsewhere: The table of predictions of each external set that `evaluated` names one for.
    """
    sets = elsewhere or {}
    if evaluated.ledger:  # later entries, about other models, must not change this verdict
        chain = chain.until(evaluated.ledger)
    test = parts[parts["side"] == "test"]
    own = identity_of(evaluated.model.sha256, evaluated.test_part, evaluated.threshold)
    earlier = looks_before(chain, test, own)
    confidence = policy.confidence(earlier + 1)
    ids = pd.concat([parts["image_id"], *(rows["image_id"] for rows in sets.values())])
    drawn = ids.map(source_from).eq("SYNTHETIC")
    settled = settled_of(chain, config.test_part)
    here = Case(
        evaluated=_measured(evaluated, predictions, config, confidence),
        leaks=len(straddling(parts)),
        same_test_part=hash_of_test_part(test) == evaluated.test_part,
        earlier_evaluations=earlier,
        synthetic=bool(drawn.all()),
        drawn=bool(drawn.any()) and policy.spending is not None,
        confidence=confidence,
        looks=_left(policy, evaluated, earlier + 1, confidence),
        departed=_departed(settled, predictions),
        superseded=_superseded(settled, predictions),
    )
    outside = elsewhere_of(here.evaluated, predictions, sets, policy, chain)
    here = replace(here, external=outside, gone_sets=gone_sets(evaluated, chain))
    cases = [here]
    before = _as_before(settled, predictions, evaluated)
    if before is not None:
        seen = _measured(evaluated, before, config, confidence)
        outside = elsewhere_of(seen, before, sets, policy, chain)
        cases.append(replace(here, evaluated=seen, told_as=BEFORE, external=outside))
    if here.relabelled:
        then = elsewhere_of(here.evaluated, predictions, sets, policy, chain, as_judged=True)
        cases.append(replace(here, told_as=ELSEWHERE_BEFORE, external=then))
    return tuple(cases)


def _measured(
    evaluated: Evaluated, predictions: pd.DataFrame, config: Retraining, confidence: float
) -> Evaluated:
    """The record with figures recomputed from these predictions, with this confidence."""
    classes, threshold = evaluated.classes, evaluated.threshold
    found = figures(predictions, classes, threshold, config.prevalence, confidence)
    champion = evaluated.champion
    if champion and champion.comparison:
        lesions = by_lesion(predictions, (*classes, COLUMN))
        theirs = champion.comparison.threshold
        comparison = compared(lesions, threshold, theirs, confidence)
        champion = champion.model_copy(update={"comparison": comparison})
    return evaluated.model_copy(update={"figures": found, "champion": champion})


def _left(policy: Policy, evaluated: Evaluated, look: int, confidence: float) -> Looks | None:
    """How often the test part can still be used, by the sensitivity rule."""
    if policy.spending is None:
        return None
    counted = evaluated.figures.sensitivity
    minimum = next((each.at_least for each in policy.rules if each.rule == "sensitivity"), 0.0)
    rate = counted.estimate or 0.0
    error = policy.spending.error
    return Looks(
        look=look,
        confidence=confidence,
        left=max(0, looks_until(1.0, counted.n, minimum, error) - look),
        left_at_this_rate=max(0, looks_until(rate, counted.n, minimum, error) - look),
        lesions_that_renew=counted.n + 1,  # then the old lesions are less than half
    )


def _departed(settled: Settled, predictions: pd.DataFrame) -> tuple[Departed, ...]:
    here = set(predictions["image_id"])
    return tuple(
        Departed(image_id=image.image_id, lesion=image.lesion, label=image.label)
        for _, image in sorted(settled.images.items())
        if image.image_id not in here
    )


def _superseded(settled: Settled, predictions: pd.DataFrame) -> tuple[Superseded, ...]:
    here = set(predictions["image_id"])
    judged = {
        image.lesion: image.label for image in settled.images.values() if image.image_id in here
    }
    return tuple(
        Superseded(
            lesion=each.lesion,
            judged_as=judged[each.lesion],
            label=each.label,
            by=each.by,
            reason=each.reason,
        )
        for _, each in sorted(settled.superseded.items())
        if each.lesion in judged and judged[each.lesion] != each.label
    )


def _as_before(
    settled: Settled, predictions: pd.DataFrame, evaluated: Evaluated
) -> pd.DataFrame | None:
    """The predictions with judged images as they were judged before; None if nothing changed."""
    known = predictions["image_id"].map(settled.images)
    before = predictions.copy()
    for row, image in known.dropna().items():
        before.loc[row, ["lesion", "label"]] = [image.lesion, image.label]
    # Keep only the judged images of a judged lesion: an easier new image must not raise the mean.
    judged = {image.lesion for image in settled.images.values()}
    before = before[known.notna() | ~before["lesion"].isin(judged)]
    gone = [
        image
        for _, image in sorted(settled.images.items())
        if image.image_id not in set(predictions["image_id"])
    ]
    columns = ["image_id", "lesion", "label"]
    same = before[columns].equals(predictions[columns])
    if not gone and same:
        return None
    missed = pd.DataFrame([_missed(image, predictions, evaluated) for image in gone])
    return pd.concat([before, missed], ignore_index=True) if gone else before


def _missed(image: Judged, predictions: pd.DataFrame, evaluated: Evaluated) -> dict[str, object]:
    """A row for an image that left, in which the model is as wrong as possible.

    The pixels may be gone. And a new answer must not count: somebody may have removed the image
    because the model misses it.
    """
    wrong = [name for name in evaluated.classes if name != image.label]
    answer = wrong[0] if image.label == MELANOMA else MELANOMA
    probabilities = {name: float(name == answer) for name in evaluated.classes}
    row: dict[str, object] = dict.fromkeys(predictions.columns)
    row |= {"image_id": image.image_id, "lesion": image.lesion, "label": image.label}
    row |= {"group": image.lesion, "source": source_from(image.image_id)}
    if COLUMN in predictions:  # the champion is given the benefit of the doubt
        row[COLUMN] = float(image.label == MELANOMA)
    return row | probabilities
