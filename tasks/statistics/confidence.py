"""The confidence of bounds, and the error rate that each look at one test part may spend.

Source: Tian & Ramdas, "Online control of the familywise error rate", Statistical Methods in Medical
Research 30:976-993 (2021): spending one error rate over tests that come one after another.
"""

import math

from scipy.stats import binom

CONFIDENCE = 0.95  # the field's convention, for intervals and for one-sided bounds
MOST_LOOKS = 100_000  # of a weekly schedule: 2,000 years


def error_at(look: int, error: float) -> float:
    """The error rate of one look, counted from 1, by online Bonferroni.

    The shares 6 / (pi look)^2 add up to 1 over all looks (Euler's series). So, by Bonferroni's
    inequality, the chance that any test errs is at most `error`, however the tests depend on each
    other (Tian & Ramdas 2021, section 2).
    """
    return error * 6 / (math.pi * look) ** 2


def looks_until(share: float, n: int, minimum: float, error: float) -> int:
    """The last look at which a success rate of `share` in n cases still proves `minimum`; 0 if no
    look does.

    Args:
        share: Share of successes, 0 to 1; 1 is a model without a miss.
        n: Number of cases.
        minimum: Value that the lower bound must reach, 0 to 1.
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
