"""What is drawn of sources and classes that are to come equally often."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.carrying_over import MOST_REPEATS, drawn_evenly, even_counts

pytestmark = pytest.mark.slow  # for the import of Keras

CELLS = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


def of_counts(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@given(CELLS, st.integers(0, 600))
def test_cells_are_drawn_as_equally_as_repeats_allow(counts: list[int], total: int) -> None:
    drawn = even_counts(of_counts(counts), total)
    most = MOST_REPEATS * np.array(counts)[: len(drawn)]
    assert drawn.sum() == min(total, most.sum())
    assert (drawn <= most).all()
    # A cell that may be drawn more often is at most one image behind any other.
    behind = drawn[drawn < most]
    assert not len(behind) or drawn.max() <= behind.min() + 1


@given(CELLS, st.integers(0, 600), st.integers(0, 5))
def test_a_pass_holds_these_counts_and_repeats_no_image_before_each_has_come(
    counts: list[int], total: int, seed: int
) -> None:
    cells = of_counts(counts)
    order = drawn_evenly(np.random.default_rng(seed), cells, total)
    wanted = even_counts(cells, total)
    assert (np.bincount(cells[order], minlength=len(wanted)) == wanted).all()
    times = np.bincount(order, minlength=len(cells))
    for cell in set(cells):
        own = times[cells == cell]
        assert own.max() - own.min() <= 1


def test_the_order_of_a_pass_depends_on_the_generator_alone() -> None:
    cells = of_counts([30, 3, 0, 200])
    first, again, other = (drawn_evenly(np.random.default_rng(n), cells, 100) for n in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
