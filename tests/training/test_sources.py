"""What is drawn of several sources, and what a loss knows of their shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.training.sources import (
    ADDED,
    MOST_REPEATS,
    cells_of,
    drawn_evenly,
    even_counts,
    log_shares_by_source,
)

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


def test_a_cell_has_one_number_for_each_source_and_class() -> None:
    labels, sources = np.divmod(np.arange(12), 4)
    cells = cells_of(labels, sources, 3)
    assert len(set(cells)) == 12
    assert (cells % 3 == labels).all()
    assert (cells // 3 == sources).all()


def test_of_one_source_the_shares_are_those_of_the_classes() -> None:
    shares = np.exp(log_shares_by_source(np.array([6, 3, 1]), 3))
    assert shares[0] == pytest.approx([0.6, 0.3, 0.1])


def test_of_several_sources_the_shares_are_those_within_each_and_none_is_nothing() -> None:
    # Ten thousand images each: the first source has no third class, the second no first one.
    shares = np.exp(log_shares_by_source(np.array([9000, 1000, 0, 0, 5000, 5000]), 3))
    assert shares.sum(axis=1) == pytest.approx([1, 1])
    assert shares[0, :2] == pytest.approx([0.9, 0.1], abs=0.002)
    assert shares[1, 1:] == pytest.approx([0.5, 0.5], abs=0.002)
    assert shares[0, 2] == pytest.approx(ADDED * 0.25 / (10_000 + ADDED))
    assert shares[1, 0] == pytest.approx(ADDED * 0.45 / (10_000 + ADDED))


def test_counts_that_end_before_the_last_class_are_read_as_none() -> None:
    short, whole = (
        log_shares_by_source(np.array(each), 3) for each in ([5, 5, 0, 10], [5, 5, 0, 10, 0, 0])
    )
    assert (short == whole).all()
