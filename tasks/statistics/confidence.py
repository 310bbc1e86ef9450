"""How sure a bound is, and what looks at one test part leave of that.

Source: Tian & Ramdas, "Online control of the familywise error rate", Statistical Methods in Medical
Research 30:976-993 (2021): spending one error rate over tests that come one after another.
"""

import math

from scipy.stats import binom

CONFIDENCE = 0.95  # the field's convention, for intervals and for one-sided bounds
MOST_LOOKS = 100_000  # of a weekly schedule: 2,000 years


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
