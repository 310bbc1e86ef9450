"""Make copies of images altered by Augmentor's operations, with the same bytes on any machine.

Augmentor's own `sample()` reads and writes image files, draws in threads from one random generator,
and names files at random. Here, Augmentor's operations only choose the alterations of each copy,
from the copy's own seed. Threads then alter packed pixels. So the copies are the same bytes on any
machine and with any number of threads.

Pillow, which Augmentor uses to rotate and resize, would take most of the time. So one matrix
product rotates all copies with the same angle, and cykooz.resizer resizes. The result differs from
Augmentor's by at most one grey level in 999 of 1,000 values.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from importlib.util import find_spec, module_from_spec
from random import Random
from typing import Any

import numpy as np
from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image
from scipy.sparse import csr_array

Array = np.ndarray[Any, Any]
Size = tuple[int, int]  # width and height in pixels
Box = tuple[int, int, int, int]  # left, above, right, below, as Pillow counts
Turn = tuple[int, Box]  # degrees, and the box to crop from the rotated canvas

TAPS = 4  # width in pixels of the cubic filter
ONE = 8192  # sum of the weights of a pixel
# Of copies turned together, as float32: 32 at 180 px. 16 take an eighth of Pillow's time each, one
# alone four fifths; more than 32 take no less.
TOGETHER_BYTES = 17_000_000
REMEMBERED_BYTES = 100_000_000  # 24 angles at 180 px; 20 occur

BICUBIC = ResizeOptions(ResizeAlg.convolution(FilterType.catmull_rom), use_alpha=False)


def draw(
    pixels: Array, seeds: list[str], artist: "Artist", mapper: Callable[..., Iterator[None]] = map
) -> tuple[Array, list[str]]:
    """One altered copy of each image.

    Args:
        pixels: uint8 ``(n, height, width, 3)``, RGB.
        seeds: One for each image; the same seed alters the same image in the same way.
        artist: Chooses the alterations.
        mapper: Computes them, in this thread or in several.

    Returns:
        uint8 ``(n, height, width, 3)``, and the operations that were applied to each, by name.
    """
    height, width = pixels.shape[1:3]
    sketches, applied = [], []
    alike = defaultdict[Any, list[int]](list)
    for number, seed in enumerate(seeds):
        sketch, names = artist.sketch((width, height), seed)
        sketches.append(sketch)
        applied.append(names)
        alike[sketch.turn].append(number)
    copies = np.empty_like(pixels)
    together = max(1, TOGETHER_BYTES // (16 * height * width))
    batches = [
        members[start : start + together]
        for members in alike.values()
        for start in range(0, len(members), together)
    ]
    for _ in mapper(partial(_carry_out, sketches, pixels, copies), batches):
        pass
    return copies, applied


class Artist:
    """Augmentor's operations, with a random generator of their own.

    The operations draw from the name ``random`` in their module, which the whole process shares.
    So each `Artist` loads the module's unchanged source again, with its own generator.
    """

    def __init__(self) -> None:
        spec = find_spec("Augmentor.Operations")
        assert spec
        assert spec.loader
        module: Any = module_from_spec(spec)
        spec.loader.exec_module(module)
        self.generator = module.random = Random()
        self.operations = operations(module)

    def sketch(self, size: tuple[int, int], seed: str) -> tuple["Sketch", str]:
        """The alterations of an image of this size, and the names of the operations."""
        self.generator.seed(hashlib.sha256(seed.encode()).digest())
        image, applied = Sketch(size), []
        for operation in self.operations:
            if self.generator.uniform(0, 1) < operation.probability:
                image = operation.perform_operation([image])[0]
                applied.append(type(operation).__name__)
        return image, " ".join(applied)


def operations(module: Any) -> list[Any]:
    """The operations that alter a copy, of the classes in ``Augmentor.Operations``.

    A lesion has no upright side, so rotations and flips change nothing of interest to a
    dermatologist. Zoom stays small, because the size of a lesion matters.
    """
    return [
        module.Flip(probability=0.5, top_bottom_left_right="LEFT_RIGHT"),
        module.Flip(probability=0.5, top_bottom_left_right="TOP_BOTTOM"),
        module.RotateRange(probability=0.7, max_left_rotation=10, max_right_rotation=10),
        module.Zoom(probability=0.3, min_factor=1.0, max_factor=1.1),
    ]


@dataclass(frozen=True)
class Sketch:
    """A stand-in for an image that records the alterations which operations ask for.

    Later, copies with the same angle are rotated together. The canvas grows with the angle, but
    only the cropped box is computed.

    Attributes:
        size: Width and height in pixels, after all recorded alterations.
        flips: Flips, which come first.
        turn: A rotation, which comes second, with the box to crop from its canvas.
        fits: Sizes to resize to, each with a box to crop, which come last.
    """

    size: Size
    flips: tuple[Image.Transpose, ...] = ()
    turn: Turn | None = None
    fits: tuple[tuple[Size, Box], ...] = ()

    def transpose(self, method: Image.Transpose) -> "Sketch":
        assert not self.turn
        assert not self.fits
        return replace(self, flips=(*self.flips, method))

    def rotate(self, degrees: int, *, expand: bool, resample: int) -> "Sketch":
        assert expand
        assert resample == Image.Resampling.BICUBIC
        assert not self.turn
        assert not self.fits
        if degrees == 0:
            return self
        canvas = _canvas(self.size, degrees)[:2]
        return replace(self, size=canvas, turn=(degrees, (0, 0, *canvas)))

    def resize(self, size: Size, *, resample: int) -> "Sketch":
        assert resample == Image.Resampling.BICUBIC
        if size == self.size:
            return self
        return replace(self, size=size, fits=(*self.fits, (size, (0, 0, *size))))

    def crop(self, box: Box) -> "Sketch":
        size = (box[2] - box[0], box[3] - box[1])
        if size == self.size:
            return self
        if self.fits:
            *before, (resized, _) = self.fits
            return replace(self, size=size, fits=(*before, (resized, box)))
        assert self.turn
        return replace(self, size=size, turn=(self.turn[0], box))


def _carry_out(sketches: list[Sketch], pixels: Array, copies: Array, members: list[int]) -> None:
    """Alter the images `members` of `pixels`, which share a rotation, and write `copies`."""
    images = [Image.fromarray(pixels[each]) for each in members]
    for place, each in enumerate(members):
        for flip in sketches[each].flips:
            images[place] = images[place].transpose(flip)
    turn = sketches[members[0]].turn
    for each, image in zip(members, turned(images, turn) if turn else images, strict=True):
        for size, box in sketches[each].fits:
            image = resized(image, size).crop(box)
        copies[each] = np.asarray(image)


def turned(images: list[Image.Image], turn: Turn) -> list[Image.Image]:
    """Rotate images by one angle, like Pillow's ``rotate`` with ``expand`` and a bicubic filter.

    Rotation is linear in the pixels: a product with a sparse matrix, which is cheaper the more
    images share it. The weights are whole 8192ths, so they are exact in float32. Their sums with
    pixels stay below 2 ** 24 (the absolute weights of a pixel add up to at most 2.25) and are exact
    too. So the order of adding, in which machines differ, does not matter.

    Args:
        images: RGB images of one size.
        turn: Whole degrees counterclockwise, and the box to crop from the rotated canvas.

    Returns:
        The box of each rotated image, RGB.
    """
    _, (left, above, right, below) = turn
    width, height = images[0].size
    # Pillow stores four bytes per pixel and leaves the last unused: move them as one number.
    planes = [np.frombuffer(image.tobytes("raw", "RGBX"), np.uint32) for image in images]
    stack = np.stack(planes, axis=1).view(np.uint8).astype(np.float32)
    sums = weights_of(width * height)((width, height), *turn) @ stack
    sums *= np.float32(1 / ONE)
    grey = np.clip(sums, 0, 255, out=sums).astype(np.uint8)
    shown = np.ascontiguousarray(grey.view(np.uint32).T)
    size = (right - left, below - above)
    return [Image.frombytes("RGB", size, each.data, "raw", "RGBX") for each in shown]


@cache
def weights_of(pixels: int) -> Callable[..., csr_array]:
    """`_weights` with a cache of `REMEMBERED_BYTES`, for images of so many pixels."""
    return lru_cache(max(2, REMEMBERED_BYTES // (pixels * TAPS**2 * 8)))(_weights)


def _weights(size: Size, degrees: int, box: Box) -> csr_array:
    """The weight of each pixel of an image in each pixel of a rotated box.

    Filter and edge rules are those of Pillow's ``transform``: Keys's cubic with a = -1 (Keys 1981,
    eq. 4 has a = -0.5); pixels beyond the edge repeat the last one, and a point beyond the edge is
    black.

    Returns:
        float32 ``(pixels of the box, pixels of the image)``, rows of whole numbers around `ONE`.
    """
    width, height = size
    left, above, right, below = box
    _, _, cos, sin, x, y = _canvas(size, degrees)
    across, down = np.arange(left, right) + 0.5, (np.arange(above, below) + 0.5)[:, np.newaxis]
    at_x, at_y = cos * across + sin * down + x, -sin * across + cos * down + y
    inside = (at_x >= 0) & (at_x < width) & (at_y >= 0) & (at_y < height)
    columns, in_x = _taps(at_x.ravel(), width)
    rows, in_y = _taps(at_y.ravel(), height)
    weights = ONE * in_y[:, :, np.newaxis] * in_x[:, np.newaxis]
    np.rint(weights, out=weights)
    weights[:, 1, 1] += ONE - weights.sum(axis=(1, 2))  # so that a flat area stays unchanged
    weights[~inside.ravel()] = 0
    places = rows[:, :, np.newaxis] * width + columns[:, np.newaxis]
    starts = np.arange(0, weights.size + 1, TAPS**2)
    return csr_array(
        (weights.ravel(), places.ravel(), starts.astype(np.int32)),
        shape=(inside.size, width * height),
    )


def _taps(at: Array, length: int) -> tuple[Array, Array]:
    """The four pixels around each place, int32 ``(n, 4)``, and the weight of each, float32."""
    first = np.floor(at - 0.5)
    d = (at - 0.5 - first)[:, np.newaxis]
    d2, d3 = d * d, d * d * d  # products, because machines differ in powers
    weights = (-d + 2 * d2 - d3, 1 - 2 * d2 + d3, d + d2 - d3, d3 - d2)
    pixels = first[:, np.newaxis].astype(np.int32) + np.arange(-1, TAPS - 1, dtype=np.int32)
    return pixels.clip(0, length - 1), np.hstack(weights, dtype=np.float32)


@cache
def _canvas(size: Size, degrees: int) -> tuple[int, int, float, float, float, float]:
    """Width and height of the canvas of a rotation, and the matrix from the canvas to the image.

    The matrix, as cosine, sine and the two offsets, is that of Pillow's ``Image.rotate``, computed
    in the same order.
    """
    width, height = size
    angle = -math.radians(degrees % 360.0)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)

    def source(across: float, down: float, x: float, y: float) -> tuple[float, float]:
        return cos * across + sin * down + x, -sin * across + cos * down + y

    x, y = source(-width / 2, -height / 2, 0.0, 0.0)
    x, y = x + width / 2, y + height / 2
    corners = [source(*each, x, y) for each in ((0, 0), (width, 0), (width, height), (0, height))]
    reach = zip(*corners, strict=True)
    wide, high = (math.ceil(max(ends)) - math.floor(min(ends)) for ends in reach)
    x, y = source(-(wide - width) / 2.0, -(high - height) / 2.0, x, y)
    return wide, high, cos, sin, x, y


def resized(image: Image.Image, size: Size) -> Image.Image:
    """Resize an image by the cubic filter of Pillow's ``resize`` (Keys 1981, a = -0.5)."""
    taken = Image.new(image.mode, size)
    Resizer().resize_pil(image, taken, BICUBIC)  # one of its own: it must not be shared by threads
    return taken
