"""The networks. Preprocessing is their first layers, so what is served is what was trained.

All take RGB ``(n, any, any, 3)``, 0 to 255, and give ``(n, classes)`` probabilities. Three are
those that the public notebooks on the nine-class set walk through, after TensorFlow's own tutorial
"Image classification"; ``best`` is our own, a small residual network of smooth kernels.
"""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers, ops

from tasks.config import Recipe
from tasks.errors import BadInput, Momentary, PipelineError
from tasks.training.harmonic import Harmonic
from tasks.training.memory import ran_out

Array = np.ndarray[Any, Any]

# TensorFlow has its own graph, and XLA on a CPU was measured far slower than that; JAX without XLA
# goes step by step through Python.
JIT = keras.backend.backend() != "tensorflow"


def build(
    recipe: Recipe, *, image_size: int, classes: int, learning_rate: float, seed: int
) -> keras.Model:
    """A compiled network with fresh weights.

    Args:
        recipe: Which network.
        image_size: Side that it reduces its input to, in pixels.
        classes: Number of its outputs.
        learning_rate: Of Adam.
        seed: Of weights, dropout and augmentation.
    """
    _begin_anew(seed)
    image = keras.Input((None, None, 3), name="rgb_0_to_255")
    x = layers.Resizing(image_size, image_size, antialias=True)(image)
    if recipe == "regularized":
        x = _augment(x, seed)
    x = layers.Rescaling(1 / 255)(x)
    x = _BODIES[recipe](x, seed)
    model = keras.Model(image, layers.Dense(classes, activation="softmax")(x), name=recipe)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=JIT,
    )
    return model


def _begin_anew(seed: int) -> None:
    """Random numbers, and the names of layers, that do not tell what was built before."""
    devices = keras.distribution.distribution()
    keras.utils.clear_session()
    keras.distribution.set_distribution(devices)  # which is forgotten with the rest
    keras.utils.set_random_seed(seed)


def _augment(x: Any, seed: int) -> Any:
    """Online augmentation, active in training only."""
    x = layers.RandomFlip("horizontal_and_vertical", seed=seed)(x)
    x = layers.RandomRotation(0.1, fill_mode="reflect", seed=seed + 1)(x)
    return layers.RandomZoom(0.1, fill_mode="reflect", seed=seed + 2)(x)


def _convolutions(x: Any, filters: tuple[int, ...]) -> Any:
    for count in filters:
        x = layers.Conv2D(count, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    return x


def _baseline(x: Any, seed: int) -> Any:
    x = layers.Flatten()(_convolutions(x, (16, 32, 64)))
    return layers.Dense(128, activation="relu")(x)


def _regularized(x: Any, seed: int) -> Any:
    x = layers.Dropout(0.2, seed=seed + 3)(_convolutions(x, (16, 32, 64)))
    return layers.Dense(128, activation="relu")(layers.Flatten()(x))


# Keras's default momentum of 0.99 forgets its first averages after some 500 steps; a short
# retraining has not many more, and then validates on averages of untrained weights.
BATCH_NORM_MOMENTUM = 0.9


def _balanced(x: Any, seed: int) -> Any:
    for index, count in enumerate((32, 64, 128)):
        x = layers.Conv2D(count, 3, padding="same", activation="relu")(x)
        # After pooling, where a quarter of the values is left to normalize.
        x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(layers.MaxPooling2D()(x))
        x = layers.Dropout(0.25, seed=seed + 3 + index)(x)
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    return layers.Dropout(0.5, seed=seed + 6)(
        layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x)
    )


# best -------------------------------------------------------------------------------------------

# Filters of the stem and of the three stages, one residual block each: 1.2 million parameters.
# Two blocks a stage learned less in the same time.
STEM, STAGES = 32, (64, 128, 256)
# Tuned on validation folds, never on the test part; see docs/training.md.
BEST_WEIGHT_DECAY = 0.05  # a step, relative to the learning rate
WARM_UP = 0.05  # share of all steps
AVERAGED_STEPS = 500  # that the moving average of the weights reaches back
# Every convolution's; normalization after it makes a bias useless.
CONVOLVED: dict[str, Any] = {
    "padding": "same",
    "use_bias": False,
    "kernel_initializer": "he_normal",
}


