"""Tests of two samples: what they find, and how often they err."""

import numpy as np
import pytest
from scipy.stats import binom, chisquare, ks_2samp

from tasks.statistics.two_samples import (
    DRAWS,
    ENOUGH,
    design_effect,
    drawn_chance,
    holm,
    least_effect_shown,
    names_differ,
    points_differ,
    values_differ,
)


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def errs_at_most(chances: list[float], level: float) -> None:
    """Of so many tests without a difference, no more are below a level than chance allows (one in
    ten thousand)."""
    found = sum(each <= level for each in chances)
    assert found <= binom.ppf(1 - 1e-4, len(chances), level), f"{found} of {len(chances)}"


def test_a_difference_of_names_is_found_and_its_size_told() -> None:
    old, new = np.array(["a"] * 300 + ["b"] * 100), np.array(["a"] * 50 + ["b"] * 50)
    effect, chance = names_differ(old, new, generator())

    assert effect == pytest.approx(0.25)
    assert chance < 0.001


def test_the_chance_of_names_is_that_of_fisher_where_there_are_two() -> None:
    """Of 2 x 2 tables with these margins, so many are at least as far from the mean."""
    from scipy.stats import hypergeom

    old, new = np.array(["a"] * 12 + ["b"] * 18), np.array(["a"] * 8 + ["b"] * 4)
    law = hypergeom(42, 20, 12)
    exact = sum(law.pmf(k) for k in range(13) if abs(k - law.mean()) >= 8 - law.mean() - 1e-9)

    assert names_differ(old, new, generator())[1] == pytest.approx(exact, rel=0.5)


@pytest.mark.parametrize("names", [2, 5, 60])
def test_names_without_a_difference_raise_no_more_alarms_than_allowed(names: int) -> None:
    draw = generator(3)
    shares = draw.dirichlet(np.ones(names))
    chances = [
        names_differ(
            draw.choice(names, 200, p=shares).astype(str),
            draw.choice(names, 60, p=shares).astype(str),
            draw,
        )[1]
        for _ in range(400)
    ]

    errs_at_most(chances, 0.05)
    assert np.mean(np.array(chances) <= 0.5) > 0.3  # and it is no test that never finds anything


def test_names_that_never_occurred_before_are_a_difference() -> None:
    old, new = np.array(["JPEG"] * 100), np.array(["JPEG"] * 20 + ["PNG"] * 20)

    assert names_differ(old, new, generator())[1] < 0.001
    assert names_differ(old, old[:40], generator()) == (0.0, 1.0)


def test_points_of_another_spread_are_told_though_their_middle_is_the_same() -> None:
    draw = generator(5)
    old, new = draw.normal(size=(300, 10)), 2 * draw.normal(size=(100, 10))

    assert points_differ(old, new, draw)[1] < 0.001


def test_how_well_points_can_be_told_apart_is_the_effect() -> None:
    """Two normal distributions at a distance d differ by 2 F(d / 2) - 1."""
    from scipy.stats import norm

    draw = generator(6)
    old, new = draw.normal(size=(500, 5)), draw.normal(size=(500, 5))
    new[:, 0] += 2

    assert points_differ(old, new, draw)[0] == pytest.approx(2 * norm.cdf(1) - 1, abs=0.08)


def test_points_without_a_difference_raise_no_more_alarms_than_allowed() -> None:
    draw = generator(7)
    found = [
        points_differ(draw.normal(size=(120, 8)), draw.normal(size=(40, 8)), draw)
        for _ in range(150)
    ]
    chances = [chance for _, chance in found]

    errs_at_most(chances, 0.05)
    assert min(chances) < 0.2 < max(chances)


def test_a_constant_dimension_is_no_trouble() -> None:
    draw = generator(8)
    old, new = draw.normal(size=(60, 4)), draw.normal(size=(40, 4))
    old[:, 0] = new[:, 0] = 3.0

    effect, chance = points_differ(old, new, draw)
    assert 0 <= effect <= 1
    assert 0 < chance <= 1


def test_values_of_another_middle_are_found_and_equal_ones_are_not() -> None:
    draw = generator(9)
    old = draw.normal(size=500)

    assert values_differ(old, draw.normal(1, 1, size=100))[1] < 1e-6
    assert values_differ(old, old[:100])[1] > 0.1


