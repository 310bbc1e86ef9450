"""statistics against references: published tables, other programs' results, and simulation."""

from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import beta, binom
from sklearn.metrics import brier_score_loss, roc_auc_score

from tasks.records.figures import Estimate
from tasks.statistics.calibration import brier, reliability
from tasks.statistics.pairs import _score, noninferiority_p, paired_bounds
from tasks.statistics.proportions import (
    cases_needed,
    lower_bound,
    mean_of_proportions,
    predictive_value,
    proportion,
    upper_bound,
    wilson,
)
from tasks.statistics.ranking import _delong, auc, auc_difference, partial_auc
from tasks.statistics.resampling import resampled
from tests.support.records import known

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


# Proportions --------------------------------------------------------------------------------------


@given(counts)
def test_bounds_are_those_of_clopper_and_pearson(pair: tuple[int, int]) -> None:
    """Their closed form by quantiles of the beta distribution."""
    k, n = pair
    lower = beta.ppf(0.05, k, n - k + 1) if k else 0.0
    upper = beta.ppf(0.95, k + 1, n - k) if k < n else 1.0
    assert lower_bound(k, n) == pytest.approx(lower, abs=1e-6)
    assert upper_bound(k, n) == pytest.approx(upper, abs=1e-6)
    both = proportion(k, n)
    assert both.lower <= k / n <= both.upper
    assert both.lower <= lower_bound(k, n)


@given(counts)
def test_at_the_bound_so_many_successes_have_a_chance_of_five_percent(
    pair: tuple[int, int],
) -> None:
    k, n = pair
    if k:
        assert binom.sf(k - 1, n, lower_bound(k, n)) == pytest.approx(0.05, abs=1e-4)


# Newcombe, "Two-sided confidence intervals for the single proportion: comparison of seven methods",
# Statistics in Medicine 17:857-872 (1998), table I: methods 3 (Wilson) and 5 (Clopper-Pearson).
@pytest.mark.parametrize(
    ("k", "n", "of_wilson", "of_clopper_pearson"),
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_intervals_are_those_of_a_published_table(
    k: int, n: int, of_wilson: tuple[float, float], of_clopper_pearson: tuple[float, float]
) -> None:
    assert wilson(k, n) == pytest.approx(of_wilson, abs=5e-5)
    exact = proportion(k, n)
    assert (exact.lower, exact.upper) == pytest.approx(of_clopper_pearson, abs=5e-5)


def test_nothing_seen_says_nothing() -> None:
    nothing = proportion(0, 0)
    assert (nothing.lower, nothing.upper, nothing.estimate) == (0, 1, None)
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0, 1)
    assert wilson(0, 0) == (0.0, 1.0)
    assert paired_bounds(0, 0, 0) == (-1.0, 1.0)
    assert noninferiority_p(0, 0, 0, 0.1) == 1.0
    empty = np.array([])
    for none in (
        auc(empty, np.ones(3)),
        partial_auc(empty, np.ones(3)),
        mean_of_proportions([nothing]),
        predictive_value(nothing, proportion(1, 2), 0.1),
        reliability(empty, empty)[0],
    ):
        assert (none.value, none.lower, none.upper) == (None, None, None)


def test_how_many_more_cases_are_needed() -> None:
    assert cases_needed(13, 13, 0.80, 10_000) == 14
    assert cases_needed(0, 0, 0.80, 10_000) == 14
    assert cases_needed(8, 10, 0.80, 10_000) is None
    needed = cases_needed(15, 16, 0.80, 10_000)
    assert needed is not None
    assert lower_bound(int(needed * 15 / 16), needed) >= 0.80
    assert lower_bound(int((needed - 1) * 15 / 16), needed - 1) < 0.80


@given(st.lists(counts, min_size=1, max_size=9))
def test_a_mean_of_proportions_lies_inside_its_interval(pairs: list[tuple[int, int]]) -> None:
    mean = mean_of_proportions([proportion(*pair) for pair in pairs])
    assert mean.value == pytest.approx(np.mean([k / n for k, n in pairs]))
    assert mean.lower is not None
    assert mean.upper is not None
    assert 0 <= mean.lower <= known(mean.value) <= mean.upper <= 1
    assert mean.lower < mean.upper  # also where all or none succeeded
    widest = max(wilson(*pair)[1] - wilson(*pair)[0] for pair in pairs)
    assert mean.upper - mean.lower <= widest + 1e-9  # a mean is no less sure than its parts


def test_the_mean_of_one_proportion_has_wilsons_interval() -> None:
    mean = mean_of_proportions([proportion(15, 148)])
    assert (mean.lower, mean.upper) == pytest.approx(wilson(15, 148))