def residual(classes: int, seed: int, convolution: type[layers.Conv2D] = Harmonic) -> keras.Model:
    """A residual network (He et al., CVPR 2016) from RGB 0 to 255 to logits ``(n, classes)``.

    Args:
        classes: Number of its outputs.
        seed: Of its weights.
        convolution: What those of its convolutions are that are wider than a pixel.
    """
    _begin_anew(seed)
    image = keras.Input((None, None, 3), name="rgb_0_to_255")
    x = layers.Rescaling(1 / 64, offset=-2.2)(image)  # mean 0, spread 1 for skin, roughly
    x = convolution(STEM, 5, strides=2, **CONVOLVED)(x)
    x = layers.MaxPooling2D()(layers.ReLU()(_normalized(x)))
    for stage, filters in enumerate(STAGES):
        x = _residual_block(x, filters, 2 if stage else 1, convolution)
    x = layers.GlobalAveragePooling2D()(x)
    # Zero weights: the first answers are even, and the first steps gentle.
    logits = layers.Dense(classes, kernel_initializer="zeros")(x)
    return keras.Model(image, logits, name="residual")


def _residual_block(x: Any, filters: int, stride: int, convolution: type[layers.Conv2D]) -> Any:
    # Downsampling by averages (ResNet-D: He et al., "Bag of tricks", CVPR 2019) loses nothing.
    kept = layers.AveragePooling2D(2, padding="same")(x) if stride == 2 else x
    if kept.shape[-1] != filters:
        kept = _normalized(layers.Conv2D(filters, 1, **CONVOLVED)(kept))
    y = _normalized(convolution(filters, 3, strides=stride, **CONVOLVED)(x))
    y = convolution(filters, 3, **CONVOLVED)(layers.ReLU()(y))
    y = _normalized(y, gamma="zeros")  # each block begins as what it keeps
    return layers.ReLU()(layers.Add()([kept, y]))


def _normalized(x: Any, gamma: str = "ones") -> Any:
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, gamma_initializer=gamma)(x)


