"""Long simulations: of models that keep their promise, how many are ever accused."""

import os

import pytest

from tasks.statistics.every_look import ERROR, chances_of_alarm, most_found_in_alarm
from tests.benchmarks.broken_promises import MELANOMAS, PROMISES, simulated
from tests.support.campaigns import found

LIVES = int(os.environ.get("LIVES", "40000"))


@pytest.mark.parametrize("promise", PROMISES)
def test_at_most_5_percent_of_the_lives_of_a_model_that_keeps_its_promise_hold_an_alarm(
    promise: float,
) -> None:
    kept, broken = simulated(promise, promise, LIVES), simulated(promise, promise - 0.2, LIVES)
    exact = chances_of_alarm(most_found_in_alarm(promise, MELANOMAS), promise)[-1]

    assert kept.at_most <= ERROR
    assert abs(kept.share - exact) <= 4 * (exact * (1 - exact) / LIVES) ** 0.5
    assert kept.share_single > 2 * ERROR
    assert broken.share > 0.95
    figures = {
        "lives": LIVES,
        "melanomas": MELANOMAS,
        "false alarms": f"{kept.share:.4f}",
        "at most": f"{kept.at_most:.4f}",
        "counted exactly": f"{exact:.4f}",
        "20 points below: half of the alarms by": broken.until(0.5),
    }
    found("promises", {f"promise {promise:.0%}": figures})
