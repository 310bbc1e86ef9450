"""The bootstrap: intervals of figures without a formula for the interval.

Source: Efron, "Better bootstrap confidence intervals", JASA 82:171-185 (1987): BCa.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import norm

from tasks.records.figures import Estimate
from tasks.statistics.confidence import CONFIDENCE

Array = np.ndarray[Any, Any]

RESAMPLES = 2000
# Seed of the bootstrap, not of the run: the same predictions always have the same intervals.
RESAMPLING_SEED = 1987
BOOTSTRAP = f"bootstrap of lesions, BCa, {RESAMPLES:,} resamples"


def resampled(
    statistic: Callable[..., Array], *sizes: int, confidence: float = CONFIDENCE
) -> Estimate:
    """A statistic with its bootstrap interval.

    `RESAMPLES` resamples suffice for the tails of a 95 % interval, not for a wider one. A wider
    interval is the 95 % interval with each side stretched as for a normal distribution.

    Args:
        statistic: Function from the counts of each case, float ``(k, size)`` for each stratum, to
            values ``(k,)``.
        sizes: Number of cases in each stratum. Strata are resampled separately. A stratum of one
            case cannot be resampled; then there is no interval.
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
        return Estimate(value=None, lower=None, upper=None, n=sum(sizes), method=BOOTSTRAP)
    return Estimate(
        value=value,
        lower=min(lower, value),
        upper=max(upper, value),
        n=sum(sizes),
        method=BOOTSTRAP.replace("BCa", method),
    )


def _counts(indices: Array, size: int) -> Array:
    """How often each of `size` cases occurs in each row of ``(k, m)`` indices."""
    rows = np.atleast_2d(indices)
    offset = np.arange(len(rows))[:, None] * size
    flat = np.bincount((rows + offset).ravel(), minlength=len(rows) * size)
    return flat.reshape(len(rows), size).astype(float)
