"""Bounds, areas, calibration and paired comparisons. SciPy does the arithmetic where it can.

Sources
-------
Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of the
binomial", Biometrika 26:404-413 (1934): exact bounds of a proportion, for any n.
Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22:209 (1927).
Zou & Donner, "Construction of confidence limits about effect measures", Statistics in Medicine
27:1693-1702 (2008): an interval for a mean of proportions from the intervals of each (MOVER).
DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated receiver
operating characteristic curves", Biometrics 44:837-845 (1988).
Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic,
part 2", Statistics in Medicine 25:559-573 (2006), method 5: where an area is 0 or 1.
Efron, "Better bootstrap confidence intervals", JASA 82:171-185 (1987): BCa.
Tango, "Equivalence test and confidence interval for the difference in proportions for the
paired-sample design", Statistics in Medicine 17:891-908 (1998): the score statistic.
Hsueh, Liu & Chen, "Unconditional exact tests for equivalence or noninferiority for paired binary
endpoints", Biometrics 57:478-483 (2001): its exact use.
Tian & Ramdas, "Online control of the familywise error rate", Statistical Methods in Medical
Research 30:976-993 (2021): spending one error rate over tests that come one after another.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, gammaln, logit, xlogy
from scipy.stats import beta, binom, binomtest, norm, rankdata
from scipy.stats import bootstrap as scipy_bootstrap

from tasks.records.figures import CalibrationBin, Estimate, Proportion

Array = np.ndarray[Any, Any]

CONFIDENCE = 0.95  # the field's convention, for intervals and for one-sided bounds
RESAMPLES = 2000
# Of the bootstrap, not of the run: the same predictions always have the same intervals.
RESAMPLING_SEED = 1987
EXACT_PAIRS = 400  # up to here the paired test is exact; beyond, its score statistic is accurate
BINS = 10
MOST_LOOKS = 100_000  # of a weekly schedule: 2,000 years
LESIONS_IN_A_BIN = 10


# Proportions -------------------------------------------------------------------------------------


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
    """Wilson's two-sided interval; 0 to 1 for n = 0. Its coverage is as said on average."""
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def cases_needed(
    successes: int, n: int, minimum: float, at_most: int, confidence: float = CONFIDENCE
) -> int | None:
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
    bounds = beta.ppf(1 - confidence, found, cases - found + 1)
    enough = np.flatnonzero(bounds >= minimum)
    return int(cases[enough[0]]) if len(enough) else None


