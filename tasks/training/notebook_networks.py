"""The networks of the public notebooks on the nine-class set, which follow TensorFlow's tutorial
"Image classification"."""

from typing import Any

import keras
from keras import layers

from tasks.recipes import Recipe
from tasks.training.network import BATCH_NORM_MOMENTUM, JIT, augment, begin_anew, resized


def build(
    recipe: Recipe, *, image_size: int, classes: int, learning_rate: float, seed: int
) -> keras.Model:
    """A compiled network with fresh weights.

    Args:
        recipe: Which network.
        image_size: Side to which the network resizes its input, in pixels.
        classes: Number of outputs.
        learning_rate: Learning rate of Adam.
        seed: Seed of weights, dropout and augmentation.
    """
    begin_anew(seed)
    image = keras.Input((None, None, 3), name="rgb_0_to_255")
    x = resized(image, image_size)
    if recipe == "regularized":
        x = augment(x, seed)
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


def _balanced(x: Any, seed: int) -> Any:
    for index, count in enumerate((32, 64, 128)):
        x = layers.Conv2D(count, 3, padding="same", activation="relu")(x)
        # Normalize after pooling, when only a quarter of the values is left.
        x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(layers.MaxPooling2D()(x))
        x = layers.Dropout(0.25, seed=seed + 3 + index)(x)
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    return layers.Dropout(0.5, seed=seed + 6)(
        layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x)
    )


_BODIES = {"baseline": _baseline, "regularized": _regularized, "balanced": _balanced}
