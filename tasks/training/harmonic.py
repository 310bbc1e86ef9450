"""Convolutions that learn only smooth kernels, and their conversion to ordinary convolutions."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

Array = np.ndarray[Any, Any]


class Harmonic(layers.Conv2D):
    """A convolution that learns only smooth kernels: sums of low-frequency cosines of a square.

    A kernel uses the basis functions of the discrete cosine transform with fewer half-waves, down
    and across together, than the kernel is wide: 6 of 9 for 3 x 3, 15 of 25 for 5 x 5 (harmonic
    block: Ulicny, Krylov & Dahyot, "Harmonic convolutional networks based on discrete cosine
    transform", Pattern Recognition, 2022). Fewer weights help where images are few. `plain` turns
    the layer into an ordinary convolution. The kernel must be square; bias, groups and
    regularizers are not supported.
    """

    def build(self, input_shape: Any) -> None:
        self.cosines = slow_cosines(self.kernel_size[0])
        self.coefficients = self.add_weight(
            # He's initialization takes the first two axes as the inputs of a sum.
            shape=(len(self.cosines), input_shape[-1], self.filters),
            initializer=self.kernel_initializer,
            autocast=False,  # so that short floats round the kernel once, as in other layers
            name="coefficients",
        )
        self.built = True

    @property
    def kernel(self) -> Any:
        """The kernel ``(side, side, inputs, filters)``, in the layer's compute dtype."""
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
    """A copy with ordinary convolutions that gives the same logits.

    Keras alone can read the file of the copy. Later training of the network does not change it.
    """

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
