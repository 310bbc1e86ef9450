"""The light form of a network answers as its ``.keras`` file does."""

import os

import keras
import numpy as np
import pytest

from tasks.errors import Corrupt
from tasks.model_file import answers_of, from_bytes, to_bytes
from tasks.recipes import Recipe
from tasks.registry.light_form import light_answers, light_form, weights_of
from tasks.training.calibration import calibrated
from tasks.training.harmonic import plain
from tasks.training.notebook_networks import build
from tasks.training.residual_network import residual, served

pytestmark = pytest.mark.slow

SIDE, PACKED, CLASSES = 32, 48, 3
RECIPES: tuple[Recipe, ...] = ("residual", "baseline", "regularized", "balanced")


def stirred(network: keras.Model) -> keras.Model:
    """A network whose layers all count: as made, the last one answers evenly."""
    generator = np.random.default_rng(1)
    network.set_weights(
        [
            np.abs(each + generator.normal(scale=0.05, size=each.shape))
            if "variance" in weight.path
            else each + generator.normal(scale=0.05, size=each.shape)
            for weight, each in zip(network.weights, network.get_weights(), strict=True)
        ]
    )
    return network


def file_of(recipe: Recipe) -> bytes:
    if recipe == "residual":
        network = served(plain(stirred(residual(CLASSES, 1))), SIDE, recipe)
        return to_bytes(calibrated(network, 1.5))
    made = build(recipe, image_size=SIDE, classes=CLASSES, learning_rate=0.001, seed=1)
    return to_bytes(stirred(made))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_light_form_answers_as_the_network(recipe: Recipe) -> None:
    data = file_of(recipe)
    images = np.random.default_rng(0).integers(0, 256, (5, PACKED, PACKED, 3), np.uint8)
    expected = answers_of(from_bytes(data), images)

    light = light_form(data, PACKED, recipe)

    assert np.ptp(expected, axis=0).max() > 1e-3  # images are told apart
    assert np.abs(light_answers(light, images) - expected).max() < 1e-5
    for one in range(len(images)):  # whatever is asked beside an image
        alone = light_answers(light, images[one : one + 1])
        assert np.abs(alone - expected[one]).max() < 1e-5


@pytest.mark.parametrize(("side", "small"), [(48, 32), (33, 16), (16, 32)])
def test_the_weights_of_a_resizing_resize(side: int, small: int) -> None:
    resizing = keras.layers.Resizing(small, small, antialias=True)
    weights = weights_of(resizing, side)
    image = np.random.default_rng(0).uniform(0, 255, (1, side, side, 3)).astype(np.float32)

    by_weights = np.einsum("oi,pj,nijc->nopc", weights, weights, image)

    assert weights.shape == (small, side)
    assert by_weights == pytest.approx(np.asarray(resizing(image)), abs=1e-3)


def test_a_process_of_its_own_converts_where_another_backend_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = file_of("residual")
    images = np.random.default_rng(0).integers(0, 256, (5, PACKED, PACKED, 3), np.uint8)
    here = light_answers(light_form(data, PACKED, "here"), images)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")

    apart = light_answers(light_form(data, PACKED, "apart"), images)
    assert np.abs(apart - here).max() < 1e-6
    assert os.environ["KERAS_BACKEND"] == "jax"


def test_what_cannot_be_converted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(Corrupt, match="Version 3 cannot be asked in a clean process"):
        light_form(b"no model", PACKED, "Version 3")
