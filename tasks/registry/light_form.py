"""The light form of a model: an ONNX file that answers as the ``.keras`` file does.

The web app loads the light form, without TensorFlow, in a fraction of the time and of the memory.
`register` makes the form. The form must answer the golden images as the judged model did.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tasks.engine.quiet import imports_muted
from tasks.registry.clean_process import in_own_process
from tasks.registry.light_model import LightModel

Array = np.ndarray[Any, Any]

LIGHT = "light/model.onnx"  # inside the folder of a version
OPSET = 18  # the newest set of operators that tf2onnx 1.17 writes
CONVERT = "from tasks.registry.light_form import convert; convert(*sys.argv[2:])"


def light_form(model: bytes, side: int, what: str) -> bytes:
    """Convert a ``.keras`` file.

    Only TensorFlow can. Where this process computes with another backend of Keras, a process of its
    own converts.

    Args:
        model: The ``.keras`` file.
        side: Side of the packed squares that the form will be asked about, in pixels.
        what: The model, for the message.

    Returns:
        An ONNX file: uint8 ``pixels (n, side, side, 3)``, RGB, 0 to 255, to float32 probabilities
        ``(n, classes)``.

    Raises:
        Corrupt: The model cannot be converted.
        Momentary: The process took too long, or the system ended it.
    """
    with imports_muted():
        import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(model)
        if keras.backend.backend() == "tensorflow":
            convert(str(path), str(side))
        else:
            in_own_process(CONVERT, [str(path), str(side)], folder, what, backend="tensorflow")
        return path.with_suffix(".onnx").read_bytes()


def convert(model: str, side: str) -> None:
    """Write an ONNX file beside a ``.keras`` file, under the same name."""
    with imports_muted():
        import tensorflow as tf
        import tf2onnx

        from tasks.model_file import from_bytes

    path = Path(model)
    network = of_fixed_size(from_bytes(path.read_bytes()), int(side))
    shape = tf.TensorSpec((None, int(side), int(side), 3), tf.uint8, name="pixels")

    @tf.function(input_signature=[shape])  # type: ignore[untyped-decorator]  # no types
    def answer(pixels: Any) -> Any:
        return network(tf.cast(pixels, tf.float32), training=False)

    tf2onnx.convert.from_function(
        answer, input_signature=[shape], opset=OPSET, output_path=str(path.with_suffix(".onnx"))
    )


def light_answers(light: bytes, pixels: Array) -> Array:
    """The answers of a light form.

    Args:
        light: The ONNX file.
        pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255.

    Returns:
        float32 ``(n, classes)``.
    """
    return LightModel(light, "The light form of the model").answers(pixels)


def of_fixed_size(network: Any, side: int) -> Any:
    """The same network for images of one size: each resizing becomes two products of matrices.

    Keras resizes by a filter that differs from the filter of ONNX: with ONNX's own, answers were
    measured to differ by up to 1.1e-3. A product with Keras's own weights is exact.

    Args:
        network: A model from RGB ``(n, any, any, 3)``.
        side: Side of the squares that the copy takes, in pixels.
    """
    import keras

    class Product(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        """Weights times the columns, times the rows."""

        def __init__(self, weights: Array, **options: Any) -> None:
            super().__init__(**options)
            self.factor = weights  # an array, which becomes a constant of the file

        def call(self, images: Any) -> Any:
            tall = keras.ops.einsum("oi,nijc->nojc", self.factor, images)
            return keras.ops.einsum("pj,nojc->nopc", self.factor, tall)

        def compute_output_shape(self, shape: Any) -> Any:
            out = self.factor.shape[0]
            return (shape[0], out, out, shape[-1])

    def copied(layer: Any) -> Any:
        if isinstance(layer, keras.layers.Resizing):
            return Product(weights_of(layer, side), name=layer.name)
        return layer

    return keras.models.clone_model(network, clone_function=copied)


def weights_of(resizing: Any, side: int) -> Array:
    """The weights of a resizing of squares, float32 ``(out, side)``: row r of the result is their
    sum over the rows of the image.

    Resizing treats rows and columns alike and apart, and leaves an even image even. So an image
    whose row r alone is 1 shows column r of the weights.
    """
    rows = np.zeros((side, side, side, 1), np.float32)
    rows[np.arange(side), np.arange(side)] = 1
    shown = np.asarray(resizing(rows, training=False))
    return np.ascontiguousarray(shown[:, :, 0, 0].T)
