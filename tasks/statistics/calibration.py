"""Measure how far predicted probabilities are from the truth."""

from typing import Any

import numpy as np

from tasks.records.figures import CalibrationBin, Estimate
from tasks.statistics.confidence import CONFIDENCE
from tasks.statistics.proportions import proportion
from tasks.statistics.resampling import BOOTSTRAP, resampled

Array = np.ndarray[Any, Any]

BINS = 10
LESIONS_IN_A_BIN = 10


def brier(probability: Array, truth: Array) -> Estimate:
    """Mean squared distance of a probability from the truth (0 or 1)."""
    squares = (probability - truth) ** 2
    return resampled(lambda weight: weight @ squares / weight.sum(axis=-1), len(squares))


def reliability(
    probability: Array, truth: Array, confidence: float = CONFIDENCE
) -> tuple[Estimate, tuple[CalibrationBin, ...]]:
    """Expected calibration error and the curve behind it.

    There are up to 10 bins of equally many cases, with at least 10 cases each. Bins of equal width
    would be nearly empty where one outcome is rare. The error is the mean distance between the mean
    probability and the frequency of a bin, weighted by cases (Naeini et al., AAAI 2015). By chance
    it is above 0 even for a perfectly calibrated model.
    """
    n = len(probability)
    if not n:
        return Estimate(value=None, lower=None, upper=None, n=0, method=BOOTSTRAP), ()
    count = max(1, min(BINS, n // LESIONS_IN_A_BIN))
    order = np.argsort(probability, kind="stable")
    member = np.zeros((n, count))
    for column, part in enumerate(np.array_split(order, count)):
        member[part, column] = 1

    def error(weight: Array) -> Array:
        excess = weight @ (member * (probability - truth)[:, None])
        return np.asarray(np.abs(excess).sum(axis=-1) / weight.sum(axis=-1))

    bins = tuple(
        CalibrationBin(
            predicted=float(probability[part].mean()),
            observed=proportion(int(truth[part].sum()), len(part)),
        )
        for part in np.array_split(order, count)
    )
    return resampled(error, n, confidence=confidence), bins
