"""Bounds on proportions. The arithmetic is SciPy's; the meaning is ours.

Source: Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of
the binomial", Biometrika 26:404-413 (1934). Exact: the chance that the true proportion lies
beyond a bound is at most what is stated, for any n.
"""

import numpy as np
from scipy.stats import beta, binomtest

from tasks.contracts import Proportion

CONFIDENCE = 0.95  # the field's convention, for intervals and for one-sided bounds


def proportion(successes: int, n: int) -> Proportion:
    """Successes out of n, with the exact two-sided 95 % interval; 0 to 1 for n = 0."""
    if n == 0:
        return Proportion(successes=0, n=0, estimate=None, lower=0.0, upper=1.0)
    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="exact")
    return Proportion(
        successes=successes,
        n=n,
        estimate=successes / n,
        lower=float(interval.low),
        upper=float(interval.high),
    )


def lower_bound(successes: int, n: int) -> float:
    """Exact one-sided 95 % lower bound of a proportion, 0 to 1."""
    if n == 0:
        return 0.0
    test = binomtest(successes, n, alternative="greater")
    return float(test.proportion_ci(CONFIDENCE, method="exact").low)


def upper_bound(successes: int, n: int) -> float:
    """Exact one-sided 95 % upper bound of a proportion, 0 to 1."""
    if n == 0:
        return 1.0
    test = binomtest(successes, n, alternative="less")
    return float(test.proportion_ci(CONFIDENCE, method="exact").high)


def cases_needed(successes: int, n: int, minimum: float, at_most: int = 10_000) -> int | None:
    """The smallest number of cases at which the same rate of success would reach `minimum`.

    Returns:
        That number, at least n; None if the rate observed is not above `minimum`, or if more
        than `at_most` cases would be needed. Where n is 0, every case counts as a success.
    """
    if n and successes / n <= minimum:
        return None
    cases = np.arange(max(n, 1), at_most + 1)
    found = np.floor(cases * (successes / n if n else 1.0) + 1e-9)
    # Clopper and Pearson's lower bound in its closed form, for all numbers of cases at once.
    bounds = beta.ppf(1 - CONFIDENCE, found, cases - found + 1)
    enough = np.flatnonzero(bounds >= minimum)
    return int(cases[enough[0]]) if len(enough) else None
