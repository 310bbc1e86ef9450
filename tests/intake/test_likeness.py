"""Near duplicates: what is one picture is found, in any turn; what is two is not."""

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from tasks.intake.likeness import (
    HASH_BITS,
    MAXIMUM_DISTANCE,
    _candidates,
    near_duplicates,
    perceptual_hashes,
    to_hex,
)


def planes(n: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures, uint8 (n, 32, 32)."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(n, 32, 32)), (0, 3, 3))
    low, high = noise.min(axis=(1, 2), keepdims=True), noise.max(axis=(1, 2), keepdims=True)
    return np.asarray((noise - low) / (high - low) * 255, np.uint8)


def test_the_hash_is_the_one_that_the_field_uses() -> None:
    pictures = planes(30)
    ours = to_hex(perceptual_hashes(pictures))
    theirs = [str(imagehash.phash(Image.fromarray(picture))) for picture in pictures]
    assert ours == theirs


@pytest.mark.parametrize("turn", range(8))
def test_a_picture_is_found_in_each_turn_and_reflection(turn: int) -> None:
    pictures = planes(200)
    turned = np.rot90(pictures[17], turn % 4)
    if turn >= 4:
        turned = turned[:, ::-1]
    pairs = near_duplicates(np.concatenate([pictures, turned[None]]))
    assert pairs[["first", "second"]].to_numpy().tolist() == [[17, 200]]
    assert pairs["correlation"].iloc[0] == pytest.approx(1, abs=1e-4)


def test_different_pictures_are_no_pair() -> None:
    assert len(near_duplicates(planes(1000))) == 0


@given(st.integers(0, 3), st.floats(0.8, 1.0), st.integers(0, 50))
def test_light_and_contrast_do_not_hide_a_duplicate(turn: int, gain: float, offset: int) -> None:
    pictures = planes(40, seed=turn)
    changed = (np.rot90(pictures[5], turn) * gain * (255 - offset) / 255 + offset).astype(np.uint8)
    pairs = near_duplicates(np.concatenate([pictures, changed[None]]))
    assert [5, 40] in pairs[["first", "second"]].to_numpy().tolist()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_pictures_are_no_special_case(n: int) -> None:
    assert len(near_duplicates(planes(2)[:n])) == 0


def test_flat_pictures_are_not_all_each_others_duplicates() -> None:
    flat = np.full((50, 32, 32), 128, np.uint8)
    assert len(near_duplicates(flat)) == 0


@given(st.integers(0, 2**32 - 1), st.integers(0, MAXIMUM_DISTANCE))
def test_no_pair_within_the_distance_is_overlooked(seed: int, distance: int) -> None:
    random = np.random.default_rng(seed)
    plain = random.integers(0, 2, (40, HASH_BITS)).astype(bool)
    other = random.integers(0, 2, (40, HASH_BITS)).astype(bool)
    other[7] = plain[11]
    other[7, random.choice(HASH_BITS, distance, replace=False)] ^= True
    first, second = _candidates(plain, other, np.arange(40))
    near = np.argwhere((plain[:, None] != other[None]).sum(axis=2) <= MAXIMUM_DISTANCE)
    assert {(11, 7)} <= {tuple(pair) for pair in near}
    assert {tuple(pair) for pair in near} <= set(zip(first, second, strict=True))


@pytest.mark.parametrize("shape", ["frame", "corners"])
def test_a_frame_or_corners_make_no_two_pictures_alike(shape: str) -> None:
    drawn = gaussian_filter(np.random.default_rng(3).normal(size=(20, 32, 32)), (0, 4, 4))
    skins = 170 + 14 * drawn / drawn.std(axis=(1, 2), keepdims=True)
    y, x = np.mgrid[-0.85:1.15:32j, -0.9:1.1:32j]
    away = np.maximum(abs(x), abs(y)) if shape == "frame" else np.hypot(x, y)
    marked = np.clip(skins * (away < 0.9), 0, 255).astype(np.uint8)
    assert near_duplicates(marked).empty
    copy = np.clip(marked[7:8] * 0.9, 0, 255).astype(np.uint8)
    found = near_duplicates(np.concatenate([marked, copy]))
    assert list(found[["first", "second"]].itertuples(index=False, name=None)) == [(7, 20)]


@pytest.mark.parametrize("place", [0, 20])
def test_what_is_asked_for_is_compared_with_all_others_wherever_it_stands(place: int) -> None:
    known = planes(20)
    both = np.insert(known, place, known[7] // 2, axis=0)
    found = near_duplicates(both, np.arange(21) == place)
    assert list(found["second" if place == 0 else "first"]) == [7 + (place == 0)]
