"""What `residual` is: smooth kernels while it learns, ordinary ones in the file; and answers that
no quarter-turn or reflection changes."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn, idctn
from scipy.special import softmax

from tasks.model_file import answers_of, from_bytes, to_bytes
from tasks.recipes import Recipe
from tasks.training.calibration import calibrated
from tasks.training.harmonic import Harmonic, plain, slow_cosines
from tasks.training.notebook_networks import build
from tasks.training.residual_network import eight_turns, residual, served

pytestmark = pytest.mark.slow

Array = np.ndarray
SIDE, CLASSES = 16, 3


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """One in which every weight counts: as it is made, blocks keep what they are given, and the
    last layer answers evenly."""
    network = residual(CLASSES, seed=1)
    generator = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(generator.uniform(0.5, 1.5, size=(4, *layer.gamma.shape)))
    head = network.layers[-1]
    head.set_weights([generator.normal(scale=0.01, size=each.shape) for each in head.get_weights()])
    return network


@pytest.fixture(scope="module")
def saved(network: keras.Model) -> keras.Model:
    return from_bytes(to_bytes(calibrated(served(plain(network), SIDE, "residual"), 1.5)))


def lying(image: Array) -> Array:
    """A square picture ``(side, side, 3)`` as eight cameras see it, ``(8, side, side, 3)``."""
    return np.stack([np.rot90(each, k) for each in (image, image[:, ::-1]) for k in range(4)])


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([SIDE, 23, 40]))
def test_quarter_turns_and_reflections_change_no_answer(
    saved: keras.Model, seed: int, side: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    answers = answers_of(saved, lying(image))
    assert answers == pytest.approx(np.repeat(answers[:1], 8, axis=0), abs=1e-4)


def test_they_would_change_the_answer_of_one_look(network: keras.Model) -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    answers = softmax(network.predict(lying(image), verbose=0), axis=1)
    assert np.ptp(answers, axis=0).max() > 0.01


def test_an_answer_is_the_mean_over_the_eight_ways(network: keras.Model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, SIDE, SIDE, 3), np.uint8)
    each = [softmax(network.predict(lying(image), verbose=0), axis=1).mean(0) for image in images]
    answers = answers_of(served(plain(network), SIDE, "residual"), images)
    assert answers == pytest.approx(np.stack(each), abs=1e-4)
    assert np.ptp(answers, axis=0).max() > 0.01  # they are not all alike


def test_a_picture_that_is_no_square_is_answered_alike_upside_down(saved: keras.Model) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 20, 33, 3), np.uint8)
    answer = answers_of(saved, image)
    for turned in (image[:, ::-1], image[:, :, ::-1], image.transpose(0, 2, 1, 3)):
        assert answers_of(saved, turned) == pytest.approx(answer, abs=1e-4)


def test_a_square_lies_in_eight_ways_the_given_one_first() -> None:
    image = np.arange(5 * 5 * 3, dtype=np.float32).reshape(1, 5, 5, 3)
    turns = [keras.ops.convert_to_numpy(each) for each in eight_turns(image)]
    assert (turns[0] == image).all()
    assert {each.tobytes() for each in turns} == {each.tobytes() for each in lying(image[0])}
    assert len({each.tobytes() for each in turns}) == 8


# Called, not predicted --------------------------------------------------------------------------


def called(model: keras.Model, images: Array, **options: bool) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(model(images.astype(np.float32), **options)))


def network_of(recipe: Recipe) -> keras.Model:
    """A network of a recipe, as its file gives it back."""
    if recipe == "residual":
        return from_bytes(to_bytes(calibrated(served(plain(residual(3, 1)), 32, recipe), 1.5)))
    made = build(recipe, image_size=32, classes=CLASSES, learning_rate=0.001, seed=1)
    return from_bytes(to_bytes(made))


@pytest.mark.parametrize("recipe", ["residual", "baseline", "regularized", "balanced"])
def test_a_network_that_is_called_answers_as_predicted_and_keeps_its_weights(
    recipe: Recipe,
) -> None:
    model = network_of(recipe)
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), np.uint8)
    before = [each.copy() for each in model.get_weights()]
    assert called(model, images) == pytest.approx(answers_of(model, images), abs=1e-4)
    for then, now in zip(before, model.get_weights(), strict=True):
        assert (then == now).all()


def test_a_network_that_is_told_to_train_still_turns_its_images() -> None:
    model = network_of("regularized")
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), np.uint8)
    ways = [called(model, images, training=True) for _ in range(2)]
    assert np.abs(ways[0] - ways[1]).max() > 1e-4
    assert called(model, images) == pytest.approx(called(model, images), abs=1e-6)


# Smooth kernels ---------------------------------------------------------------------------------


@given(st.integers(1, 9))
def test_the_cosines_are_the_slow_ones_of_the_discrete_cosine_transform(side: int) -> None:
    one_at_a_time = np.eye(side * side).reshape(-1, side, side)
    cosines = idctn(one_at_a_time, axes=(1, 2), norm="ortho")
    slow = [side * down + across for down in range(side) for across in range(side - down)]
    assert slow_cosines(side) == pytest.approx(cosines[slow], abs=1e-6)


def test_a_network_learns_smooth_kernels_of_every_side_but_one(network: keras.Model) -> None:
    kinds = {
        (layer.kernel_size, type(layer))
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D)
    }
    assert kinds == {((5, 5), Harmonic), ((3, 3), Harmonic), ((1, 1), keras.layers.Conv2D)}


def test_a_learned_kernel_has_no_fast_cosine_and_an_ordinary_one_has(network: keras.Model) -> None:
    def fast(kernel: Array) -> Array:
        waves = np.add.outer(*map(np.arange, kernel.shape[:2]))
        high: Array = dctn(kernel, axes=(0, 1), norm="ortho")[waves >= len(kernel)]
        return high

    learned = next(layer for layer in network.layers if isinstance(layer, Harmonic))
    kernel = keras.ops.convert_to_numpy(learned.kernel)
    assert np.abs(fast(kernel)).max() < 1e-6 < np.abs(kernel).max()
    ordinary = residual(CLASSES, 1, keras.layers.Conv2D)
    kernel = next(each for each in ordinary.get_weights() if each.ndim == 4)
    assert np.abs(fast(kernel)).max() > 0.01


def test_the_file_has_ordinary_kernels_and_the_same_answers(network: keras.Model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
    copy = plain(network)
    assert not any(isinstance(layer, Harmonic) for layer in copy.layers)
    assert copy.predict(images, verbose=0) == pytest.approx(
        network.predict(images, verbose=0), abs=1e-4
    )
    assert copy.count_params() > network.count_params()
