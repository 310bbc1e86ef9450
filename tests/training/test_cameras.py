"""What another camera may change of a picture, and what it may not."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tasks.training.batches import SHOWING, Showing
from tasks.training.cameras import CHANGES, DARKEST, photographed_elsewhere

pytestmark = pytest.mark.slow

SIDE = 32
STRONG = {
    "marked": 1.0, "cornered": 1.0, "blurred": 1.0, "restyled": 1.0, "gamma": 0.3, "noise": 8.0
}  # fmt: skip


def pictures(n: int = 16) -> np.ndarray:
    """A dark disc, the lesion, upper left on bright skin; each picture of its own colours."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    lesion = ((y - 0.35) ** 2 + (x - 0.35) ** 2 < 0.2**2)[None, :, :, None]
    skin, dark = random.uniform(150, 230, (n, 1, 1, 3)), random.uniform(50, 110, (n, 1, 1, 3))
    return np.where(lesion, dark, skin).astype(np.float32)


def changed(field: str, given: np.ndarray, seed: int = 1) -> np.ndarray:
    random = keras.random.SeedGenerator(seed)
    made = CHANGES[field](ops.convert_to_tensor(given), STRONG[field], random)
    array: np.ndarray = ops.convert_to_numpy(made)
    return array


def middle(images: np.ndarray) -> np.ndarray:
    """Where the darkness of each image lies, in pixels: ``(n, 2)``."""
    grey = images.mean(axis=3)
    dark = grey < (np.quantile(grey, 0.9, axis=(1, 2)) * 0.75)[:, None, None]
    return np.array([np.argwhere(each).mean(axis=0) for each in dark])


@pytest.mark.parametrize("field", CHANGES)
def test_a_change_keeps_shape_and_type_and_depends_on_its_seed(field: str) -> None:
    before = pictures()
    first, again, other = (changed(field, before, seed) for seed in (1, 1, 2))
    assert first.shape == before.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert (first == again).all()
    assert (first != other).any()
    assert (first != before).any()


@pytest.mark.parametrize("field", ["marked", "cornered", "blurred", "gamma"])
def test_a_change_stays_in_the_range_of_an_image(field: str) -> None:
    made = changed(field, pictures())
    assert made.min() > -0.1
    assert made.max() < 255.1


@pytest.mark.parametrize("field", ["blurred", "restyled", "gamma", "noise"])
def test_a_change_of_colour_or_sharpness_leaves_the_lesion_where_it_is(field: str) -> None:
    before = pictures()
    away = np.abs(middle(changed(field, before)) - middle(before))
    assert away.max() < 1.0
    # The opposite: a lesion that has moved by two pixels is noticed.
    assert np.abs(middle(np.roll(before, 2, axis=1)) - middle(before)).max() > 1.5


def test_corners_are_dark_and_the_centre_is_as_it_was() -> None:
    before = np.full((64, SIDE, SIDE, 3), 200, np.float32)
    made = changed("cornered", before)
    half = slice(SIDE // 2 - 2, SIDE // 2 + 2)
    assert (made[:, half, half] == before[:, half, half]).all()
    assert (made[:, 0, 0] <= 200).all()
    assert (made[:, 0, 0].max(axis=1) < DARKEST + 30).mean() > 0.3


def test_hairs_and_marks_darken_few_pixels_and_brighten_none() -> None:
    before = np.full((64, SIDE, SIDE, 3), 200, np.float32)
    made = changed("marked", before)
    assert made.max() <= 200.01
    assert 0.005 < (made.min(axis=3) < 190).mean() < 0.3


def test_a_restyled_image_has_colours_between_its_own_and_the_others() -> None:
    before = pictures()
    own = before.mean(axis=(1, 2))
    made, low = changed("restyled", before).mean(axis=(1, 2)), np.minimum(own, own[::-1])
    assert (made >= low - 0.1).all()
    assert (made <= np.maximum(own, own[::-1]) + 0.1).all()


def test_a_share_of_the_images_changes_and_the_others_not_at_all() -> None:
    before = np.repeat(pictures(1), 400, axis=0)
    random = keras.random.SeedGenerator(3)
    made = ops.convert_to_numpy(CHANGES["cornered"](ops.convert_to_tensor(before), 0.25, random))
    same = (made == before).all(axis=(1, 2, 3)).mean()
    assert 0.7 < same < 0.9  # 75 %, and those whose corners the opening does not reach


def test_what_is_off_changes_no_bit_and_takes_no_random_number() -> None:
    before = pictures()
    random: Any = keras.random.SeedGenerator(5)
    state = ops.convert_to_numpy(random.state).copy()
    for off in (SHOWING, Showing()):
        made = photographed_elsewhere(before, off, random)
        assert made is before
    assert (ops.convert_to_numpy(random.state) == state).all()
    photographed_elsewhere(before, Showing(noise=1.0), random)
    assert (ops.convert_to_numpy(random.state) != state).any()
