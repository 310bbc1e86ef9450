"""Save, load and ask a model. Equal models give files of equal bytes."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import keras
import numpy as np

from tasks.errors import BadInput

Array = np.ndarray[Any, Any]

# Images in one batch of predictions. `residual` sees each image in eight rotations and reflections,
# so a batch is 64 images as in its training (unless configured otherwise): a machine that trained
# the model can also ask it.
ANSWERED_AT_ONCE = 8


def answers_of(model: keras.Model, pixels: Array) -> Array:
    """The predictions of a saved model.

    Args:
        model: Model from images to class probabilities, preprocessing included.
        pixels: uint8 ``(n, any, any, 3)``, RGB, 0 to 255.

    Returns:
        float32 ``(n, classes)``, rows that add up to 1.
    """
    return np.asarray(model.predict(pixels, batch_size=ANSWERED_AT_ONCE, verbose=0))


def to_bytes(model: keras.Model) -> bytes:
    """The model as a ``.keras`` file, without its optimizer: equal models, equal bytes."""
    bare = keras.Model.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        bare.save(path)
        return _timeless(path)


def _timeless(path: Path) -> bytes:
    """A ``.keras`` file, which is a zip, without time stamps."""
    file = io.BytesIO()
    with ZipFile(path) as source, ZipFile(file, "w") as target:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == "metadata.json":
                data = json.dumps(json.loads(data) | {"date_saved": "1980-01-01@00:00:00"}).encode()
            target.writestr(ZipInfo(name), data)  # ZipInfo's own date is 1980
    return file.getvalue()


# Parts of a .keras file, and their largest unpacked size: 200 times the recipe residual.
PARTS = {"config.json", "metadata.json", "model.weights.h5"}
MOST_BYTES = 2 * 2**30


def from_bytes(data: bytes) -> keras.Model:
    """Load a ``.keras`` file. Files that would run code are refused (safe mode).

    Returns:
        Model from images ``(n, any, any, 3)`` to class probabilities ``(n, classes)``.

    Raises:
        BadInput: The file is incomplete, of another format, or of another kind of network.
    """
    _check_parts(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(data)
        try:
            model = keras.saving.load_model(path, safe_mode=True)
        except Exception as error:  # Keras raises whatever its parts do: KeyError, OSError, ...
            raise _no_model(f"{type(error).__name__}: {error}") from error
    shapes = _shape(model, "input_shape"), _shape(model, "output_shape")
    if len(shapes[0]) != 4 or shapes[0][-1] != 3 or len(shapes[1]) != 2:
        raise _no_model(f"a network from {shapes[0]} to {shapes[1]}")
    return model


def _shape(model: Any, name: str) -> tuple[Any, ...]:
    """A network of several inputs has a list of shapes, and one that was never built has none."""
    shape = getattr(model, name, ())
    return shape if isinstance(shape, tuple) else ()


def _check_parts(data: bytes) -> None:
    try:
        with ZipFile(io.BytesIO(data)) as file:
            sizes = {part.filename: part.file_size for part in file.infolist()}
    except (BadZipFile, ValueError, OSError, EOFError) as error:
        hdf5 = data.startswith(b"\x89HDF")
        raise _no_model("an HDF5 file, Keras 2's format" if hdf5 else str(error)) from error
    if not sizes.keys() >= PARTS or sum(sizes.values()) > MOST_BYTES:
        raise _no_model(f"a zip of {sum(sizes.values())} bytes with {', '.join(sizes)}")


def _no_model(received: str) -> BadInput:
    return BadInput(
        "This is not a model of this product.",
        expected="a .keras file (Keras 3), whole, from RGB images (n, any, any, 3) to class "
        "probabilities (n, classes)",
        received=" ".join(received.split())[:300],
        do="give the file that the run made, or the registered version",
    )