def mean_of_proportions(counted: Sequence[Proportion], confidence: float = CONFIDENCE) -> Estimate:
    """The mean of independent proportions, such as balanced accuracy of recalls.

    Those with n = 0 are left out. The interval (MOVER, from Wilson's of each) is honest at 0 and
    1 too, where a bootstrap sees no spread.
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

    Sensitivity and specificity come from different lesions, so that both lie inside their 97.5 %
    intervals at least 95 % of the time; the value rises with either, which gives its bounds.

    Args:
        sensitivity: Of lesions of the class.
        specificity: Of the others.
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


# Looks at one test part --------------------------------------------------------------------------


def error_at(look: int, error: float) -> float:
    """What is left of an error rate for the test of this number, from 1: online Bonferroni.

    The shares 6 / (pi look)^2 add up to 1 over all looks for ever, so that by Bonferroni's
    inequality the chance that any of the tests errs is at most `error`, however they depend on each
    other (Tian & Ramdas 2021, section 2; the series is Euler's).
    """
    return error * 6 / (math.pi * look) ** 2


def looks_until(share: float, n: int, minimum: float, error: float) -> int:
    """The last look at which a rate of success of `share` in n still proves `minimum`; 0 for none.

    Args:
        share: Of successes, 0 to 1; 1 is a model without a miss.
        n: Cases.
        minimum: What the lower bound must reach, 0 to 1.
        error: As for `error_at`.
    """
    found = math.floor(share * n + 1e-9)
    if n == 0 or found / n < minimum:
        return 0
    # The chance of at least so many successes at the minimum is the largest error that proves it.
    chance = float(binom.sf(found - 1, n, minimum))
    if chance <= 0:
        return MOST_LOOKS
    return min(MOST_LOOKS, int(math.sqrt(6 * error / chance) / math.pi))


# Areas under the ROC curve -----------------------------------------------------------------------


def auc(positive: Array, negative: Array, confidence: float = CONFIDENCE) -> Estimate:
    """Chance that a positive scores above a negative, ties counting half.

    The interval is DeLong's on the logit scale, which keeps it inside 0 to 1; at 0 and 1, where
    DeLong's has no width, it is Newcombe's.
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
    """Area of the first less that of the second test, on the same cases in the same order.

    Args:
        first: Scores of positives and of negatives.
        second: The same, of the other test.
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
    """The areas whose distance from `area` is z of their own standard errors."""
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

    The metric of the ISIC 2024 challenge: 0 to 1 - above; a test that knows nothing reaches
    half of (1 - above) squared.
    """
    m, n = len(positive), len(negative)
    method = _BOOTSTRAP
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


# Calibration -------------------------------------------------------------------------------------


def brier(probability: Array, truth: Array) -> Estimate:
    """Mean squared distance of a probability from the truth (0 or 1)."""
    squares = (probability - truth) ** 2
    return resampled(lambda weight: weight @ squares / weight.sum(axis=-1), len(squares))


def reliability(
    probability: Array, truth: Array, confidence: float = CONFIDENCE
) -> tuple[Estimate, tuple[CalibrationBin, ...]]:
    """Expected calibration error and the curve behind it.

    Up to 10 bins of equally many cases, at least 10 in each: bins of equal width would leave most
    of them nearly empty where one outcome is rare. The error is the mean distance between the mean
    probability and the frequency of a bin, weighted by cases (Naeini et al., AAAI 2015). By chance
    alone it is above 0 for a perfect model.
    """
    n = len(probability)
    if not n:
        return Estimate(value=None, lower=None, upper=None, n=0, method=_BOOTSTRAP), ()
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


# The bootstrap -----------------------------------------------------------------------------------

_BOOTSTRAP = f"bootstrap of lesions, BCa, {RESAMPLES:,} resamples"


def resampled(
    statistic: Callable[..., Array], *sizes: int, confidence: float = CONFIDENCE
) -> Estimate:
    """A statistic with its bootstrap interval.

    `RESAMPLES` resamples hold the tails of a 95 % interval and not those of a wider one: beyond,
    each side of the 95 % interval is stretched as far as a normal distribution's would be.

    Args:
        statistic: From how often each case of each stratum counts, float ``(k, size)`` per
            stratum, to ``(k,)``.
        sizes: Cases in each stratum. Strata are resampled apart, cases as wholes; one of a single
            case cannot be, and then there is no interval.
    """

    def of_indices(*indices: Array, axis: int = -1) -> Array:
        counted = [_counts(index, size) for index, size in zip(indices, sizes, strict=True)]
        found = statistic(*counted)
        return found if indices[0].ndim > 1 else found[0]

    value = float(statistic(*(np.ones((1, size)) for size in sizes))[0])
    if min(sizes) < 2:
        return Estimate(value=value, lower=None, upper=None, n=sum(sizes), method="no interval")
    samples = tuple(np.arange(size) for size in sizes)
    for method in ("BCa", "percentile"):  # BCa has no answer where nothing varies
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            interval = scipy_bootstrap(
                samples,
                of_indices,
                n_resamples=RESAMPLES,
                batch=max(1, 4_000_000 // max(1, sum(sizes))),
                vectorized=True,
                confidence_level=CONFIDENCE,
                method=method,
                rng=np.random.default_rng(RESAMPLING_SEED),
            ).confidence_interval
        if math.isfinite(interval.low) and math.isfinite(interval.high):
            break
    stretch = max(1.0, float(norm.ppf((1 + confidence) / 2) / norm.ppf((1 + CONFIDENCE) / 2)))
    lower, upper = (value + (float(end) - value) * stretch for end in interval)
    if not (math.isfinite(lower) and math.isfinite(upper) and math.isfinite(value)):
        return Estimate(value=None, lower=None, upper=None, n=sum(sizes), method=_BOOTSTRAP)
    return Estimate(
        value=value,
        lower=min(lower, value),
        upper=max(upper, value),
        n=sum(sizes),
        method=_BOOTSTRAP.replace("BCa", method),
    )


def _counts(indices: Array, size: int) -> Array:
    """How often each of `size` cases occurs in each row of ``(k, m)`` indices."""
    rows = np.atleast_2d(indices)
    offset = np.arange(len(rows))[:, None] * size
    flat = np.bincount((rows + offset).ravel(), minlength=len(rows) * size)
    return flat.reshape(len(rows), size).astype(float)


# Paired comparison of two proportions ------------------------------------------------------------


@cache
def noninferiority_p(gained: int, lost: int, n: int, margin: float) -> float:
    """Chance, at most, of a result at least this good if the new test is worse by `margin`.

    Exact (unconditional, with Tango's score statistic) up to 400 pairs, so that at most 5 % of
    tests worse by the margin have a value of at most 0.05; beyond, by the score's normal
    distribution.

    Args:
        gained: Pairs in which only the new test succeeds.
        lost: Pairs in which only the old one does.
        n: All pairs.
        margin: What the new test may fall short by, above 0 for non-inferiority.
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
