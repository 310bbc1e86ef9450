"""Areas under the ROC curve, and their difference between two tests on the same cases.

Sources
-------
DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated receiver
operating characteristic curves", Biometrics 44:837-845 (1988).
Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic,
part 2", Statistics in Medicine 25:559-573 (2006), method 5: where an area is 0 or 1.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from tasks.records.figures import Estimate
from tasks.statistics.confidence import CONFIDENCE
from tasks.statistics.resampling import BOOTSTRAP, resampled

Array = np.ndarray[Any, Any]


def auc(positive: Array, negative: Array, confidence: float = CONFIDENCE) -> Estimate:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    The interval is DeLong's on the logit scale, which stays inside 0 to 1. For an area of 0 or 1,
    where DeLong's interval has no width, it is Newcombe's.
    """
    m, n = len(positive), len(negative)
    if not m or not n:
        return Estimate(value=None, lower=None, upper=None, n=m + n, method="DeLong")
    areas, covariance = _delong([(positive, negative)])
    area, variance = float(areas[0]), float(covariance[0, 0])
    z = float(norm.ppf((1 + confidence) / 2))
    if 0 < area < 1 and variance > 0:
        reach = z * math.sqrt(variance) / (area * (1 - area))
        lower, upper = (float(expit(logit(area) + side)) for side in (-reach, reach))
        return Estimate(value=area, lower=lower, upper=upper, n=m + n, method="DeLong, logit scale")
    lower, upper = _newcombe(area, m, n, z)
    return Estimate(value=area, lower=lower, upper=upper, n=m + n, method="Newcombe, method 5")


def auc_difference(
    first: tuple[Array, Array], second: tuple[Array, Array], confidence: float = CONFIDENCE
) -> Estimate:
    """Area of the first test minus area of the second, on the same cases in the same order.

    Args:
        first: Scores of positives and of negatives by the first test.
        second: Scores of positives and of negatives by the second test.
    """
    cases = len(first[0]) + len(first[1])
    method = "DeLong, paired"
    if not len(first[0]) or not len(first[1]):
        return Estimate(value=None, lower=None, upper=None, n=cases, method=method)
    areas, covariance = _delong([first, second])
    difference = float(areas[0] - areas[1])
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    reach = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(max(0.0, float(variance)))
    return Estimate(
        value=difference,
        lower=max(-1.0, difference - reach),
        upper=min(1.0, difference + reach),
        n=cases,
        method=method,
    )


def _delong(tests: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Areas and their covariance matrix, by placements among midranks (Sun & Xu, IEEE Signal
    Processing Letters 21:1389, 2014)."""
    m, n = len(tests[0][0]), len(tests[0][1])
    placed_positive, placed_negative = np.empty((len(tests), m)), np.empty((len(tests), n))
    for row, (positive, negative) in enumerate(tests):
        joint = rankdata(np.concatenate([positive, negative]))
        placed_positive[row] = (joint[:m] - rankdata(positive)) / n
        placed_negative[row] = 1 - (joint[m:] - rankdata(negative)) / m
    covariance = np.zeros((len(tests), len(tests)))
    for placed, count in ((placed_positive, m), (placed_negative, n)):
        if count > 1:
            covariance += np.atleast_2d(np.cov(placed)) / count
    return placed_positive.mean(axis=1), covariance


def _newcombe(area: float, m: int, n: int, z: float) -> tuple[float, float]:
    """The two areas that are z of their own standard errors away from `area`."""
    weight = (m + n) / 2 - 1

    def beyond(true: float) -> float:
        spread = 1 + weight * ((1 - true) / (2 - true) + true / (1 + true))
        return (area - true) ** 2 - z**2 * true * (1 - true) * spread / (m * n)

    tiny = 1e-9
    lower = brentq(beyond, tiny, area - tiny) if area > 0 else 0.0
    upper = brentq(beyond, area + tiny, 1 - tiny) if area < 1 else 1.0
    return float(lower), float(upper)


def partial_auc(positive: Array, negative: Array, above: float = 0.80) -> Estimate:
    """The area under the ROC curve where sensitivity is higher than `above`, not scaled.

    This is the metric of the ISIC 2024 challenge, 0 to 1 - above. A test that guesses reaches half
    of (1 - above) squared.
    """
    m, n = len(positive), len(negative)
    method = BOOTSTRAP
    if not m or not n:
        return Estimate(value=None, lower=None, upper=None, n=m + n, method=method)
    scores = np.sort(positive)[:, None]
    beats = (scores > negative) + 0.5 * (scores == negative)

    def area(of_positive: Array, of_negative: Array) -> Array:
        """The lowest fifth of the positives, each with its share of the negatives below it."""
        placed = of_negative @ beats.T / of_negative.sum(axis=-1, keepdims=True)
        total = of_positive.sum(axis=-1, keepdims=True)
        before = np.cumsum(of_positive, axis=-1) - of_positive
        taken = np.clip((1 - above) * total - before, 0, of_positive)
        return np.asarray((taken * placed).sum(axis=-1) / total[..., 0])

    return resampled(area, m, n)