def test_the_interval_of_a_mean_of_proportions_covers_it() -> None:
    """Nine classes, as large as those of the public set's test part; 1,000 test parts. It covers
    somewhat more often than stated where classes are tiny or always right."""
    random = np.random.default_rng(1)
    sizes, rates = [20, 75, 19, 88, 71, 92, 36, 28, 5], [0.3, 0.7, 0.5, 0.6, 0.8, 0.9, 0.2, 0.9, 1]
    counted = cache(proportion)
    covered = 0
    for found in random.binomial(sizes, rates, (1000, 9)).tolist():
        mean = mean_of_proportions([counted(k, n) for k, n in zip(found, sizes, strict=True)])
        assert mean.lower is not None
        assert mean.upper is not None
        covered += bool(mean.lower <= np.mean(rates) <= mean.upper)
    assert 0.93 <= covered / 1000 <= 0.99


# Predictive values --------------------------------------------------------------------------------


def test_a_predictive_value_is_that_of_bayes_rule() -> None:
    """90 % sensitive, 80 % specific, 5 % prevalent: of 1,000 lesions, 45 of 235 called are it."""
    value = predictive_value(proportion(90, 100), proportion(240, 300), 0.05)
    assert value.value == pytest.approx(45 / 235)
    assert value.lower is not None
    assert value.upper is not None
    assert value.lower < 45 / 235 < value.upper


@pytest.mark.slow
def test_the_interval_of_a_predictive_value_covers_it() -> None:
    random = np.random.default_rng(2)
    true = 0.05 * 0.9 / (0.05 * 0.9 + 0.95 * 0.2)
    drawn = zip(random.binomial(88, 0.9, 1000), random.binomial(320, 0.8, 1000), strict=True)
    values = [predictive_value(proportion(k, 88), proportion(s, 320), 0.05) for k, s in drawn]
    assert np.mean([known(each.lower) <= true <= known(each.upper) for each in values]) >= 0.95
    widths = [known(each.upper) - known(each.lower) for each in values]
    assert np.mean(widths) < 0.2  # 0 to 1 would cover too


# Areas --------------------------------------------------------------------------------------------

# The data of DeLong et al. (1988): albumin, total protein, K-G score, and 1 for a good outcome, of
# the 43 patients for whom all are known. What follows are the figures of the SAS/STAT User's Guide,
# "The LOGISTIC Procedure", example "Comparing Receiver Operating Characteristic Curves".
OVARIAN = np.loadtxt(
    """3.0 5.8 10 0, 3.2 6.3 5 1, 3.9 6.8 3 1, 2.8 4.8 6 0, 3.2 5.8 3 1, 0.9 4.0 5 0, 2.5 5.7 8 0,
    1.6 5.6 5 1, 3.8 5.7 5 1, 3.7 6.7 6 1, 3.2 5.4 4 1, 3.8 6.6 6 1, 4.1 6.6 5 1, 3.6 5.7 5 1,
    4.3 7.0 4 1, 3.6 6.7 4 0, 2.3 4.4 6 1, 4.2 7.6 4 0, 4.0 6.6 6 0, 3.5 5.8 6 1, 3.8 6.8 7 1,
    3.0 4.7 8 0, 4.5 7.4 5 1, 3.7 7.4 5 1, 3.1 6.6 6 1, 4.1 8.2 6 1, 4.3 7.0 5 1, 4.3 6.5 4 1,
    3.2 5.1 5 1, 2.6 4.7 6 1, 3.3 6.8 6 0, 1.7 4.0 7 0, 3.7 6.1 5 1, 3.3 6.3 7 1, 4.2 7.7 6 1,
    3.5 6.2 5 1, 2.9 5.7 9 0, 2.1 4.8 7 1, 2.8 6.2 8 0, 4.0 7.0 7 1, 3.3 5.7 6 1, 3.7 6.9 5 1,
    3.6 6.6 5 1""".replace("\n", "").split(",")
)


def ovarian(column: int) -> tuple[np.ndarray, np.ndarray]:
    score = 10 - OVARIAN[:, 2] if column == 2 else OVARIAN[:, column]
    return score[OVARIAN[:, 3] == 1], score[OVARIAN[:, 3] == 0]


def test_areas_and_their_errors_are_those_of_a_published_example() -> None:
    areas, covariance = _delong([ovarian(0), ovarian(1), ovarian(2)])
    assert areas == pytest.approx([0.7366, 0.6478, 0.7258], abs=5e-5)
    assert np.sqrt(np.diag(covariance)) == pytest.approx([0.0927, 0.1000, 0.1028], abs=5e-5)


