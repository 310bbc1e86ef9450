"""The difference of two figures from independent samples, such as two hospitals.

Sources
-------
Zou & Donner, "Construction of confidence limits about effect measures", Statistics in Medicine
27:1693-1702 (2008): an interval for a difference from the interval of each figure (MOVER).
Newcombe, "Interval estimation for the difference between independent proportions: comparison of
eleven methods", Statistics in Medicine 17:873-890 (1998), method 10: MOVER on Wilson's intervals.
"""

import math

from tasks.records.figures import Estimate, Proportion
from tasks.statistics.confidence import CONFIDENCE
from tasks.statistics.proportions import wilson

Ends = tuple[float, float, float]  # a figure, its lower and its upper bound


def difference_of_proportions(
    first: Proportion, second: Proportion, confidence: float = CONFIDENCE
) -> Estimate:
    """First less second, -1 to 1, with Newcombe's interval (method 10)."""
    method = "Newcombe, method 10"
    n = first.n + second.n
    if not first.n or not second.n:
        return Estimate(value=None, lower=None, upper=None, n=n, method=method)
    ends = [
        (each.successes / each.n, *wilson(each.successes, each.n, confidence))
        for each in (first, second)
    ]
    return _mover(ends[0], ends[1], n, method)


def difference_of_estimates(first: Estimate, second: Estimate) -> Estimate:
    """First less second, of figures with intervals of the same confidence.

    For areas under ROC curves, the intervals hold DeLong's variances, on the logit scale.
    """
    method, n = f"MOVER on {first.method} and {second.method}", first.n + second.n
    ends = [_ends(each) for each in (first, second)]
    if ends[0] is None or ends[1] is None:
        return Estimate(value=None, lower=None, upper=None, n=n, method=method)
    return _mover(ends[0], ends[1], n, method)


def _ends(figure: Estimate) -> Ends | None:
    if figure.value is None or figure.lower is None or figure.upper is None:
        return None
    return figure.value, figure.lower, figure.upper


def _mover(first: Ends, second: Ends, n: int, method: str) -> Estimate:
    """The distances of each figure to its bounds, squared, stand for its variance near that end."""
    (one, one_low, one_up), (other, other_low, other_up) = first, second
    return Estimate(
        value=one - other,
        lower=one - other - math.hypot(one - one_low, other_up - other),
        upper=one - other + math.hypot(one_up - one, other - other_low),
        n=n,
        method=method,
    )
