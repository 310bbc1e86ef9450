"""The difference of two independent figures, against a published table and exact coverage."""

import numpy as np
import pytest
from scipy.stats import binom

from tasks.statistics.differences import difference_of_estimates, difference_of_proportions
from tasks.statistics.proportions import proportion
from tasks.statistics.ranking import auc
from tests.support.records import known


# Newcombe 1998, table II, method 10.
@pytest.mark.parametrize(
    ("one", "other", "lower", "upper"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_an_interval_is_that_of_a_published_table(
    one: tuple[int, int], other: tuple[int, int], lower: float, upper: float
) -> None:
    found = difference_of_proportions(proportion(*one), proportion(*other))
    assert known(found.value) == pytest.approx(one[0] / one[1] - other[0] / other[1])
    assert (known(found.lower), known(found.upper)) == pytest.approx((lower, upper), abs=6e-5)
    turned = difference_of_proportions(proportion(*other), proportion(*one))
    assert (known(turned.lower), known(turned.upper)) == pytest.approx((-upper, -lower), abs=6e-5)


@pytest.mark.parametrize(("p", "q"), [(0.97, 0.74), (0.9, 0.9)])
def test_the_interval_of_a_difference_covers_it(p: float, q: float) -> None:
    """The exact coverage, summed over all tables, of 81 melanomas here and 60 there."""
    covered = 0.0
    for k, chance in enumerate(binom.pmf(np.arange(82), 81, p)):
        for m, other in enumerate(binom.pmf(np.arange(61), 60, q)):
            if chance * other < 1e-6:
                continue
            found = difference_of_proportions(proportion(k, 81), proportion(m, 60))
            covered += chance * other * (known(found.lower) <= p - q <= known(found.upper))
    assert 0.93 < covered < 0.985


def test_the_interval_of_a_difference_of_areas_covers_it() -> None:
    """Normal scores: the area is the normal distribution's at the distance over root two."""
    rng, hits, times = np.random.default_rng(3), 0, 300
    area = {1.0: 0.7602, 2.0: 0.9214}
    for _ in range(times):
        ours, theirs = (
            auc(rng.normal(distance, 1, 40), rng.normal(0, 1, 90)) for distance in (2.0, 1.0)
        )
        found = difference_of_estimates(ours, theirs)
        hits += known(found.lower) <= area[2.0] - area[1.0] <= known(found.upper)
    assert 0.92 * times < hits < 0.985 * times


def test_a_figure_that_is_not_there_has_no_difference() -> None:
    nothing, area = auc(np.array([]), np.array([1.0])), auc(np.array([2.0]), np.array([1.0, 3.0]))
    assert difference_of_estimates(nothing, area).value is None
    assert difference_of_estimates(area, area).value == 0
    assert difference_of_proportions(proportion(0, 0), proportion(1, 2)).lower is None
