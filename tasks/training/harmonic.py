"""Convolutions that learn only smooth kernels, and how ordinary ones are made of them."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

Array = np.ndarray[Any, Any]


class Harmonic(layers.Conv2D):
    """A convolution that learns only smooth kernels: sums of the slow cosines of a square.

    Of the discrete cosine transform it keeps those with fewer half-waves, down and across together,
    than the kernel is wide: 6 of 9 and 15 of 25 (harmonic block: Ulicny, Krylov & Dahyot,
    "Harmonic convolutional networks based on discrete cosine transform", Pattern Recognition,
    2022). There is less to learn, which helps where images are few. `plain` makes an ordinary
    convolution of it. Only for squares, without bias, groups or a regularizer.
    """

    def build(self, input_shape: Any) -> None:
        self.cosines = slow_cosines(self.kernel_size[0])
        self.coefficients = self.add_weight(
            # He's initialization counts the first two as what a sum has.
            shape=(len(self.cosines), input_shape[-1], self.filters),
            initializer=self.kernel_initializer,
            autocast=False,  # so that in short floats the kernel is rounded once, as any is
            name="coefficients",
        )
        self.built = True

    @property
    def kernel(self) -> Any:
        """``(side, side, inputs, filters)``, in what the layer computes in."""
        kernel = ops.einsum("kyx,kio->yxio", self.cosines, self.coefficients)
        return ops.cast(kernel, self.compute_dtype)


def slow_cosines(side: int) -> Array:
    """The orthonormal cosines of a square with fewer than `side` half-waves in all (DCT-II: Ahmed,
    Natarajan & Rao, "Discrete cosine transform", IEEE Trans. Computers, 1974).

    Returns:
        float32 ``(side * (side + 1) / 2, side, side)``.
    """
    waves, place = np.arange(side)[:, None], np.arange(side)[None]
    cosines = np.cos(np.pi / side * (place + 0.5) * waves) * np.sqrt(2 / side)
    cosines[0] /= np.sqrt(2)
    kept = [(down, across) for down in range(side) for across in range(side - down)]
    outer = [np.outer(cosines[down], cosines[across]) for down, across in kept]
    return np.stack(outer).astype(np.float32)


def plain(network: keras.Model) -> keras.Model:
    """A copy that gives the same logits by ordinary convolutions, so that Keras alone can read its
    file; what the network learns later does not reach it."""

    def ordinary(layer: Any) -> Any:
        kind = layers.Conv2D if isinstance(layer, Harmonic) else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=ordinary)
    for learned, layer in zip(network.layers, copy.layers, strict=True):
        if isinstance(learned, Harmonic):
            (coefficients,) = learned.get_weights()
            layer.set_weights([np.einsum("kyx,kio->yxio", learned.cosines, coefficients)])
        else:
            layer.set_weights(learned.get_weights())
    return copy