def test_a_difference_of_areas_is_that_of_a_published_example() -> None:
    """Albumin and total protein against the K-G score."""
    for column, difference, error in ((0, 0.0108, 0.0953), (1, -0.0780, 0.1046)):
        found = auc_difference(ovarian(column), ovarian(2))
        assert found.value == pytest.approx(difference, abs=5e-5)
        assert found.upper is not None
        assert found.lower is not None
        assert (found.upper - found.lower) / 2 / 1.959964 == pytest.approx(error, abs=5e-5)


scores = st.lists(st.integers(0, 12).map(float), min_size=1, max_size=40).map(np.array)


@given(scores, scores)
def test_an_area_is_scikit_learns_and_lies_inside_its_interval(
    positive: np.ndarray, negative: np.ndarray
) -> None:
    truth = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    found = auc(positive, negative)
    assert found.value == pytest.approx(roc_auc_score(truth, np.r_[positive, negative]))
    assert found.lower is not None
    assert found.upper is not None
    assert 0 <= found.lower <= known(found.value) + 1e-9 <= found.upper + 2e-9 <= 1 + 3e-9
    assert found.lower < found.upper  # also where the classes are apart


@pytest.mark.parametrize(("n", "widest"), [(20, 0.45), (100, 0.2), (500, 0.09)])
def test_an_interval_of_an_area_narrows_as_lesions_come(n: int, widest: float) -> None:
    """0 to 1 would hold every area and say nothing."""
    random = np.random.default_rng(n)
    found = auc(random.normal(1, 1, n), random.normal(0, 1, n))
    assert found.lower is not None
    assert found.upper is not None
    assert found.upper - found.lower < widest


def test_a_tests_difference_from_itself_is_nothing() -> None:
    same = auc_difference(ovarian(0), ovarian(0))
    assert (same.value, same.lower, same.upper) == (0, 0, 0)


def test_delongs_interval_covers_the_area() -> None:
    """88 melanomas, 320 others, a true area of 0.90; 2,000 test parts."""
    random = np.random.default_rng(3)
    apart = 1.8124  # two normal distributions so far apart have an area of 0.90
    found = [auc(random.normal(apart, 1, 88), random.normal(0, 1, 320)) for _ in range(2000)]
    covers = [known(each.lower) <= 0.90 <= known(each.upper) for each in found]
    assert 0.93 <= np.mean(covers) <= 0.97


def test_a_partial_area_is_scikit_learns() -> None:
    """Which measures it from the other side (false positives) and scales it (McClish 1989)."""
    random = np.random.default_rng(4)
    positive, negative = random.normal(1.5, 1, 88), random.normal(0, 1, 320)
    truth = np.r_[np.ones(88), np.zeros(320)]
    scaled = roc_auc_score(1 - truth, -np.r_[positive, negative], max_fpr=0.2)
    least, most = 0.2**2 / 2, 0.2
    expected = least + (2 * scaled - 1) * (most - least)
    assert partial_auc(positive, negative).value == pytest.approx(expected)


def test_a_partial_area_ends_at_its_limits() -> None:
    apart = partial_auc(np.arange(10, 20.0), np.arange(10.0))
    assert (apart.value, apart.upper) == pytest.approx((0.2, 0.2))
    assert partial_auc(np.arange(10.0), np.arange(10, 20.0)).value == pytest.approx(0)


# Calibration --------------------------------------------------------------------------------------


def test_a_brier_score_is_scikit_learns() -> None:
    random = np.random.default_rng(5)
    probability, truth = random.uniform(size=200), random.integers(0, 2, 200)
    assert brier(probability, truth).value == pytest.approx(brier_score_loss(truth, probability))


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large() -> None:
    random = np.random.default_rng(6)
    probability = random.beta(0.5, 1.5, 4000)
    truth = (random.uniform(size=4000) < probability).astype(float)
    calibrated, bins = reliability(probability, truth)
    overconfident, _ = reliability(np.where(probability > 0.25, 0.95, 0.01), truth)
    assert calibrated.value is not None
    assert calibrated.value < 0.03
    assert overconfident.lower is not None
    assert overconfident.lower > 0.15
    assert sum(each.observed.n for each in bins) == 4000
    assert [each.predicted for each in bins] == sorted(each.predicted for each in bins)
    inside = [each.observed.lower <= each.predicted <= each.observed.upper for each in bins]
    assert sum(inside) >= 8


def test_few_lesions_make_few_bins() -> None:
    assert len(reliability(np.linspace(0, 1, 25), np.zeros(25))[1]) == 2


# The bootstrap ------------------------------------------------------------------------------------


