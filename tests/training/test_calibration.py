"""The temperature: found again, right inside the saved network, and harmless."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from tasks.model_file import from_bytes, to_bytes
from tasks.training.calibration import (
    COOLEST,
    HOTTEST,
    at_temperature,
    calibrated,
    calibration_error,
    fit_temperature,
)

Array = np.ndarray


def honest(n: int, seed: int) -> tuple[Array, Array]:
    """Probabilities over four classes, and classes drawn by them."""
    generator = np.random.default_rng(seed)
    odds = np.exp(2 * generator.normal(size=(n, 4)))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    below = generator.random(n)[:, None] > probabilities.cumsum(axis=1)
    return probabilities, below.sum(axis=1).clip(max=3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_that_was_put_on_is_found_and_taken_off(temperature: float) -> None:
    probabilities, labels = honest(20_000, seed=1)
    distorted = at_temperature(probabilities, 1 / temperature)
    found = fit_temperature(distorted, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    assert calibration_error(at_temperature(distorted, found), labels) < 0.02
    if temperature != 1:
        assert calibration_error(distorted, labels) > 0.05


@given(st.integers(0, 2**32 - 1), st.floats(COOLEST, HOTTEST))
def test_no_temperature_changes_an_answer(seed: int, temperature: float) -> None:
    probabilities, _ = honest(20, seed)
    changed = at_temperature(probabilities, temperature)
    assert changed.sum(axis=1) == pytest.approx(1)
    assert (changed.argmax(axis=1) == probabilities.argmax(axis=1)).all()


def test_certain_answers_stay_numbers() -> None:
    certain, labels = np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 1])
    found = fit_temperature(certain, labels)
    assert COOLEST <= found <= HOTTEST
    assert np.isfinite(at_temperature(certain, found)).all()


def test_the_calibration_error_is_that_of_its_definition() -> None:
    # Two bins: 0.6 with half of two right, 0.9 with one of one right.
    probabilities = np.array([[0.6, 0.4], [0.4, 0.6], [0.9, 0.1]])
    labels = np.array([0, 0, 0])
    assert calibration_error(probabilities, labels) == pytest.approx((2 * 0.1 + 1 * 0.1) / 3)


def test_the_saved_network_answers_at_its_temperature() -> None:
    image = keras.Input((None, None, 3))
    answer = layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(image))
    model = keras.Model(image, answer)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    plain = model.predict(pixels, verbose=0)
    saved = from_bytes(to_bytes(calibrated(model, 40.0))).predict(pixels, verbose=0)
    assert saved == pytest.approx(at_temperature(plain, 40.0), abs=1e-5)
    assert saved != pytest.approx(plain, abs=1e-2)
