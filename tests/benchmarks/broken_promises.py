"""How often the alarm of a broken promise is false, and how many melanomas it takes.

    python -m tests.benchmarks.broken_promises [--lives 4000]

A life of a model is 300 melanomas that are released one after another, each found with the true
sensitivity. After each of them somebody looks. Beside the alarm stands an exact test for a single
look, 95 %, made again at every look. The evidence is computed at each look anew, and not by the
limits with which the product counts exact chances.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from tasks.statistics.every_look import ERROR, evidence_against
from tasks.statistics.proportions import upper_bound

Array = np.ndarray[Any, Any]

LIVES, MELANOMAS = 4000, 300
PROMISES = (0.7, 0.8, 0.9, 0.95)
DROPS = (0.0, 0.05, 0.1, 0.2)
SEED = 20


@dataclass(frozen=True)
class Alarms:
    """The lives of models with one promise and one true sensitivity.

    Attributes:
        promise, truth: What is promised, and what is true.
        at: The melanoma of the alarm in each life; `MELANOMAS` + 1 where there was none.
        at_single: The same by the test for a single look.
    """

    promise: float
    truth: float
    at: Array
    at_single: Array

    @property
    def share(self) -> float:
        return float((self.at <= MELANOMAS).mean())

    @property
    def share_single(self) -> float:
        return float((self.at_single <= MELANOMAS).mean())

    @property
    def at_most(self) -> float:
        """One-sided 95 % upper bound of `share` (Clopper & Pearson)."""
        return upper_bound(int((self.at <= MELANOMAS).sum()), len(self.at))

    def until(self, share: float) -> str:
        """Melanomas until the alarm in this share of the lives."""
        number = int(np.ceil(np.quantile(self.at, share)))
        return str(number) if number <= MELANOMAS else f"> {MELANOMAS}"


def simulated(promise: float, truth: float, lives: int = LIVES) -> Alarms:
    """The alarms of so many lives, drawn from a fixed seed."""
    found = np.random.default_rng(SEED).random((lives, MELANOMAS)) < truth
    at, single = (np.full(lives, MELANOMAS + 1) for _ in range(2))
    for n in range(1, MELANOMAS + 1):
        successes = found[:, :n].sum(axis=1)
        over = evidence_against(successes, n, promise) >= -math.log(ERROR)
        at[over & (at > MELANOMAS)] = n
        below = binom.cdf(successes, n, promise) <= ERROR
        single[below & (single > MELANOMAS)] = n
    return Alarms(promise, truth, at, single)


def rows(lives: int) -> Iterator[Alarms]:
    for promise in PROMISES:
        for drop in DROPS:
            yield simulated(promise, promise - drop, lives)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=LIVES)
    lives = parser.parse_args().lives
    print(f"{lives:,} lives of {MELANOMAS} melanomas each, seed {SEED}\n")
    print("| promise | true | alarms | at most | half by | 80 % by | single looks |")
    print("|---|---|---|---|---|---|---|")
    for each in rows(lives):
        print(
            f"| {each.promise:.0%} | {each.truth:.0%} | {each.share:.1%} | {each.at_most:.1%} "
            f"| {each.until(0.5)} | {each.until(0.8)} | {each.share_single:.0%} |"
        )


if __name__ == "__main__":
    main()
