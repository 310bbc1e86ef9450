"""A saved model: its file, equal bytes for equal models, and what it answers."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import keras
import numpy as np

Array = np.ndarray[Any, Any]

# Images that are looked at together. `best` looks at each in eight ways: no more at once than the
# 64 of a batch of its training, unless one chose less, so that a machine that could train it can
# ask it.
ANSWERED_AT_ONCE = 8


def answers_of(model: keras.Model, pixels: Array) -> Array:
    """What a saved model answers.

    Args:
        model: From images to class probabilities, with its own preprocessing.
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
    """A ``.keras`` file, which is a zip, without the time of day."""
    file = io.BytesIO()
    with ZipFile(path) as source, ZipFile(file, "w") as target:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == "metadata.json":
                data = json.dumps(json.loads(data) | {"date_saved": "1980-01-01@00:00:00"}).encode()
            target.writestr(ZipInfo(name), data)  # ZipInfo's own date is 1980
    return file.getvalue()


def from_bytes(data: bytes) -> keras.Model:
    """Load a ``.keras`` file; refuses any that would run code (safe mode)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(data)
        return keras.saving.load_model(path, safe_mode=True)
