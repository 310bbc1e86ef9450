"""A copy agrees in its pixels, whatever was done to it; another photograph does not."""

import numpy as np
import pytest
from PIL import Image

from tasks.intake.copies import agreeing
from tasks.intake.images import PACKING, squeezed
from tasks.intake.local_features import features_of
from tasks.intake.same_pixels import LEAST_AGREEMENT, agreement, squares
from tests.support.copies import COPIES, Alteration
from tests.support.skin import lesion, photographed_again

CONFIRMED = [
    pytest.param(alter, id=f"{kind} {strength}")
    for kind, strengths in COPIES.items()
    for strength, alter in strengths.items()
    if kind != "re-photographed"
]


def agreed(one: Image.Image, two: Image.Image, mirrored: bool) -> float:
    pixels = np.stack([squeezed(np.ascontiguousarray(each), 180, PACKING) for each in (one, two)])
    found = agreeing(features_of(pixels), 0, 1, mirrored)
    assert found
    first, second = squares(pixels)
    return agreement(first, second, *found)


@pytest.mark.parametrize("alter", CONFIRMED)
def test_a_copy_is_confirmed(alter: Alteration, request: pytest.FixtureRequest) -> None:
    mirrored = "mirrored" in request.node.callspec.id
    assert agreed(lesion(7), alter(lesion(7)), mirrored) >= LEAST_AGREEMENT


@pytest.mark.parametrize("seed", range(6))
def test_a_second_photograph_is_not(seed: int) -> None:
    assert agreed(lesion(seed), photographed_again(lesion(seed), seed), False) < LEAST_AGREEMENT


def test_pictures_without_structure_do_not_agree() -> None:
    plain = np.full((128, 128, 3), 150, np.uint8)
    places = np.array([[10, 10], [100, 12], [60, 90], [20, 70]], float)
    same = np.array([[1, 0, 0], [0, 1, 0]], float)
    assert agreement(plain, plain, same, places, places) == 0
