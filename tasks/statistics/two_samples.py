"""Whether two samples come from one distribution: numbers, names, and points of many dimensions.

Each test gives its p-value and an effect, a difference of probabilities from 0 to 1 that does not
grow with the sample. The new sample may come in clusters, such as the lesions of one patient. Then
it says as much as a sample that is smaller by its design effect, see `design_effect`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import ks_2samp, kstwo, norm

Array = np.ndarray[Any, Any]

DRAWS = 9_999  # of a Monte Carlo test at most: the least p-value is 1 in 10,000
ENOUGH = 20  # draws as extreme as what was found, after which drawing ends
RARE = 5  # occurrences of a name; rarer names are counted together
MOST_POINTS = 500  # of a sample, in the test of many dimensions
SHRINKAGE = 0.2  # of the pooled covariance, towards its diagonal
FOLDS = 5
POWER = 0.8


def design_effect(values: Array, clusters: Array) -> float:
    """By how much clusters make a sample say less than as many independent values: 1 or more.

    It is 1 + (m - 1) r, with the mean size m of the cluster of a value, and r, how alike values of
    one cluster are: the intraclass correlation of a one-way analysis of variance, summed over the
    columns. Kish, "Survey sampling" (1965), chapter 5; of clusters of several sizes: Donner & Klar,
    "Design and analysis of cluster randomization trials" (2000).

    Args:
        values: float ``(n,)`` or ``(n, d)``; or str ``(n,)``, of which each name is a column.
        clusters: str ``(n,)``, the cluster of each value.

    Returns:
        1 too where a single cluster, or none with two values, cannot tell.
    """
    _, place, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    n, k = len(values), len(sizes)
    if k < 2 or k == n:
        return 1.0
    if values.dtype.kind == "U":
        values = values[:, None] == np.unique(values)
    columns = np.asarray(values, float).reshape(n, -1)
    sums = np.zeros((k, columns.shape[1]))
    np.add.at(sums, place, columns)
    means = sums / sizes[:, None]
    between = (sizes[:, None] * (means - columns.mean(axis=0)) ** 2).sum() / (k - 1)
    within = ((columns - means[place]) ** 2).sum() / (n - k)
    usual = (n - (sizes**2).sum() / n) / (k - 1)
    spread = between + (usual - 1) * within
    alike = (between - within) / spread if spread > 0 else 0.0
    return float(max(1.0, 1 + ((sizes**2).sum() / n - 1) * alike))


def values_differ(old: Array, new: Array, design: float = 1.0) -> tuple[float, float]:
    """Kolmogorov-Smirnov statistic of two samples of numbers, and its asymptotic p-value.

    Ties, such as those of whole numbers, make the p-value too large, never too small.

    Args:
        old, new: float ``(n,)`` and ``(m,)``.
        design: Design effect of the new sample.
    """
    statistic = float(ks_2samp(old, new, method="asymp").statistic)
    n, m = len(old), len(new) / design
    return statistic, float(kstwo.sf(statistic, max(1, round(n * m / (n + m)))))


def names_differ(
    old: Array, new: Array, generator: np.random.Generator, design: float = 1.0
) -> tuple[float, float]:
    """Total variation distance of two samples of names, and the p-value of Pearson's statistic.

    The p-value is that of a permutation test: given all names together, it is drawn which of them
    are new. So it holds for rare names too. The statistic is divided by the design effect, the
    first-order correction of Rao & Scott, "The analysis of categorical data from complex sample
    surveys", Journal of the American Statistical Association 76:221-230 (1981).

    Args:
        old, new: str ``(n,)`` and ``(m,)``.
        generator: For the draws.
        design: Design effect of the new sample.
    """
    names, place = np.unique(np.concatenate([old, new]), return_inverse=True)
    before, now = (np.bincount(each, minlength=len(names)) for each in np.split(place, [len(old)]))
    rare = before + now < RARE
    if rare.any():
        before, now = (np.append(each[~rare], each[rare].sum()) for each in (before, now))
    totals = before + now
    effect = float(np.abs(before / len(old) - now / len(new)).sum() / 2)
    if len(totals) < 2:
        return 0.0, 1.0
    expected = totals * len(new) / totals.sum()

    def pearson(counts: Array) -> Array:
        # Of the new column alone: given the totals, the old column's part is proportional.
        return np.asarray(((counts - expected) ** 2 / expected).sum(axis=-1))

    def draw(count: int) -> Array:
        return pearson(generator.multivariate_hypergeometric(totals, len(new), size=count))

    return effect, drawn_chance(float(pearson(now)) / design, draw)


def points_differ(
    old: Array, new: Array, generator: np.random.Generator, design: float = 1.0
) -> tuple[float, float]:
    """How well two samples of points can be told apart, and the p-value of their difference.

    The effect is that of a linear classifier on points that it did not learn from: the share of a
    sample's points called that sample's, minus the share of the other's, 0 if below. The classifier
    two-sample test of Lopez-Paz & Oquab, "Revisiting classifier two-sample tests", ICLR (2017), is
    about this figure. The p-value is that of the maximum mean discrepancy with a Gaussian kernel
    whose width is the median distance, by permutation: Gretton et al., "A kernel two-sample test",
    JMLR 13:723-773 (2012).

    Args:
        old, new: float ``(n, d)`` and ``(m, d)``. Of each sample, at most `MOST_POINTS` points
            count, drawn at random.
        generator: For the draws.
        design: Design effect of the new sample, by which the discrepancy is divided: its mean where
            there is no difference grows at most by so much.
    """
    some = [
        each[generator.choice(len(each), min(len(each), MOST_POINTS), replace=False)]
        for each in (old, new)
    ]
    both = np.concatenate(some).astype(np.float64)
    points = (both - both.mean(axis=0)) / np.maximum(both.std(axis=0), 1e-9)
    is_new = np.repeat([False, True], [len(each) for each in some])
    kernel = _gaussian(points).astype(np.float32)
    weights = np.where(is_new, 1 / is_new.sum(), -1 / (~is_new).sum()).astype(np.float32)

    def draw(count: int) -> Array:
        shuffled = generator.permuted(np.tile(weights, (count, 1)), axis=1)
        return np.asarray(((shuffled @ kernel) * shuffled).sum(axis=1))

    return _told_apart(points, is_new, generator), drawn_chance(
        # A millionth less: rounding must not make what was found more extreme than itself.
        float(weights @ kernel @ weights) * (1 - 1e-6) / design,
        draw,
    )


def _gaussian(points: Array) -> Array:
    squares = (points**2).sum(axis=1)
    apart = np.maximum(0, squares[:, None] + squares - 2 * points @ points.T)
    upper = apart[np.triu_indices(len(apart), 1)]
    return np.asarray(np.exp(-apart / max(float(np.median(upper)), 1e-12)))


def _told_apart(points: Array, is_new: Array, generator: np.random.Generator) -> float:
    """Balanced, cross-validated, of linear discriminants: 0 if no better than guessing."""
    fold = np.empty(len(points), int)
    for side in (is_new, ~is_new):
        fold[side] = generator.permutation(int(side.sum())) % FOLDS
    called = np.empty(len(points), bool)
    for number in range(FOLDS):
        learned = fold != number
        one, other = points[learned & is_new], points[learned & ~is_new]
        middles = one.mean(axis=0), other.mean(axis=0)
        rest = np.concatenate([one - middles[0], other - middles[1]])
        covariance = rest.T @ rest / len(rest)
        diagonal = np.diag(np.diag(covariance) + 1e-9)
        shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal
        along = np.linalg.solve(shrunk, middles[0] - middles[1])
        called[~learned] = (points[~learned] - (middles[0] + middles[1]) / 2) @ along > 0
    return max(0.0, float(called[is_new].mean() - called[~is_new].mean()))


def drawn_chance(observed: float, draw: Callable[[int], Array]) -> float:
    """The p-value of a Monte Carlo test that ends early where nothing is found.

    Drawing ends with the `ENOUGH`-th statistic that is at least as large as the observed one: the
    p-value is then `ENOUGH` by the number of draws. Besag & Clifford, "Sequential Monte Carlo
    p-values", Biometrika 78:301-304 (1991), show that such p-values are valid.

    Args:
        observed: The statistic that was found.
        draw: Gives so many statistics of samples without a difference, float ``(count,)``.
    """
    done, reached, count = 0, 0, 100
    while done < DRAWS:
        at_least = draw(min(count, DRAWS - done)) >= observed
        running = reached + np.cumsum(at_least)
        if running[-1] >= ENOUGH:
            return ENOUGH / (done + int(np.argmax(running >= ENOUGH)) + 1)
        done, reached, count = done + len(at_least), int(running[-1]), min(2 * count, 1_000)
    return (reached + 1) / (done + 1)


def holm(chances: Array) -> Array:
    """P-values adjusted for their number: a family of tests at level a errs in at most a share a of
    families without a difference, however the tests depend on each other.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6:65-70 (1979).

    Args:
        chances: float ``(n,)``, 0 to 1.
    """
    order = np.argsort(chances, kind="stable")
    steps = np.maximum.accumulate(chances[order] * np.arange(len(chances), 0, -1))
    adjusted = np.empty(len(chances))
    adjusted[order] = np.minimum(1, steps)
    return adjusted


def least_effect_shown(old: int, new: int, level: float) -> float:
    """The least difference of probabilities that samples of this size show with power `POWER`.

    A lower bound of the power of the Kolmogorov-Smirnov test, so the true least effect is at most
    this: the difference at the one value where it is largest must exceed the test's critical value.
    Massey, "A note on the power of a non-parametric test", Annals of Mathematical Statistics
    21:440-443 (1950). The critical value is the asymptotic one of Smirnov (1948).

    Args:
        old, new: Number in each sample, at least 1.
        level: Level of the test, 0 to 1.

    Returns:
        At most 1; 1 also where no difference can be shown.
    """
    scale = np.sqrt(1 / old + 1 / new)
    critical = np.sqrt(-np.log(level / 2) / 2) * scale
    return float(min(1.0, critical + norm.ppf(POWER) * scale / 2))
