"""Bounds of proportions and of figures made from proportions, computed by SciPy where possible.

Sources
-------
Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of the
binomial", Biometrika 26:404-413 (1934): exact bounds of a proportion, for any n.
Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22:209 (1927).
Zou & Donner, "Construction of confidence limits about effect measures", Statistics in Medicine
27:1693-1702 (2008): an interval for a mean of proportions from the intervals of each (MOVER).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.stats import beta, binomtest

from tasks.records.figures import Estimate, Proportion
from tasks.statistics.confidence import CONFIDENCE


def proportion(successes: int, n: int, confidence: float = CONFIDENCE) -> Proportion:
    """Successes out of n, with the exact two-sided interval; 0 to 1 for n = 0."""
    if n == 0:
        return Proportion(successes=0, n=0, estimate=None, lower=0.0, upper=1.0)
    interval = binomtest(successes, n).proportion_ci(confidence, method="exact")
    return Proportion(
        successes=successes,
        n=n,
        estimate=successes / n,
        lower=float(interval.low),
        upper=float(interval.high),
    )


def lower_bound(successes: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Exact one-sided lower bound of a proportion, 0 to 1."""
    if n == 0:
        return 0.0
    test = binomtest(successes, n, alternative="greater")
    return float(test.proportion_ci(confidence, method="exact").low)


def upper_bound(successes: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Exact one-sided upper bound of a proportion, 0 to 1."""
    if n == 0:
        return 1.0
    test = binomtest(successes, n, alternative="less")
    return float(test.proportion_ci(confidence, method="exact").high)


@cache
def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's two-sided interval; 0 to 1 for n = 0. It reaches its coverage on average."""
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def cases_needed(
    successes: int, n: int, minimum: float, at_most: int, confidence: float = CONFIDENCE
) -> int | None:
    """The smallest number of cases at which the same success rate would prove `minimum`.

    Returns:
        The number, at least n; None if the observed rate is not above `minimum`, or if more than
        `at_most` cases would be needed. If n is 0, every case counts as a success.
    """
    if n and successes / n <= minimum:
        return None
    cases = np.arange(max(n, 1), at_most + 1)
    found = np.floor(cases * (successes / n if n else 1.0) + 1e-9)
    # Clopper and Pearson's lower bound in its closed form, for all numbers of cases at once.
    bounds = beta.ppf(1 - confidence, found, cases - found + 1)
    enough = np.flatnonzero(bounds >= minimum)
    return int(cases[enough[0]]) if len(enough) else None


def mean_of_proportions(counted: Sequence[Proportion], confidence: float = CONFIDENCE) -> Estimate:
    """The mean of independent proportions, such as balanced accuracy, the mean of recalls.

    Proportions with n = 0 are left out. The interval (MOVER, from the Wilson interval of each) is
    valid at 0 and 1 too, where a bootstrap sees no spread.
    """
    known = [each for each in counted if each.n]
    n = sum(each.n for each in known)
    method = "Wilson intervals joined by Zou and Donner's MOVER"
    if not known:
        return Estimate(value=None, lower=None, upper=None, n=0, method=method)
    rates = np.array([each.successes / each.n for each in known])
    bounds = np.array([wilson(each.successes, each.n, confidence) for each in known])
    below, above = np.sqrt(((rates[:, None] - bounds) ** 2).sum(axis=0)) / len(known)
    mean = float(rates.mean())
    return Estimate(
        value=mean, lower=max(0.0, mean - below), upper=min(1.0, mean + above), n=n, method=method
    )


def predictive_value(
    sensitivity: Proportion, specificity: Proportion, prevalence: float
) -> Estimate:
    """Positive predictive value at a stated prevalence, by Bayes' rule.

    The interval combines the 97.5 % intervals of sensitivity and specificity; both hold at least
    95 % of the time. The value rises with either, so their bounds give its bounds.

    Args:
        sensitivity: Sensitivity, on lesions of the class.
        specificity: Specificity, on all other lesions.
        prevalence: Share of the class where the test is used, 0 to 1.
    """
    method = "Bayes' rule on Clopper-Pearson intervals of 97.5 % each"
    n = sensitivity.n + specificity.n
    if not sensitivity.n or not specificity.n:
        return Estimate(value=None, lower=None, upper=None, n=n, method=method)
    each = 1 - (1 - CONFIDENCE) / 4  # one side of a 97.5 % interval
    low = [lower_bound(one.successes, one.n, each) for one in (sensitivity, specificity)]
    high = [upper_bound(one.successes, one.n, each) for one in (sensitivity, specificity)]

    def value(found: float, spared: float) -> float | None:
        called = prevalence * found + (1 - prevalence) * (1 - spared)
        return prevalence * found / called if called > 0 else None

    return Estimate(
        value=value(sensitivity.successes / sensitivity.n, specificity.successes / specificity.n),
        lower=value(*low),
        upper=value(*high),
        n=n,
        method=method,
    )
