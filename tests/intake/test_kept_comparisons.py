"""A pair of pictures is compared once, in whatever order and delivery the pictures come."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.engine.run import Run
from tasks.engine.store import Store
from tasks.intake.feature_files import COMPARED
from tasks.intake.kept_comparisons import TOLD, compared, names_of
from tests.support.deliveries import run_of
from tests.support.stores import keys


@pytest.fixture
def run(store: Store) -> Run:
    return replace(run_of(store), step="validate")


def pictures(*numbers: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pixel_hash": [f"{number:064x}" for number in numbers],
            "thumbnail": [bytes([number] * 4) for number in numbers],
        }
    )


def pairs(*ends: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame(ends, columns=["first", "second"]).assign(mirrored=False)


def counting(names: np.ndarray, asked: list[set[str]]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Compares by what the names say, and writes down who was compared."""

    def compare(given: pd.DataFrame) -> pd.DataFrame:
        ends = [(names[a], names[b]) for a, b in given[["first", "second"]].to_numpy(int)]
        asked.extend(set(each) for each in ends)
        # Another order of the same two gives another number.
        told = [int(one[:6], 16) + int(other[:6], 16) / 1e9 for one, other in ends]
        return given.assign(**dict.fromkeys(TOLD, np.array(told, float)))

    return compare


def test_what_is_known_of_two_pictures_is_not_asked_again(run: Run) -> None:
    names = names_of(pictures(1, 2, 3))
    asked: list[set[str]] = []
    first = compared(run, names, pairs((0, 1), (1, 2)), counting(names, asked))
    assert len(asked) == 2
    again = compared(run, names, pairs((0, 1), (1, 2), (0, 2)), counting(names, asked))
    assert asked[2:] == [{names[0], names[2]}]
    assert again.iloc[:2].reset_index(drop=True).equals(first)
    assert len(keys(run.store, COMPARED)) == 2


def test_the_order_of_pictures_changes_nothing_of_what_is_told(run: Run) -> None:
    names = names_of(pictures(4, 5))
    asked: list[set[str]] = []
    one = compared(run, names, pairs((0, 1)), counting(names, asked))
    other = compared(run, names[::-1], pairs((0, 1)), counting(names[::-1], asked))
    assert len(asked) == 1
    assert one[TOLD].equals(other[TOLD])
    assert names[one["first"]] == names[::-1][other["first"]]


def test_other_pixels_under_one_hash_are_another_picture() -> None:
    told = names_of(pictures(1, 1).assign(thumbnail=[b"a", b"b"]))
    assert told[0] != told[1]


def test_a_mirrored_pair_is_another_question(run: Run) -> None:
    names = names_of(pictures(1, 2))
    asked: list[set[str]] = []
    compared(run, names, pairs((0, 1)), counting(names, asked))
    compared(run, names, pairs((0, 1)).assign(mirrored=True), counting(names, asked))
    assert len(asked) == 2


def test_a_damaged_table_is_told_and_its_pairs_are_compared_again(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    names = names_of(pictures(1, 2))
    asked: list[set[str]] = []
    compared(run, names, pairs((0, 1)), counting(names, asked))
    (key,) = keys(run.store, COMPARED)
    run.store.replace(key, b"damaged")
    compared(run, names, pairs((0, 1)), counting(names, asked))
    assert len(asked) == 2
    assert "was damaged" in caplog.text


def test_nothing_asked_keeps_nothing(run: Run) -> None:
    told = compared(run, names_of(pictures(1)), pairs(), counting(names_of(pictures(1)), []))
    assert not len(told)
    assert not keys(run.store, COMPARED)
