"""Layers that all networks share.

All networks take RGB ``(n, any, any, 3)``, 0 to 255, and give ``(n, classes)`` probabilities. Their
first layers preprocess, so the served model preprocesses exactly as in training.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

Array = np.ndarray[Any, Any]

# TensorFlow runs its own graph; with XLA on a CPU it was measured far slower. JAX without XLA runs
# every operation from Python.
JIT = keras.backend.backend() != "tensorflow"

# Keras's default momentum of 0.99 forgets its first averages after about 500 steps. A short
# retraining has not many more, and would validate with averages of untrained weights.
BATCH_NORM_MOMENTUM = 0.9


def begin_anew(seed: int) -> None:
    """Reset random numbers and the names of layers, so that they do not depend on earlier work."""
    devices = keras.distribution.distribution()
    keras.utils.clear_session()
    keras.distribution.set_distribution(devices)  # which is forgotten with the rest
    keras.utils.set_random_seed(seed)


def augment(x: Any, seed: int) -> Any:
    """Online augmentation, active in training only; see `resized`."""
    x = layers.RandomFlip("horizontal_and_vertical", seed=seed)(x, training=False)
    x = layers.RandomRotation(0.1, fill_mode="reflect", seed=seed + 1)(x, training=False)
    return layers.RandomZoom(0.1, fill_mode="reflect", seed=seed + 2)(x, training=False)


def resized(image: Any, image_size: int) -> Any:
    """The first layer of a network: squares of `image_size`, antialiased.

    Keras's layers for images are in training unless told otherwise, and take all layers behind
    them along. A network that is merely called, as ``model(images)``, would give answers of
    training, and would change its averages. `fit` and ``training=True`` overrule what is said here.
    """
    return layers.Resizing(image_size, image_size, antialias=True)(image, training=False)


def shrink(pixels: Array, image_size: int) -> Array:
    """Resize packed pixels once, as the first layer of a network of this size would.

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
