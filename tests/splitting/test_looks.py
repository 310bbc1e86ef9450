"""Trying again and again proves nothing: what a look at the test part costs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.statistics.confidence import CONFIDENCE, error_at, looks_until
from tasks.statistics.proportions import lower_bound
from tests.benchmarks.looks_at_one_test_part import (
    LOOKS,
    REPETITIONS,
    exact,
    floor_of,
    needed,
    policy_of,
    simulated,
)

ERROR = 0.05


@pytest.mark.parametrize("n", [14, 31, 81, 300])
def test_of_any_number_of_independent_models_below_the_floor_one_passes_in_at_most_5_percent(
    n: int,
) -> None:
    """By exact sums, for 1 to 100 models."""
    chance = exact(policy_of(2), n)
    assert len(chance) == LOOKS == 100
    assert (chance <= ERROR).all()
    assert (np.diff(chance) >= 0).all()


@pytest.mark.parametrize("rho", [0.5, 0.95])
def test_nor_of_models_that_miss_the_same_melanomas(rho: float) -> None:
    repetitions = 2000
    chance = simulated(policy_of(2), 81, rho, repetitions)
    assert (chance <= ERROR + 3 * math.sqrt(ERROR * (1 - ERROR) / repetitions)).all()
    assert chance.max() > 0.01  # they do pass, now and then


def test_before_a_look_cost_anything_a_hundred_models_made_one_pass() -> None:
    chance = exact(policy_of(1), 81)
    assert chance[0] <= ERROR
    assert chance[-1] > 0.9
    assert REPETITIONS >= 10_000  # of the curve in docs/


def test_the_shares_of_all_looks_add_up_to_the_error() -> None:
    assert sum(error_at(look, ERROR) for look in range(1, 200_000)) == pytest.approx(ERROR, 1e-4)
    assert policy_of(1).confidence(100) == CONFIDENCE
    assert policy_of(2).confidence(1) == 1 - error_at(1, ERROR)


@given(st.integers(1, 300), st.floats(0.81, 1.0))
def test_the_last_look_that_can_pass_is_told(n: int, share: float) -> None:
    last = looks_until(share, n, 0.8, ERROR)
    found = math.floor(share * n + 1e-9)
    if last and last < 1000:
        assert lower_bound(found, n, 1 - error_at(last, ERROR)) >= 0.8 - 1e-9
    if last < 1000:
        assert lower_bound(found, n, 1 - error_at(last + 1, ERROR)) < 0.8 + 1e-9


def test_a_perfect_model_needs_more_melanomas_the_later_it_comes() -> None:
    policy = policy_of(2)
    assert floor_of(policy) == 0.8
    least = needed(policy, 31)
    assert least[0] <= 31
    assert least[-1] == 32  # not even all of them
    assert looks_until(1.0, 31, 0.8, ERROR) == int((least <= 31).sum())
