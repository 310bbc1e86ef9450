"""What a network is shown of its training images."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from tasks.training.batches import Showing, Shown, crop_and_turn, mix, recolour
from tasks.training.sources import cells_of

pytestmark = pytest.mark.slow

STILL = Showing(smallest_area=1.0, stretch=0.0, gain=0.0, brightness=0.0, contrast=0.0)


def images(n: int, side: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures, float32, 0 to 255."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (n, 5, 5, 3)).astype(np.float32)
    fine = ops.image.resize(coarse, (side, side), interpolation="bilinear")
    pixels: np.ndarray = ops.convert_to_numpy(fine)
    return pixels


def seeded(seed: int = 0) -> keras.random.SeedGenerator:
    return keras.random.SeedGenerator(seed)


def turned(pictures: np.ndarray) -> list[np.ndarray]:
    """All eight flips and quarter-turns."""
    mirrored = pictures[:, :, ::-1]
    return [np.rot90(each, k, (1, 2)) for each in (pictures, mirrored) for k in range(4)]


@settings(deadline=None, max_examples=8)
@given(side=st.sampled_from([16, 24, 32, 48]), packed=st.sampled_from([32, 40]))
def test_a_whole_crop_is_keras_own_antialiased_resize_in_one_of_eight_turns(
    side: int, packed: int
) -> None:
    pictures = images(64, packed)
    made = ops.convert_to_numpy(
        crop_and_turn(ops.convert_to_tensor(pictures), side, STILL, seeded())
    )
    whole = ops.convert_to_numpy(ops.image.resize(pictures, (side, side), antialias=True))
    away = np.array([np.abs(made - each).max(axis=(1, 2, 3)) for each in turned(whole)])
    assert away.min(axis=0).max() < 0.02
    assert len(set(away.argmin(axis=0))) == 8


def test_a_crop_holds_no_colour_that_its_image_does_not_hold() -> None:
    pictures = images(64, 40)
    showing = Showing(smallest_area=0.2, stretch=0.3, gain=0, brightness=0, contrast=0)
    made = ops.convert_to_numpy(
        crop_and_turn(ops.convert_to_tensor(pictures), 24, showing, seeded())
    )
    assert (made.min(axis=(1, 2)) >= pictures.min(axis=(1, 2)) - 0.01).all()
    assert (made.max(axis=(1, 2)) <= pictures.max(axis=(1, 2)) + 0.01).all()


def test_crops_differ_between_images_and_between_steps() -> None:
    same = ops.convert_to_tensor(np.repeat(images(1, 40), 8, axis=0))
    random = seeded()
    first = ops.convert_to_numpy(crop_and_turn(same, 24, Showing(), random))
    second = ops.convert_to_numpy(crop_and_turn(same, 24, Showing(), random))
    assert len({each.tobytes() for each in (*first, *second)}) == 16
    again = ops.convert_to_numpy(crop_and_turn(same, 24, Showing(), seeded()))
    assert (again == first).all()


def test_recolouring_stays_within_its_bounds_and_none_changes_nothing() -> None:
    pictures = images(64, 16)
    showing = Showing(gain=0.1, brightness=0.2, contrast=0.0)
    factor = ops.convert_to_numpy(recolour(ops.convert_to_tensor(pictures), showing, seeded()))
    ratio = np.log(factor / np.maximum(pictures, 1e-3))
    assert np.abs(ratio).max() <= 0.3001
    assert np.abs(ratio).max() > 0.15
    still = ops.convert_to_numpy(recolour(ops.convert_to_tensor(pictures), STILL, seeded()))
    assert np.abs(still - pictures).max() < 1e-2


@pytest.mark.parametrize("showing", [Showing(mixed=0.7), Showing(patched=0.7)])
def test_a_mixed_truth_has_the_shares_of_the_mixed_image(showing: Showing) -> None:
    # Every image is of one value, its class's; so an image's mean tells the shares in it.
    values = np.array([0.0, 100.0] * 32, np.float32)
    pictures = np.broadcast_to(values[:, None, None, None], (64, 32, 32, 3))
    truth = np.eye(2, dtype=np.float32)[(values > 0).astype(int)]
    made, told = mix(
        ops.convert_to_tensor(pictures), ops.convert_to_tensor(truth), showing, seeded()
    )
    made, told = ops.convert_to_numpy(made), ops.convert_to_numpy(told)
    assert np.abs(made.mean(axis=(1, 2, 3)) / 100 - told[:, 1]).max() < 1e-4
    assert np.abs(told.sum(axis=1) - 1).max() < 1e-5
    assert 0 < ((told > 0.01) & (told < 0.99)).any(axis=1).sum() < 64


def test_without_mixing_every_image_stays_its_own() -> None:
    pictures, truth = images(8, 16), np.eye(8, dtype=np.float32)
    made, told = mix(ops.convert_to_tensor(pictures), ops.convert_to_tensor(truth), STILL, seeded())
    assert (ops.convert_to_numpy(made) == pictures).all()
    assert (ops.convert_to_numpy(told) == truth).all()


def shown(labels: np.ndarray, smoothing: float = 0.0, showing: Showing = STILL) -> Shown:
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(image))
    network = keras.Model(image, layers.Dense(3)(x))
    pixels = images(len(labels), 20).astype(np.uint8)
    return Shown(
        network, pixels, labels, classes=3, side=16, showing=showing, smoothing=smoothing, seed=1
    )


def test_the_loss_is_cross_entropy_with_each_class_weighed_by_its_share() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    model = shown(labels)
    logits = np.zeros((10, 3), np.float32)
    truth = np.eye(3, dtype=np.float32)[labels]
    told = np.repeat(model.log_shares, 10, axis=0)
    loss = float(ops.convert_to_numpy(model.compute_loss(y_pred=(logits, truth, told))))
    shares = np.array([0.6, 0.3, 0.1])
    assert loss == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-5)


def test_smoothing_makes_a_certain_answer_costly() -> None:
    labels = np.array([0, 1, 2])
    sure = 50 * np.eye(3, dtype=np.float32)
    truth = np.eye(3, dtype=np.float32)
    even = np.full((3, 3), np.log(1 / 3), np.float32)
    given = (sure, truth, even)
    plain = float(ops.convert_to_numpy(shown(labels).compute_loss(y_pred=given)))
    smooth = float(ops.convert_to_numpy(shown(labels, 0.1).compute_loss(y_pred=given)))
    assert plain < 1e-4
    assert smooth == pytest.approx(50 * 2 / 3 * 0.1, rel=1e-3)


def test_it_learns_from_the_numbers_of_images_alone() -> None:
    keras.utils.set_random_seed(0)  # which a test of a deterministic training asks for
    labels = np.arange(48) % 3
    model = shown(labels)
    coloured = np.zeros((48, 20, 20, 3), np.uint8)
    coloured[np.arange(48), :, :, labels] = 200
    model.pixels.assign(coloured)
    model.compile(optimizer=keras.optimizers.Adam(0.3))
    history = model.fit(np.tile(np.arange(48), 10), batch_size=16, epochs=2, verbose=0)
    assert history.history["loss"][-1] < 0.2
    answers = model.network.predict(coloured.astype(np.float32), verbose=0).argmax(axis=1)
    assert (answers == labels).all()


# Sources ----------------------------------------------------------------------------------------


def test_with_several_sources_the_share_within_the_own_source_weighs_each_class() -> None:
    # The first source holds classes 0 and 1, the second classes 1 and 2.
    labels, sources = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 0, 1, 1])
    model = shown(cells_of(labels, sources, 3))
    _, truth, log_shares = model(np.arange(6), training=True)
    assert (ops.convert_to_numpy(truth).argmax(axis=1) == labels).all()
    assert (ops.convert_to_numpy(log_shares) == model.log_shares[sources]).all()
    assert model.log_shares.shape == (2, 3)


def test_images_of_several_sources_are_not_mixed() -> None:
    cells = np.array([0, 1, 2, 3])
    with pytest.raises(ValueError, match="one source"):
        shown(cells, showing=Showing(mixed=0.5))
    shown(cells % 3, showing=Showing(mixed=0.5))


# Precision --------------------------------------------------------------------------------------


def convolved(precision: str) -> Shown:
    """A network of two kinds of layers with weights, the same ones each time."""
    keras.utils.set_random_seed(4)
    image = keras.Input((None, None, 3))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3)(layers.Rescaling(1 / 255)(image)))
    network = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    labels = np.arange(12) % 3
    pixels = images(12, 20).astype(np.uint8)
    model = Shown(
        network,
        pixels,
        labels,
        classes=3,
        side=16,
        showing=STILL,
        smoothing=0.0,
        seed=1,
        precision=precision,
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
    return model


def test_it_learns_in_the_precision_asked_for_and_answers_in_float32() -> None:
    whole, short = convolved("float32"), convolved("mixed_bfloat16")
    pictures = images(4, 16, seed=7)
    before = [ops.convert_to_numpy(each(pictures)) for each in (whole, short)]
    assert (before[0] == before[1]).all()  # the same weights, in the same precision

    numbers = np.arange(12)
    exact, rounded = (
        ops.convert_to_numpy(each(numbers, training=True)[0]) for each in (whole, short)
    )
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.02 * np.abs(exact).max()

    for _ in range(3):
        logs = short.train_on_batch(numbers, numbers % 3, return_dict=True)
    assert np.isfinite(logs["loss"])
    assert {each.dtype for each in short.network.variables} == {"float32"}
    assert {layer.compute_dtype for layer in short.network.layers} == {"float32"}
    learned = keras.Model.from_config(short.network.get_config())
    learned.set_weights(short.network.get_weights())
    asked = ops.convert_to_numpy(ops.softmax(learned(pictures)))
    assert np.abs(ops.convert_to_numpy(short(pictures)) - asked).max() < 1e-6
    assert np.abs(asked - before[1]).max() > 1e-4  # it has learned
