"""Paired comparison of two proportions: two models judged on the same lesions.

Sources
-------
Tango, "Equivalence test and confidence interval for the difference in proportions for the
paired-sample design", Statistics in Medicine 17:891-908 (1998): the score statistic.
Hsueh, Liu & Chen, "Unconditional exact tests for equivalence or noninferiority for paired binary
endpoints", Biometrics 57:478-483 (2001): its exact use.
"""

from functools import cache
from typing import Any

import numpy as np
from scipy.special import gammaln, xlogy
from scipy.stats import norm

from tasks.statistics.confidence import CONFIDENCE

Array = np.ndarray[Any, Any]

EXACT_PAIRS = 400  # up to here the paired test is exact; beyond, its score statistic is accurate


@cache
def noninferiority_p(gained: int, lost: int, n: int, margin: float) -> float:
    """P-value of non-inferiority: the largest chance of a result at least this good if the new test
    is worse by `margin`.

    Up to 400 pairs the value is exact (unconditional, with Tango's score statistic): at most 5 % of
    tests that are worse by the margin get a value of at most 0.05. For more pairs it uses the
    normal distribution of the score.

    Args:
        gained: Pairs in which only the new test succeeds.
        lost: Pairs in which only the old test succeeds.
        n: Number of all pairs.
        margin: Margin by which the new test may be worse, above 0 for non-inferiority.
    """
    if n == 0:
        return 1.0
    score = float(_score(np.array([gained]), np.array([lost]), n, -margin)[0])
    if n > EXACT_PAIRS:
        return float(norm.sf(score))
    return _chance_of_score(score, n, -margin)


@cache
def paired_bounds(
    gained: int, lost: int, n: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """One-sided bounds, each, of the difference new less old: `noninferiority_p` inverted."""
    if n == 0:
        return -1.0, 1.0
    lower = _paired_lower(gained, lost, n, confidence)
    return lower, -_paired_lower(lost, gained, n, confidence)


def score_bounds(
    gained: int, lost: int, n: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """As `paired_bounds`, by the normal distribution of the score: fast, and accurate from some
    fifty pairs on. For what is shown, not for what is decided."""
    if n == 0:
        return -1.0, 1.0
    lower, upper = (_score_lower(*pair, n, confidence) for pair in ((gained, lost), (lost, gained)))
    return lower, -upper


def _score_lower(gained: int, lost: int, n: int, confidence: float) -> float:
    low, high, z = -1.0, (gained - lost) / n, float(norm.ppf(confidence))
    while high - low > 5e-4:
        middle = (low + high) / 2
        if float(_score(np.array([gained]), np.array([lost]), n, middle)[0]) >= z:
            low = middle
        else:
            high = middle
    return low


def _paired_lower(gained: int, lost: int, n: int, confidence: float) -> float:
    low, high = -1.0, (gained - lost) / n
    while high - low > 5e-4:  # a twentieth of a per cent; rounded down
        middle = (low + high) / 2
        if noninferiority_p(gained, lost, n, -middle) <= 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def _score(gained: Array, lost: Array, n: int, difference: float) -> Array:
    """Tango's score statistic for new less old = `difference`; large if the new test is better."""
    a = 2.0 * n
    b = -gained - lost + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    only_old = (np.sqrt(np.maximum(0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * only_old + difference * (1 - difference))
    excess = gained - lost - n * difference
    with np.errstate(divide="ignore", invalid="ignore"):
        score = excess / np.sqrt(np.maximum(0, variance))
    return np.asarray(np.where(np.abs(excess) < 1e-9, 0.0, score))


def _chance_of_score(score: float, n: int, difference: float) -> float:
    """The largest chance, over all shares of discordant pairs, of at least this score."""
    gained, lost, ways = _tables(n)
    reached = _score(gained, lost, n, difference) >= score - 1e-9
    gained, lost, ways = gained[reached], lost[reached], ways[reached]
    largest = 0.0
    for only_old in np.linspace(max(0.0, -difference), (1 - difference) / 2, 100):
        only_new = only_old + difference
        same = 1 - only_old - only_new
        logs = ways + xlogy(gained, max(0.0, only_new)) + xlogy(lost, only_old)
        logs += xlogy(n - gained - lost, max(0.0, same))
        largest = max(largest, float(np.exp(logs).sum()))
    return min(1.0, largest)


@cache
def _tables(n: int) -> tuple[Array, Array, Array]:
    """All numbers of gained and lost pairs, and the logarithm of the ways to each."""
    gained, lost = np.indices((n + 1, n + 1)).reshape(2, -1)
    possible = gained + lost <= n
    gained, lost = gained[possible], lost[possible]
    ways = gammaln(n + 1) - gammaln(gained + 1) - gammaln(lost + 1) - gammaln(n - gained - lost + 1)
    return gained, lost, ways
