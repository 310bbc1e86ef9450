"""What counts as a source, and what a loss knows of the shares within each."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.training.sources import (
    ADDED,
    cells_of,
    log_shares_by_source,
    sources_of,
)


def test_a_cell_has_one_number_for_each_source_and_class() -> None:
    labels, sources = np.divmod(np.arange(12), 4)
    cells = cells_of(labels, sources, 3)
    assert len(set(cells)) == 12
    assert (cells % 3 == labels).all()
    assert (cells // 3 == sources).all()


def rows(**changes: list[Any]) -> pd.DataFrame:
    """Forty images of each of two runs of an archive's numbers."""
    numbers = [*range(1000, 1040), *range(9000, 9040)]
    told: dict[str, object] = {"image_id": [f"ISIC_{number:07d}" for number in numbers]}
    told |= {"source": "ISIC", "width": 600, "height": 450, "format": "JPEG", "mode": "RGB"}
    return pd.DataFrame(told | changes)


def test_an_archive_its_runs_of_numbers_and_its_sizes_are_sources() -> None:
    assert sources_of(rows()).tolist() == [0] * 40 + [1] * 40
    by_size = sources_of(rows(width=[600, 180] * 40))
    assert len(set(by_size)) == 4
    assert set(by_size[::2][:20]).isdisjoint(by_size[1::2])
    of_two = sources_of(rows(source=["ISIC"] * 40 + ["own"] * 40))
    assert of_two.tolist() == [0] * 40 + [1] * 40


def test_what_did_not_tell_where_the_recipe_was_chosen_makes_no_source() -> None:
    more = rows(encoding=["quality 75", "quality 90"] * 40, camera=["one", "other"] * 40)
    assert (sources_of(more) == sources_of(rows())).all()


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
