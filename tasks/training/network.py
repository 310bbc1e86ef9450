"""What the networks share. Their first layers preprocess: what is served is what was trained.

All take RGB ``(n, any, any, 3)``, 0 to 255, and give ``(n, classes)`` probabilities.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

Array = np.ndarray[Any, Any]

# TensorFlow has its own graph, and XLA on a CPU was measured far slower than that; JAX without XLA
# goes step by step through Python.
JIT = keras.backend.backend() != "tensorflow"

# Keras's default momentum of 0.99 forgets its first averages after some 500 steps; a short
# retraining has not many more, and then validates on averages of untrained weights.
BATCH_NORM_MOMENTUM = 0.9


def begin_anew(seed: int) -> None:
    """Random numbers, and the names of layers, that do not tell what was built before."""
    devices = keras.distribution.distribution()
    keras.utils.clear_session()
    keras.distribution.set_distribution(devices)  # which is forgotten with the rest
    keras.utils.set_random_seed(seed)


def augment(x: Any, seed: int) -> Any:
    """Online augmentation, active in training only."""
    x = layers.RandomFlip("horizontal_and_vertical", seed=seed)(x)
    x = layers.RandomRotation(0.1, fill_mode="reflect", seed=seed + 1)(x)
    return layers.RandomZoom(0.1, fill_mode="reflect", seed=seed + 2)(x)


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
