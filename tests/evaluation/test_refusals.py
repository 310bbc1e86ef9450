"""What the judge of images refuses is counted by lesion, and told with its bounds."""

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.engine.run import Run
from tasks.evaluation.refusal_kinds import (
    CHANGED,
    DRAWN,
    EACH,
    NOT_SKIN,
    OTHERS,
    PHOTOGRAPHS,
    WITHOUT_SKIN,
    Kind,
    crops,
    kinds_of,
    sample_photographs,
)
from tasks.evaluation.refusals import REFUSED, answered, judge_of, refused_kind
from tests.support.judged import THRESHOLD, predictions

Array = np.ndarray[Any, Any]


class OnlyLarge:
    """Stands in for a judge: it refuses small images as too small and as blurred."""

    def judge(self, pixels: Array, widths: Array, heights: Array) -> list[list[tuple[str, str]]]:
        said = [("too small", "so it is"), ("blurred", "it is too")]
        return [said if width < 100 else [] for width in widths]


def test_sensitivity_counts_the_lesions_that_are_answered() -> None:
    """Of ten melanomas, eight are found; two found ones and one missed one are refused."""
    table = predictions(8, 10, 18, 20)
    table[REFUSED] = ""
    table.loc[[0, 1, 9], REFUSED] = "blurred"
    found = answered("", table, THRESHOLD)

    assert (found.refused.successes, found.refused.n) == (3, 30)
    assert (found.melanomas_refused.successes, found.melanomas_refused.n) == (3, 10)
    assert (found.sensitivity.successes, found.sensitivity.n) == (6, 7)
    assert (found.specificity.successes, found.specificity.n) == (18, 20)
    assert found.sensitivity.lower == pytest.approx(0.4213, abs=1e-4)  # Clopper-Pearson, 6 of 7


def test_with_nothing_refused_the_figures_are_those_of_all_lesions() -> None:
    found = answered("clinic-b", predictions(8, 10, 18, 20).assign(**{REFUSED: ""}), THRESHOLD)
    assert found.name == "clinic-b"
    assert found.refused.successes == 0
    assert (found.sensitivity.successes, found.sensitivity.n) == (8, 10)


def test_a_lesion_is_refused_where_one_of_its_images_is() -> None:
    table = predictions(8, 10, 18, 20)
    second = table.iloc[[0]].assign(image_id="another view")
    table = pd.concat([table, second], ignore_index=True).assign(**{REFUSED: ""})
    assert answered("", table, THRESHOLD).refused.successes == 0
    table.loc[len(table) - 1, REFUSED] = "no lesion"
    assert answered("", table, THRESHOLD).refused.successes == 1
    assert answered("", table, THRESHOLD).refused.n == 30


def test_a_kind_is_told_with_its_exact_bound_and_grounds() -> None:
    pixels = np.zeros((100, 48, 48, 3), np.uint8)
    judge: Any = OnlyLarge()
    small = refused_kind(judge, Kind("dust", "drawn", False, pixels, np.full(100, 48)))
    large = refused_kind(judge, Kind("dust", "drawn", True, pixels, np.full(100, 480)))

    assert (small.refused.successes, small.refused.n) == (100, 100)
    assert small.at_least == pytest.approx(0.05 ** (1 / 100))  # exact, of 100 of 100
    assert small.grounds == {"too small": 100, "blurred": 100}
    assert small.target == NOT_SKIN
    assert (large.refused.successes, large.at_least, large.grounds) == (0, 0.0, {})
    assert large.target == OTHERS


def test_kinds_are_the_same_each_time_and_at_least_a_hundred_images() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (120, 48, 48, 3), np.uint8)
    once, again = kinds_of(pixels), kinds_of(pixels)

    assert {*DRAWN, *CHANGED, PHOTOGRAPHS} < {each.name for each in once}
    for one, other in zip(once, again, strict=True):
        assert (one.pixels == other.pixels).all()
        assert len(one.pixels) == len(one.sides) == (EACH if one.skin else WITHOUT_SKIN) >= 100
        assert one.pixels.shape[1:] == (48, 48, 3)
        assert len({each.tobytes() for each in one.pixels}) >= 0.95 * len(one.pixels), one.name


def test_of_what_is_derived_no_image_counts_twice() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (30, 48, 48, 3), np.uint8)
    counts = {each.origin: len(each.pixels) for each in kinds_of(pixels)}
    assert counts == {
        "photographs": WITHOUT_SKIN,
        "drawn": WITHOUT_SKIN,
        "derived from test images": 30,
    }


def test_crops_are_parts_of_the_photographs() -> None:
    photographs = sample_photographs()
    assert [each.shape[2] for each in photographs] == [3, 3]
    found = crops(photographs, 64, 10, np.random.default_rng(2))
    assert found.shape == (10, 64, 64, 3)
    assert len({each.tobytes() for each in found}) == 10


@pytest.mark.parametrize(("train", "validation"), [(19, 30), (30, 19)])
def test_of_too_few_images_no_judge_is_made_and_that_is_told(
    train: int, validation: int, caplog: pytest.LogCaptureFixture
) -> None:
    sides = ["train"] * train + ["validation"] * validation
    rows = pd.DataFrame({"side": sides, "image_id": [f"i{n}" for n in range(len(sides))]})
    nowhere: Run = None  # type: ignore[assignment]  # no pixel is read
    with caplog.at_level(logging.WARNING):
        assert judge_of(nowhere, rows) is None
    assert "holds 19 images, and it needs 20" in caplog.text