def annealed(
    steps: int,
    rate: float,
    *,
    weight_decay: float = BEST_WEIGHT_DECAY,
    averaged_steps: int = AVERAGED_STEPS,
) -> keras.optimizers.Optimizer:
    """AdamW for so many steps: linear warm-up to `rate`, then a cosine to zero (Loshchilov &
    Hutter, 2017), and a moving average of the weights, which reaches back `averaged_steps`."""
    warm = max(1, round(WARM_UP * steps))
    falling = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm), warmup_target=rate, warmup_steps=warm
    )
    optimizer = keras.optimizers.AdamW(
        falling,
        weight_decay=weight_decay,
        use_ema=True,
        ema_momentum=1 - 1 / min(averaged_steps, max(2, steps // 10)),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def served(network: keras.Model, image_size: int, name: str) -> keras.Model:
    """A network of logits, with its preprocessing before it and probabilities behind it.

    They are the mean over the eight ways in which the image can lie, so that quarter-turns and
    reflections change no answer.
    """
    image = keras.Input((None, None, 3), name="rgb_0_to_255")
    turns = eight_turns(layers.Resizing(image_size, image_size, antialias=True)(image))
    answers = layers.Softmax()(network(ops.concatenate(turns, axis=0)))
    answers = ops.reshape(answers, (len(turns), -1, answers.shape[-1]))
    return keras.Model(image, ops.mean(answers, axis=0), name=name)


def eight_turns(images: Any) -> list[Any]:
    """Squares ``(n, side, side, 3)`` in each way that a square can lie, the given one first."""
    flipped = [images, ops.flip(images, axis=1)]
    flipped += [ops.flip(each, axis=2) for each in flipped]
    return flipped + [ops.transpose(each, (0, 2, 1, 3)) for each in flipped]


# transfer ---------------------------------------------------------------------------------------

# Passes over which only the new head learns, as a share of all: random answers would otherwise
# wash out what the backbone knows. Then all of it, in small steps (Keras's guide "Transfer
# learning & fine-tuning"), but for batch normalization, whose averages are ImageNet's.
FROZEN_SHARE = 0.25
FINE_STEPS = 0.02  # of the learning rate
BACKBONE = "mobilenetv2"  # Sandler et al., CVPR 2018; 2.3 million parameters without its top


def transferred(image_size: int, classes: int, weights: bytes | None, seed: int) -> keras.Model:
    """MobileNetV2 with a new head, not compiled; see `transfer_phases`.

    Args:
        image_size: Side that it reduces its input to, in pixels.
        classes: Number of its outputs.
        weights: Of the backbone without its top, the content of an ``.h5`` file; None to let
            Keras fetch ImageNet's.
        seed: Of the head, dropout and augmentation.

    Raises:
        BadInput: The weights do not fit.
        Momentary: They cannot be fetched.
    """
    _begin_anew(seed)
    backbone = _pretrained(image_size, weights)
    image = keras.Input((None, None, 3), name="rgb_0_to_255")
    x = layers.Resizing(image_size, image_size, antialias=True)(image)
    x = layers.Rescaling(1 / 127.5, offset=-1)(_augment(x, seed))  # as it was trained
    x = backbone(x, training=False)
    x = layers.Dropout(0.3, seed=seed + 3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(classes, activation="softmax")(x), name="transfer")


def _pretrained(image_size: int, weights: bytes | None) -> keras.Model:
    with tempfile.TemporaryDirectory() as folder:
        source = "imagenet"
        if weights is not None:
            path = Path(folder, "given.weights.h5" if _is_keras_3(weights) else "given.h5")
            path.write_bytes(weights)
            source = str(path)
        try:
            return keras.applications.MobileNetV2(
                include_top=False,
                weights=source,
                input_shape=(image_size, image_size, 3),
                name=BACKBONE,
            )
        except Exception as error:  # h5py, Keras and urllib each have their own
            if ran_out(error):
                raise
            raise _without_weights(error, fetched=weights is None) from error


def _without_weights(error: Exception, *, fetched: bool) -> PipelineError:
    received = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    if fetched:
        return Momentary(
            f"ImageNet's weights cannot be fetched ({received}). Where there is no way out, put "
            "the file into the store and name its key in transfer_weights."
        )
    return BadInput(
        "The weights for transfer cannot be read.",
        expected="those of MobileNetV2 without its top, as Keras saves them (.h5)",
        received=received,
        do="name another file in transfer_weights",
    )


def _is_keras_3(weights: bytes) -> bool:
    """Whether `save_weights` of Keras 3 wrote the file; Keras tells the formats by their names."""
    try:
        with h5py.File(io.BytesIO(weights)) as file:
            return "layer_names" not in file.attrs
    except OSError:
        return False  # no HDF5 at all, which Keras says in its own words


def transfer_phases(epochs: int, learning_rate: float) -> dict[int, Callable[[keras.Model], None]]:
    """What is done before which epoch (from 0): freeze the backbone, and later free it."""

    def compiled(model: keras.Model, free: bool, rate: float) -> None:
        model.get_layer(BACKBONE).trainable = free
        model.compile(
            optimizer=keras.optimizers.Adam(rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=JIT,
        )

    return {
        0: lambda model: compiled(model, False, learning_rate),
        max(1, round(FROZEN_SHARE * epochs)): lambda model: compiled(
            model, True, FINE_STEPS * learning_rate
        ),
    }


_BODIES = {"baseline": _baseline, "regularized": _regularized, "balanced": _balanced}


def shrink(pixels: Array, image_size: int) -> Array:
    """What the first layer of a network of this size makes of packed pixels, done once.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, 0 to 255.
        image_size: Side of the result, in pixels.

    Returns:
        uint8 ``(n, image_size, image_size, 3)``, 0 to 255, rounded.
    """
    if pixels.shape[1] == image_size or not len(pixels):
        return pixels
    resize = layers.Resizing(image_size, image_size, antialias=True)
    small = np.empty((len(pixels), image_size, image_size, 3), np.uint8)
    for start in range(0, len(pixels), 256):
        part = keras.ops.convert_to_numpy(resize(pixels[start : start + 256]))
        small[start : start + 256] = part.round()
    return small
