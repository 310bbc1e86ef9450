"""Bounds of a proportion that hold however often somebody looks, and the alarm that they give.

Lesions come one after another, and somebody looks every day. An interval that errs in 5 % of single
looks errs sooner or later if somebody looks without end. What is here errs in at most `ERROR` of
all lives of a model, whatever the number of looks.

**Why.** Let each lesion be found (x = 1) or missed (x = 0), and let the promise be p0. For a q < p0
the ratio r = (q/p0)^x ((1-q)/(1-p0))^(1-x) has, under a true sensitivity p, the expected value
p q/p0 + (1-p)(1-q)/(1-p0). That is linear in p, falls with p because q < p0, and is 1 at p = p0. So
it is at most 1 for every p >= p0. The product of the ratios of n lesions is then a nonnegative
supermartingale that begins at 1, and so is its mean over q, uniform on 0 to p0. By Ville's
inequality such a process ever reaches 1/error with a probability of at most `error`. Lesions need
not be independent: it is enough that each is found with a probability of at least p0, whatever came
before.

**Sources.** Ville, "Étude critique de la notion de collectif", Gauthier-Villars (1939): the
inequality. Wald, "Sequential tests of statistical hypotheses", Ann. Math. Statist. 16:117-186
(1945): the mixture of likelihood ratios. Robbins, "Statistical methods related to the law of the
iterated logarithm", Ann. Math. Statist. 41:1397-1409 (1970): bounds that hold at every look, by
inverting the mixture.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaln

ERROR = 0.05
SOUND = 0.8  # the field's convention for the probability of finding what is there
TINY = 1e-12  # from 0 and from 1, where a bound is looked for

Array = np.ndarray[Any, Any]


def evidence_against(found: int | Array, n: int, promise: float) -> Array:
    """The logarithm of the mixture ratio: how strongly n lesions contradict a promise.

    With the incomplete beta function I, the mean over q of the products of ratios is
    B(k+1, n-k+1) I_p0(k+1, n-k+1) / (p0 p0^k (1-p0)^(n-k)), for k found of n.

    Args:
        found: Lesions that were found, 0 to n; an integer, or integers of any shape.
        n: Lesions.
        promise: The sensitivity that is promised, above 0 and below 1.

    Returns:
        float, of the shape of `found`; from log(1/(n+1)). ``log(1/error)`` contradicts.
    """
    k = np.asarray(found, float)
    # I underflows to 0 only far above the promise, where the ratio is below 1: the floor serves.
    with np.errstate(divide="ignore"):
        under = np.log(betainc(k + 1, n - k + 1, promise))
    ratio = betaln(k + 1, n - k + 1) + under - (k + 1) * math.log(promise)
    ratio = ratio - (n - k) * math.log1p(-promise)
    # With q = p0 t the mean is that of t^k ((1 - p0 t)/(1 - p0))^(n-k) over t from 0 to 1, which
    # is never below that of t^k.
    return np.asarray(np.maximum(ratio, -np.log(k + 1)))


def first_alarm(found: Iterable[bool], promise: float, error: float = ERROR) -> int | None:
    """The lesion at which the promise is contradicted for the first time, from 1; None if never.

    An alarm that was raised stands: what comes later takes nothing back.

    Args:
        found: Whether each lesion was found, in the order in which this became known.
        promise: As for `evidence_against`.
        error: Probability, at most, that a promise that holds is ever contradicted.
    """
    limit, successes = -math.log(error), 0
    for n, one in enumerate(found, start=1):
        successes += bool(one)
        if not one and float(evidence_against(successes, n, promise)) >= limit:
            return n
    return None


def upper_at_every_look(found: int, n: int, error: float = ERROR) -> float:
    """The lowest promise that `found` of n contradict: an upper bound of the true proportion, 0 to
    1. It holds at every look together with a probability of at least 1 - `error`.

    The evidence rises with the promise, as its form in t shows, so there is one such promise.
    """
    limit = -math.log(error)
    if found == n or float(evidence_against(found, n, 1 - TINY)) < limit:
        return 1.0
    root = brentq(lambda p: float(evidence_against(found, n, p)) - limit, TINY, 1 - TINY)
    return float(root)


def lower_at_every_look(found: int, n: int, error: float = ERROR) -> float:
    """The lower bound of the true proportion, 0 to 1, as `upper_at_every_look`."""
    return 1 - upper_at_every_look(n - found, n, error)


def most_found_in_alarm(promise: float, n: int, error: float = ERROR) -> Array:
    """For each number of lesions, the most found ones that still contradict the promise.

    One more lesion raises this number by at most 1: a miss adds evidence, a find takes some away.

    Returns:
        int ``(n,)``, for 1 to n lesions; -1 where none contradict it.
    """
    limit, most = -math.log(error), -1
    limits = np.empty(n, int)
    for lesions in range(1, n + 1):
        if float(evidence_against(most + 1, lesions, promise)) >= limit:
            most += 1
        limits[lesions - 1] = most
    return limits


def chances_of_alarm(limits: Array, truth: float) -> Array:
    """The probability that the alarm was raised by each lesion, exact: every way there is counted.

    Args:
        limits: Of `most_found_in_alarm`, for n lesions.
        truth: The true sensitivity, 0 to 1; each lesion is found with it, independently.

    Returns:
        float ``(n,)``, 0 to 1, rising.
    """
    silent = np.zeros(len(limits) + 1)  # probability of each number of found ones, without alarm
    silent[0] = 1.0
    chances = np.empty(len(limits))
    for lesion, most in enumerate(limits):
        moved = np.concatenate([[0.0], silent[:-1]])
        silent = (1 - truth) * silent + truth * moved
        silent[: most + 1] = 0.0
        chances[lesion] = 1 - silent.sum()
    return chances


def shown_by(promise: float, n: int, error: float = ERROR, sound: float = SOUND) -> float | None:
    """What n lesions can show: the highest true sensitivity that would have raised the alarm by
    now with a probability of at least `sound`; None if no sensitivity would have."""
    limits = most_found_in_alarm(promise, n, error)
    if n == 0 or limits[-1] < 0:
        return None

    def above(truth: float) -> float:
        return float(chances_of_alarm(limits, truth)[-1]) - sound

    return float(brentq(above, 0.0, promise, xtol=1e-4))


def lesions_needed(
    promise: float, truth: float, at_most: int, error: float = ERROR, sound: float = SOUND
) -> int | None:
    """The fewest lesions that raise the alarm with a probability of at least `sound`.

    Args:
        promise, error, sound: As for `shown_by`.
        truth: The true sensitivity, 0 to below `promise`.
        at_most: Where to stop looking.

    Returns:
        The number; None if `at_most` lesions do not suffice.
    """
    chances = chances_of_alarm(most_found_in_alarm(promise, at_most, error), truth)
    enough = np.flatnonzero(chances >= sound)
    return int(enough[0]) + 1 if len(enough) else None