def test_drawing_ends_early_where_nothing_is_found_and_is_uniform() -> None:
    draw = generator(10)
    drawn = []

    def statistics(count: int) -> np.ndarray:
        drawn.append(count)
        return draw.random(count)

    chances = [drawn_chance(float(draw.random()), statistics) for _ in range(2000)]
    assert sum(drawn) < 2000 * 1500
    counts = np.histogram(chances, bins=[0, 0.1, 0.25, 0.5, 0.75, 1])[0]
    assert chisquare(counts, 2000 * np.array([0.1, 0.15, 0.25, 0.25, 0.25])).pvalue > 1e-4


def test_the_least_chance_is_one_in_all_draws() -> None:
    assert drawn_chance(2.0, lambda count: np.zeros(count)) == 1 / (DRAWS + 1)
    assert drawn_chance(0.0, lambda count: np.zeros(count)) == ENOUGH / ENOUGH


def test_holm_adjusts_by_rank() -> None:
    """The example of Holm's rule with four tests: 4 x 0.005, 3 x 0.011, 2 x 0.02, 0.04."""
    adjusted = holm(np.array([0.02, 0.005, 0.04, 0.011]))

    assert adjusted == pytest.approx([0.04, 0.02, 0.04, 0.033])
    assert list(holm(np.array([0.6, 0.9]))) == [1.0, 1.0]
    assert len(holm(np.array([]))) == 0


@pytest.mark.parametrize(("old", "new"), [(2000, 80), (300, 150), (100, 100)])
def test_the_least_effect_is_found_with_the_power_that_is_said(old: int, new: int) -> None:
    """The least favourable case: two values, half of all lesions each, moved by the effect."""
    level = 1e-3
    effect = least_effect_shown(old, new, level)
    draw = generator(11)
    found = 0
    for _ in range(300):
        before = (draw.random(old) < 0.5 - effect / 2) + draw.random(old) * 1e-9
        now = (draw.random(new) < 0.5 + effect / 2) + draw.random(new) * 1e-9
        found += values_differ(before, now)[1] <= level

    assert found >= 300 * 0.8 - 3 * np.sqrt(300 * 0.8 * 0.2)


def test_more_lesions_show_smaller_effects_and_few_show_none() -> None:
    shown = [least_effect_shown(2000, n, 1e-4) for n in (1, 10, 100, 1000)]

    assert shown[0] == 1.0
    assert shown == sorted(shown, reverse=True)
    assert shown[-1] < 0.12


# Clusters ----------------------------------------------------------------------------------------


def test_copies_within_clusters_are_worth_one() -> None:
    draw = generator(12)
    values, clusters = np.repeat(draw.normal(size=200), 4), np.repeat(np.arange(200), 4)

    assert design_effect(values, clusters.astype(str)) == pytest.approx(4)
    assert design_effect(np.repeat(np.array(["a", "b"] * 100), 4), clusters.astype(str)) == 4


def test_two_patients_in_an_hour_are_worth_two() -> None:
    """What counts is how alike lesions of one hour are, whoever they belong to."""
    draw = generator(13)
    points = np.repeat(draw.normal(size=(600, 3)), 3, axis=0)
    hours = np.repeat(np.arange(300), 6).astype(str)

    assert design_effect(points, hours) == pytest.approx(3, rel=0.15)


def test_independent_values_are_worth_all_they_are() -> None:
    draw = generator(14)
    found = [
        design_effect(draw.normal(size=300), draw.integers(0, 60, 300).astype(str))
        for _ in range(50)
    ]

    assert min(found) == 1
    assert np.mean(found) < 1.3
    for values in (np.ones(20), np.array(["a"] * 20)):
        assert design_effect(values, np.repeat(["x", "y"], 10)) == 1
    assert design_effect(draw.normal(size=9), np.array(["one"] * 9)) == 1
    assert design_effect(draw.normal(size=0), np.array([], str)) == 1


def test_a_design_effect_makes_every_test_less_sure() -> None:
    draw = generator(15)
    old, new = draw.normal(size=400), draw.normal(0.6, 1, size=60)
    before, now = (np.where(each > 0.5, "a", "b") for each in (old, new))
    there, here = draw.normal(size=(200, 4)), draw.normal(0.5, 1, size=(60, 4))

    assert values_differ(old, new, 4)[1] > 10 * values_differ(old, new)[1]
    assert names_differ(before, now, draw, 4)[1] > 3 * names_differ(before, now, draw)[1]
    assert points_differ(there, here, draw, 4)[1] > 10 * points_differ(there, here, draw)[1]


def test_without_clusters_the_chance_is_that_of_scipy() -> None:
    draw = generator(16)
    old, new = draw.normal(size=300), draw.normal(0.3, 1, size=80)

    assert values_differ(old, new)[1] == pytest.approx(ks_2samp(old, new, method="asymp").pvalue)