def test_the_bootstrap_covers_what_it_estimates() -> None:
    """Accuracy by image over 150 lesions of one to four images, right or wrong together; 400 test
    parts. Nominal 95 %."""
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        images = random.integers(1, 5, 150).astype(float)
        right = (random.uniform(size=150) < 0.8) * images
        found = resampled(lambda w: w @ right / (w @ images), 150)  # noqa: B023  # called now
        assert found.lower is not None
        assert found.upper is not None
        covered += found.lower <= 0.8 <= found.upper
    assert 0.93 <= covered / 400 <= 0.97


def test_the_same_data_have_the_same_interval() -> None:
    data = np.arange(50.0)
    first, second = (resampled(lambda w: w @ data / w.sum(axis=-1), 50) for _ in range(2))
    assert first == second


def test_where_nothing_varies_the_bootstrap_says_so_without_failing() -> None:
    found = resampled(lambda w: (w @ np.ones(20)) / w.sum(axis=-1), 20)
    assert (found.value, found.lower, found.upper) == (1, 1, 1)


def test_one_lesion_has_no_interval() -> None:
    found = resampled(lambda w: w @ np.ones(1), 1)
    assert found == Estimate(value=1, lower=None, upper=None, n=1, method="no interval")


# Non-inferiority ----------------------------------------------------------------------------------


def test_the_exact_chance_is_that_of_summing_over_all_tables() -> None:
    """For one table, by hand: every table at least as good, at each share of discordant pairs."""
    n, margin = 12, 0.2

    def score(gained: int, lost: int) -> float:
        return float(_score(np.array([gained]), np.array([lost]), n, -margin)[0])

    tables = [(g, b) for g in range(n + 1) for b in range(n + 1 - g)]
    as_good = [table for table in tables if score(*table) >= score(2, 1) - 1e-9]
    largest = max(
        sum(
            binom.pmf(b, n, share) * binom.pmf(g, n - b, (share - margin) / (1 - share))
            for g, b in as_good
        )
        for share in np.linspace(margin, (1 + margin) / 2, 100)
    )
    assert noninferiority_p(2, 1, n, margin) == pytest.approx(largest)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40))
def test_more_gained_and_fewer_lost_never_weigh_against_the_new_test(
    gained: int, lost: int, same: int
) -> None:
    n = gained + lost + same
    assume(n > 0)
    now = noninferiority_p(gained, lost, n, 0.1)
    if same:
        assert noninferiority_p(gained + 1, lost, n, 0.1) <= now + 1e-9
        assert noninferiority_p(gained, lost + 1, n, 0.1) >= now - 1e-9
    if lost:
        assert noninferiority_p(gained, lost - 1, n, 0.1) <= now + 1e-9


@pytest.mark.parametrize(("n", "discordant"), [(16, 0.15), (50, 0.2), (88, 0.12), (88, 0.4)])
def test_of_2000_models_worse_by_the_margin_at_most_5_percent_pass(
    n: int, discordant: float
) -> None:
    """Models that find 10 points fewer of n melanomas than the champion."""
    margin, random = 0.10, np.random.default_rng(8)
    lost = (discordant + margin) / 2
    tables = random.multinomial(n, [discordant - lost, lost, 1 - discordant], 2000)
    assert share_that_passes(tables.tolist(), n, margin) <= 0.05


def share_that_passes(tables: list[list[int]], n: int, margin: float) -> float:
    passed = [noninferiority_p(gained, lost, n, margin) <= 0.05 for gained, lost, _ in tables]
    return float(np.mean(passed))


def test_an_equal_model_passes_more_often_the_more_melanomas_there_are() -> None:
    chances = []
    for n in (30, 60, 120):
        tables = np.random.default_rng(9).multinomial(n, [0.05, 0.05, 0.9], 300)
        chances.append(share_that_passes(tables.tolist(), n, 0.1))
    assert chances == sorted(chances)
    assert chances[-1] > 0.8


def test_the_bound_and_the_test_agree() -> None:
    for gained, lost, n in ((0, 0, 30), (3, 5, 60), (2, 9, 88), (10, 1, 50)):
        lower, upper = paired_bounds(gained, lost, n)
        assert lower <= (gained - lost) / n <= upper
        assert noninferiority_p(gained, lost, n, -lower) <= 0.05
        assert noninferiority_p(gained, lost, n, -lower - 0.002) > 0.05


def test_beyond_400_pairs_the_score_takes_over_without_a_jump() -> None:
    assert noninferiority_p(20, 40, 400, 0.1) == pytest.approx(
        noninferiority_p(20, 40, 401, 0.1), abs=0.01
    )
