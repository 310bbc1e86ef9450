"""Draw on images what dermatoscopes and clinics leave beside a lesion, and mask parts of images.

Rulers, ink, hairs, black corners and gel bubbles are the artefacts that classifiers of skin lesions
took for signs of melanoma: Winkler et al., "Association between surgical skin markings in
dermoscopic images and diagnostic performance of a deep learning convolutional neural network",
JAMA Dermatology 155:1135-1141 (2019); Bissoto et al., "Debiasing skin lesion datasets and models?
Not so fast", CVPR Workshops (2020), which lists these artefacts. Each kind is drawn in `SHEETS`
variants. The drawings are the same on every machine and in every run, because the seeds are fixed.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

Array = np.ndarray[Any, Any]
Overlay = Literal["ruler", "ink", "hair", "black corners", "bubbles", "sticker", "frame"]

OVERLAYS: tuple[Overlay, ...] = get_args(Overlay)
SHEETS = 8  # variants of each kind; image number i gets variant i modulo SHEETS
FINE = 2  # a sheet is drawn so many times larger, and halved, which smooths its lines


def drawn_on(kind: Overlay, pixels: Array) -> Array:
    """The images with one variant of an overlay on each.

    Args:
        kind: What to draw.
        pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255; not changed.

    Returns:
        uint8, of the same shape.
    """
    cover, colour = sheets_of(kind, pixels.shape[1])
    which = np.arange(len(pixels)) % SHEETS
    changed = np.empty_like(pixels)
    for number, sheet in enumerate(which):
        changed[number] = blended(pixels[number], cover[sheet], colour[sheet])
    return changed


def blended(image: Array, cover: Array, colour: Array) -> Array:
    """An image, uint8 ``(side, side, 3)``, under a sheet of `sheets_of`."""
    share = cover[..., None]
    mixed = image + share * (colour - image)
    return np.asarray(mixed.round().clip(0, 255).astype(np.uint8))


@cache
def sheets_of(kind: Overlay, side: int) -> tuple[Array, Array]:
    """The sheets of one kind: how far each hides what lies under it, and its colours.

    Returns:
        float32 ``(SHEETS, side, side)``, 0 to 1, and float32 ``(SHEETS, side, side, 3)``, 0 to 255.
    """
    sheets = [
        sheet_of(kind, side, np.random.default_rng([OVERLAYS.index(kind), number]))
        for number in range(SHEETS)
    ]
    return np.stack([cover for cover, _ in sheets]), np.stack([colour for _, colour in sheets])


def sheet_of(kind: Overlay, side: int, rng: Generator) -> tuple[Array, Array]:
    """One variant, as in `sheets_of`: ``(side, side)`` and ``(side, side, 3)``."""
    sheet = Image.new("RGBA", (FINE * side, FINE * side))
    PENS[kind](ImageDraw.Draw(sheet), FINE * side, rng)
    # `reduce` would mix the black of empty places into the edges, so colours are weighted by cover.
    fine = np.asarray(sheet, np.float32)
    weighted = fine[..., :3] * fine[..., 3:] / 255
    cover = _halved(fine[..., 3] / 255)
    colour = _halved(weighted) / np.maximum(cover, 1e-6)[..., None]
    turned = int(rng.integers(4))
    return np.rot90(cover, turned).copy(), np.rot90(colour, turned).copy()


def _halved(plane: Array) -> Array:
    side = plane.shape[0] // FINE
    fine = plane.reshape(side, FINE, side, FINE, *plane.shape[2:])
    return np.asarray(fine.mean(axis=(1, 3)))


# The pens. Each draws on a square of `side` pixels, upright; `sheet_of` turns the sheet.


def _ruler(pen: ImageDraw.ImageDraw, side: int, rng: Generator) -> None:
    """Ticks of a millimetre scale along an edge, every fifth one longer, with a base line."""
    at, step = rng.uniform(0.03, 0.10) * side, rng.uniform(0.025, 0.05) * side
    thick = max(1, round(side * rng.uniform(0.004, 0.008)))
    ink = (20, 20, 20, 235) if rng.random() < 0.7 else (240, 240, 240, 235)
    start, end = rng.uniform(0.0, 0.15) * side, rng.uniform(0.85, 1.0) * side
    pen.line((start, at, end, at), ink, thick)
    for number, x in enumerate(np.arange(start, end, step)):
        length = (0.065 if number % 5 == 0 else 0.035) * side
        pen.line((float(x), at, float(x), at + length), ink, thick)


def _ink(pen: ImageDraw.ImageDraw, side: int, rng: Generator) -> None:
    """Strokes of a surgical skin marker beside the lesion, in gentian violet."""
    violet = tuple(int(each) for each in rng.uniform((60, 35, 130), (90, 60, 170)))
    for _ in range(int(rng.integers(2, 5))):
        x, y = rng.uniform(0.03, 0.97) * side, rng.uniform(0.03, 0.14) * side
        reach = rng.uniform(0.08, 0.2, 2) * side * (1, 0.4)
        wide = max(2, round(side * rng.uniform(0.02, 0.035)))
        pen.line((x, y, x + reach[0], y + reach[1]), (*violet, 200), wide)


def _hair(pen: ImageDraw.ImageDraw, side: int, rng: Generator) -> None:
    """Dark terminal hairs across the picture."""
    brown = tuple(int(each) for each in np.array([58, 40, 32]) * rng.uniform(0.4, 1.2))
    t = np.linspace(0, 1, 24)[:, None]
    for _ in range(int(rng.integers(10, 22))):
        start, end = rng.uniform(-0.1, 1.1, (2, 2)) * side
        bend = (start + end) / 2 + rng.normal(0, 0.15, 2) * side
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        thick = max(1, round(side * rng.uniform(0.004, 0.009)))
        pen.line([(float(x), float(y)) for x, y in curve], (*brown, 215), thick)


def _black_corners(pen: ImageDraw.ImageDraw, side: int, rng: Generator) -> None:
    """The round field of view of a dermatoscope."""
    reach = rng.uniform(0.52, 0.60) * side
    middle = side / 2 + rng.normal(0, 0.01, 2) * side
    pen.rectangle((0, 0, side, side), (8, 6, 6, 255))
    box = (*(middle - reach), *(middle + reach))
    pen.ellipse(tuple(float(each) for each in box), (8, 6, 6, 0))


def _bubbles(pen: ImageDraw.ImageDraw, side: int, rng: Generator) -> None:
    """Bubbles of air in the immersion gel: pale rims around what lies under them."""
    for _ in range(int(rng.integers(8, 20))):
        x, y = rng.uniform(0.0, 1.0, 2) * side
        reach = rng.uniform(0.01, 0.05) * side
        box = (x - reach, y - reach, x + reach, y + reach)
        pen.ellipse(box, (250, 245, 240, 60), (252, 250, 248, 190), max(1, round(0.006 * side)))


def _sticker(pen: ImageDraw.ImageDraw, side: int, rng: Generator) -> None:
    """A coloured patch that reaches into the picture from an edge."""
    hues = ((60, 120, 200), (70, 170, 80), (235, 205, 60), (245, 245, 245), (200, 60, 60))
    hue = hues[int(rng.integers(len(hues)))]
    x, reach = rng.uniform(0.1, 0.9) * side, rng.uniform(0.08, 0.14) * side
    y = rng.uniform(-0.5, 0.5) * reach
    pen.ellipse((x - reach, y - reach, x + reach, y + reach), (*hue, 255))


def _frame(pen: ImageDraw.ImageDraw, side: int, rng: Generator) -> None:
    """A frame of one colour along all four edges."""
    wide = max(1, round(rng.uniform(0.02, 0.05) * side))
    grey = int(rng.choice([0, 20, 255]))
    pen.rectangle((0, 0, side - 1, side - 1), None, (grey, grey, grey, 255), wide)


PENS: dict[Overlay, Callable[[ImageDraw.ImageDraw, int, Generator], None]] = {
    "ruler": _ruler,
    "ink": _ink,
    "hair": _hair,
    "black corners": _black_corners,
    "bubbles": _bubbles,
    "sticker": _sticker,
    "frame": _frame,
}
