"""Long simulations: of many models just below the floor, how often any passes."""

import math
import os

import pytest

from tests.benchmarks.looks_at_one_test_part import policy_of, simulated
from tests.support.campaigns import found

REPETITIONS = int(os.environ.get("REPETITIONS", "200000"))
ERROR = 0.05


@pytest.mark.parametrize("melanomas", [14, 31, 81, 300])
@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9, 0.99])
def test_any_of_a_hundred_models_passes_in_at_most_5_percent(melanomas: int, rho: float) -> None:
    chance = simulated(policy_of(2), melanomas, rho, REPETITIONS)
    assert (chance <= ERROR + 4 * math.sqrt(ERROR * (1 - ERROR) / REPETITIONS)).all()
    figures = {"repetitions": REPETITIONS, "any passes": f"{chance[-1]:.4f}"}
    found("looks", {f"{melanomas} melanomas, correlation {rho}": figures})
