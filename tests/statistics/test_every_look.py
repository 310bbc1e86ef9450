"""The alarm of a broken promise: how often it errs, and what it finds, however often one looks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom

from tasks.statistics.every_look import (
    ERROR,
    chances_of_alarm,
    evidence_against,
    first_alarm,
    lesions_needed,
    lower_at_every_look,
    most_found_in_alarm,
    shown_by,
    upper_at_every_look,
)

LIMIT = math.log(1 / ERROR)
promises = st.floats(0.1, 0.99)  # lower, 300 found ones underflow
counts = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def at(found: int, n: int, promise: float) -> float:
    return float(evidence_against(found, n, promise))


@given(counts.filter(lambda pair: pair[1] <= 60), promises)
def test_the_closed_form_is_the_mean_of_the_likelihood_ratios(
    count: tuple[int, int], promise: float
) -> None:
    found, n = count
    whole, _ = quad(
        lambda q: (q / promise) ** found * ((1 - q) / (1 - promise)) ** (n - found), 0, promise
    )

    assert at(found, n, promise) == pytest.approx(math.log(whole / promise), abs=1e-5)


@given(counts, promises, st.floats(0, 1))
def test_a_promise_that_holds_gains_no_evidence_on_average_and_a_broken_one_does(
    count: tuple[int, int], promise: float, beyond: float
) -> None:
    """The law of a supermartingale, on which the rate of false alarms rests."""
    found, n = count
    now = at(found, n, promise)
    hit, miss = at(found + 1, n + 1, promise) - now, at(found, n + 1, promise) - now

    def mean(truth: float) -> float:
        return truth * math.exp(hit) + (1 - truth) * math.exp(miss)

    assert mean(promise) == pytest.approx(1, abs=1e-6)
    assert mean(promise + beyond * (1 - promise)) <= 1 + 1e-6
    assert mean(0.99 * promise) > 1


@pytest.mark.parametrize("promise", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_a_model_that_keeps_its_promise_is_accused_in_at_most_5_percent_of_300_melanomas(
    promise: float,
) -> None:
    limits = most_found_in_alarm(promise, 300)

    assert chances_of_alarm(limits, promise)[-1] <= ERROR
    assert chances_of_alarm(limits, promise + (1 - promise) / 2)[-1] <= ERROR / 4
    # A test that errs in 5 % of single looks accuses it sooner or later.
    single = np.array([binom.ppf(ERROR, n, promise) - 1 for n in range(1, 301)], int)
    assert chances_of_alarm(single, promise)[-1] > 2 * ERROR


def test_a_drop_is_found_and_how_soon_is_the_number_of_melanomas_needed() -> None:
    needed = lesions_needed(0.9, 0.7, 1000)
    assert needed
    chances = chances_of_alarm(most_found_in_alarm(0.9, needed), 0.7)

    assert chances[-1] >= 0.8 > chances[-2]
    assert (np.diff(chances) >= -1e-12).all()
    assert needed == lesions_needed(0.9, 0.7, needed)
    assert lesions_needed(0.9, 0.7, needed - 1) is None


@given(st.lists(st.booleans(), max_size=120), promises)
def test_the_first_alarm_is_where_the_evidence_first_reaches_the_limit(
    found: list[bool], promise: float
) -> None:
    sums = np.cumsum(found)
    over = [n for n in range(1, len(found) + 1) if at(int(sums[n - 1]), n, promise) >= LIMIT]

    assert first_alarm(found, promise) == (over[0] if over else None)


def test_what_comes_later_takes_no_alarm_back() -> None:
    missed = [False] * 5

    assert first_alarm(missed, 0.9) == 2
    assert first_alarm([*missed, *[True] * 1000], 0.9) == 2
    assert first_alarm([True] * 1000, 0.9) is None
    assert first_alarm([], 0.9) is None


@given(counts, promises)
def test_the_promise_is_contradicted_where_it_is_above_the_upper_bound(
    count: tuple[int, int], promise: float
) -> None:
    found, n = count
    upper = upper_at_every_look(found, n)
    if abs(promise - upper) > 1e-6:
        assert (promise > upper) == (at(found, n, promise) >= LIMIT)
    assert lower_at_every_look(found, n) <= found / n <= upper
    assert lower_at_every_look(found, n) == 1 - upper_at_every_look(n - found, n)


@given(st.integers(1, 200), promises)
def test_the_limits_of_the_alarm_are_those_of_the_evidence(n: int, promise: float) -> None:
    most = most_found_in_alarm(promise, n)[-1]
    evidence = evidence_against(np.arange(n + 1), n, promise)

    assert list(evidence >= LIMIT) == [found <= most for found in range(n + 1)]


def test_no_number_of_found_ones_contradicts_and_nothing_underflows() -> None:
    assert at(0, 0, 0.9) == 0
    assert at(100_000, 100_000, 0.5) == pytest.approx(-math.log(100_001))
    assert math.isfinite(at(99_000, 100_000, 1e-9))
    assert -math.log(90_001) <= at(90_000, 100_000, 0.5) < 0  # the function I underflows
    assert math.isfinite(at(0, 100_000, 1 - 1e-9))
    assert upper_at_every_look(0, 0) == 1
    assert lower_at_every_look(0, 0) == 0
    assert upper_at_every_look(500, 500) == 1


def test_what_so_many_lesions_show_is_found_with_80_percent() -> None:
    shown = shown_by(0.9, 40)
    assert shown
    limits = most_found_in_alarm(0.9, 40)

    assert chances_of_alarm(limits, shown)[-1] == pytest.approx(0.8, abs=0.01)
    assert shown_by(0.9, 1) is None  # even one that is missed contradicts nothing
    assert shown_by(0.9, 0) is None
    assert (shown_by(0.9, 80) or 0) > shown


def test_the_chance_of_an_alarm_is_that_of_simulated_lives() -> None:
    draw = np.random.default_rng(7)
    lives, n, promise, truth = 2000, 60, 0.85, 0.7
    limits = most_found_in_alarm(promise, n)
    raised = sum(first_alarm(draw.random(n) < truth, promise) is not None for _ in range(lives))
    exact = chances_of_alarm(limits, truth)[-1]

    assert abs(raised / lives - exact) < 4 * math.sqrt(exact * (1 - exact) / lives)
