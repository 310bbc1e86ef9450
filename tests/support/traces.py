"""Look for one image in everything that a folder holds: its bytes, its pixels, its small pictures.

The search reads what a person or a program could read: arrays, tables, archives, pictures, and
pages with pictures in their text. It knows nothing of the code that erases.
"""

import io
import re
import zipfile
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tasks.intake.images import FORMATS

Array = np.ndarray[Any, Any]
SMALL = 16  # side of the pictures that are compared, in pixels
NEAR = 6.0  # mean difference of two pictures of one image, in levels; others differ by more
PICTURE = re.compile(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")


@dataclass(frozen=True)
class Trace:
    """What is looked for.

    Attributes:
        file: The bytes of its file.
        pixels: Its packed pixels, uint8 ``(side, side, 3)``.
        thumbnail: Its thumbnail, as the manifest holds it.
    """

    file: bytes
    pixels: Array
    thumbnail: bytes

    def in_file(self, path: Path) -> set[str]:
        """How a file holds the image; nothing if it does not."""
        return set(self._in(path.name, path.read_bytes()))

    def in_folder(self, folder: Path) -> dict[str, set[str]]:
        """The files below a folder that hold the image, and how."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        found = {path.relative_to(folder).as_posix(): self.in_file(path) for path in files}
        return {name: how for name, how in found.items() if how}

    def _in(self, name: str, data: bytes) -> Iterator[str]:
        if self.file in data:
            yield "file"
        if self.pixels.tobytes() in data:
            yield "pixels"
        if self.thumbnail in data:
            yield "thumbnail"
        if name.endswith(".npy"):
            yield from self._in_array(np.load(io.BytesIO(data), allow_pickle=False))
        elif name.endswith(".parquet"):
            yield from self._in_table(pd.read_parquet(io.BytesIO(data)))
        elif data.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for each in archive.namelist():
                    yield from self._in(each, archive.read(each))
        elif name.endswith(".html"):
            for found in PICTURE.findall(data):
                yield from self._in_picture(b64decode(found))
        elif name.endswith((".png", ".jpg")):
            yield from self._in_picture(data)

    def _in_array(self, array: Array) -> Iterator[str]:
        same = array.ndim == 4 and array.shape[1:] == self.pixels.shape
        if same and (array == self.pixels).all(axis=(1, 2, 3)).any():
            yield "pixels"

    def _in_table(self, table: pd.DataFrame) -> Iterator[str]:
        for name in table:
            cells = table[name]
            if cells.map(lambda cell: cell == self.thumbnail).any():
                yield "thumbnail"

    def _in_picture(self, data: bytes) -> Iterator[str]:
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.load()
        except OSError:  # a planted file that cannot be decoded
            return
        width, height = image.size
        halves = [image, image.crop((0, 0, height, height))] if width > height else [image]
        if any(apart(_small(each), self._small) < NEAR for each in halves):
            yield "picture"

    @property
    def _small(self) -> Array:
        return _small(Image.fromarray(self.pixels))


def _small(image: Image.Image) -> Array:
    return np.asarray(image.convert("RGB").resize((SMALL, SMALL), Image.Resampling.BOX), float)


def apart(one: Array, other: Array) -> float:
    """Mean difference of two small pictures, in levels, 0 to 255."""
    return float(np.abs(one - other).mean())
