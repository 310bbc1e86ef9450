"""The fixed description of images."""

import hashlib
import time

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tasks.errors import BadInput
from tasks.evaluation.descriptor import DIMENSIONS, NAMES, VERSION, descriptors_of
from tests.support.skin import lesion

SKIN = np.stack([np.asarray(lesion(seed)) for seed in range(6)])


def moved(pixels: np.ndarray) -> dict[str, float]:
    """By how much the mean of each figure differs from the skin's."""
    difference = descriptors_of(pixels).mean(axis=0) - descriptors_of(SKIN).mean(axis=0)
    return dict(zip(NAMES, difference.tolist(), strict=True))


def test_the_same_pixels_give_the_same_figures_whatever_stands_beside_them() -> None:
    all_at_once = descriptors_of(SKIN)

    assert all_at_once.shape == (6, DIMENSIONS)
    assert all_at_once.dtype == np.float32
    assert np.isfinite(all_at_once).all()
    assert (descriptors_of(SKIN[4:5])[0] == all_at_once[4]).all()
    assert (descriptors_of(SKIN[::-1])[::-1] == all_at_once).all()
    assert (all_at_once[0] != all_at_once[1]).any()


def test_a_change_of_the_figures_raises_the_version() -> None:
    """Rounded: processors may differ in the last digits."""
    ramp = np.add.outer(np.arange(64), 2 * np.arange(64))[..., None] + np.array([60, 20, 0])
    image = ramp.clip(0, 255).astype(np.uint8)[None]
    figures = " ".join(f"{each:.2f}" for each in descriptors_of(image)[0] + 0.0)

    assert (VERSION, hashlib.sha256(figures.encode()).hexdigest()[:12]) == (1, "ee2599b0c911")


def test_a_blurred_image_has_less_contrast_at_one_pixel_and_the_same_colours() -> None:
    found = moved(gaussian_filter(SKIN, (0, 2, 2, 0)))

    assert found["contrast across at 1 px, middle"] < -0.2
    assert abs(found["L* of the border"]) < 0.5


def test_another_lamp_moves_colours_and_leaves_contrasts() -> None:
    lamp = (SKIN.astype(int) + np.array([12, 0, -14])).clip(0, 255).astype(np.uint8)
    found = moved(lamp)

    assert found["b* of the border"] > 5
    assert abs(found["contrast across at 1 px, middle"]) < 0.1


def test_black_corners_are_seen() -> None:
    dark = SKIN.copy()
    dark[:, :25, :25] = dark[:, -25:, :25] = dark[:, :25, -25:] = dark[:, -25:, -25:] = 0
    found = moved(dark)

    assert found["light of the corners against the whole"] < -20
    assert found["dark share"] > 0.05


def test_an_image_is_described_within_8_ms() -> None:
    """Of the processor, at the best of some tries: the machine may be busy with something else."""
    times = []
    for _ in range(5):
        before = time.process_time()
        descriptors_of(SKIN)
        times.append((time.process_time() - before) / len(SKIN))

    assert min(times) < 0.008


@pytest.mark.parametrize(
    "pixels",
    [SKIN[0], SKIN.astype(float), SKIN[:, :90], SKIN[..., :1], SKIN[:, :20, :20]],
    ids=["one", "floats", "oblong", "grey", "small"],
)
def test_what_cannot_be_described_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(BadInput, match="uint8"):
        descriptors_of(pixels)


def test_no_image_gives_no_row() -> None:
    assert descriptors_of(SKIN[:0]).shape == (0, DIMENSIONS)
