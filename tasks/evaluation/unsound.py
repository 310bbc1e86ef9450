"""Pictures that are no sound dermoscopic images, to fit the judge of images on.

Each is drawn, or derived from images of the training part. The judge is asked about other kinds,
made by other means, see `tasks.evaluation.refusal_kinds`: what it refuses there, it was not shown.
"""

import io
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy import ndimage

from tasks.evaluation.overlays import OVERLAYS, drawn_on
from tasks.intake.images import FORMATS
from tasks.records.refusals import Ground

Array = np.ndarray[Any, Any]

Unsound = Literal[
    "drawn shapes",
    "drawn lines of writing",
    "drawn clouds",
    "drawn waves",
    "drawn noise",
    "drawn even colour",
    "derived: skin beside lesions, mirrored",
    "derived: magnified or smeared",
    "derived: underexposed",
    "derived: overexposed",
    "derived: colours mixed",
    "derived: rows moved or lost",
    "derived: pieces of several images",
    "derived: waves of an image out of step",
    "derived: colours of an image on drawn forms",
]
BESIDE = 0.06  # share of the sound images that get each thing beside the lesion
UNSOUND: tuple[Unsound, ...] = get_args(Unsound)


def unsound(kind: Unsound, pixels: Array, count: int, rng: Generator) -> tuple[Ground, Array]:
    """Unsound pictures of one kind.

    Args:
        kind: The kind.
        pixels: Images of the training part, uint8 ``(n, side, side, 3)``, RGB; not changed.
        count: How many pictures to make.
        rng: Random numbers.

    Returns:
        The ground on which they should be refused, and uint8 ``(count, side, side, 3)``.
    """
    ground, make = MAKERS[kind]
    chosen = rng.choice(len(pixels), count, replace=count > len(pixels))
    made = [make(pixels[number], pixels, rng) for number in chosen]
    return ground, np.stack([_levels(each) for each in made])


def mildly_changed(pixels: Array, rng: Generator) -> Array:
    """Sound images as another device, clinic or file format may show them, lesion included.

    Each is turned, and may be nearer, lighter, warmer, paler, softer or sharper, noisier, or
    compressed anew; some get black corners, a ruler, ink, hairs or a sticker beside the lesion.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255; not changed.
        rng: Random numbers.

    Returns:
        uint8, of the same shape.
    """
    changed = np.empty_like(pixels)
    for number, image in enumerate(pixels):
        shown = _nearer(np.rot90(image, int(rng.integers(4))), rng)
        if rng.random() < 0.5:
            shown = shown[:, ::-1]
        shown = _levels(_softer(_lighter(shown, rng), rng))
        if rng.random() < 0.3:
            shown = _compressed(shown, int(rng.integers(50, 96)))
        changed[number] = shown
    for kind in OVERLAYS:
        own = np.flatnonzero(rng.random(len(pixels)) < BESIDE)
        changed[own] = drawn_on(kind, changed[own]) if len(own) else changed[own]
    return changed


def _nearer(image: Array, rng: Generator) -> Array:
    """The image, or three quarters of it or more, enlarged."""
    side = image.shape[0]
    seen = round(side * rng.uniform(0.75, 1)) if rng.random() < 0.5 else side
    top, left = (int(each) for each in rng.integers(side - seen + 1, size=2))
    crop = Image.fromarray(np.ascontiguousarray(image[top : top + seen, left : left + seen]))
    return np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC))


def _lighter(image: Array, rng: Generator) -> Array:
    """Under another light, with another exposure, in stronger or paler colours."""
    light = rng.normal(1, (0.08, 0.05, 0.08))
    gamma = np.exp(rng.normal(0, 0.15))
    level = np.arange(256)[:, None] / 255
    table = 255 * np.clip(level * light, 0, 1) ** gamma  # of each level of each channel
    shown = np.stack([table[image[..., c], c] for c in range(3)], -1).astype(np.float32)
    grey = shown.mean(axis=-1, keepdims=True)
    return np.asarray(grey + (shown - grey) * np.float32(np.exp(rng.normal(0, 0.2))))


def _softer(shown: Array, rng: Generator) -> Array:
    """A little out of focus or sharpened, as cameras do, with noise."""
    reach = abs(rng.normal(0, 0.7)) * shown.shape[0] / 180
    if reach > 0.2:
        soft = ndimage.gaussian_filter(shown, (reach, reach, 0))
        shown = soft if rng.random() < 0.75 else shown + 0.7 * (shown - soft)
    grain = rng.standard_normal(shown.shape, np.float32)
    return np.asarray(shown + np.float32(rng.uniform(0, 4)) * grain)


def _compressed(image: Array, quality: int) -> Array:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer, formats=FORMATS) as found:
        return np.asarray(found)


def _levels(shown: Array) -> Array:
    return np.asarray(np.clip(np.rint(shown), 0, 255).astype(np.uint8))


# What shows no skin. Each maker takes an image, all images, and random numbers. ------------------


def clouds(side: int, slope: float, rng: Generator) -> Array:
    """Noise whose power falls with frequency: float ``(side, side)``, mean 0, deviation 1."""
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    reach = np.hypot(down, across)
    reach[0, 0] = 1
    waves = np.fft.rfft2(rng.normal(size=(side, side))) / reach**slope
    waves[0, 0] = 0
    plane = np.fft.irfft2(waves, (side, side))
    return np.asarray(plane / (plane.std() + 1e-9))


def _colours(rng: Generator, count: int) -> Array:
    return rng.uniform(0, 255, (count, 3))


def _even(side: int, rng: Generator) -> Array:
    """A colour that runs into another one."""
    one, other = _colours(rng, 2)
    way = rng.uniform(0, 2 * np.pi)
    at = np.linspace(-0.5, 0.5, side)
    share = 0.5 + at[:, None] * np.cos(way) + at[None, :] * np.sin(way)
    reach = rng.choice([0.0, 0.1, 1.0])
    return np.asarray(one + (other - one) * reach * share[..., None])


def _shapes(image: Array, _: Array, rng: Generator) -> Array:
    side = image.shape[0]
    sheet = Image.fromarray(_levels(_even(side, rng)))
    pen = ImageDraw.Draw(sheet)
    for _number in range(int(rng.integers(3, 40))):
        colour = tuple(int(each) for each in _colours(rng, 1)[0])
        middle, reach = rng.uniform(0, side, 2), rng.uniform(0.02, 0.4, 2) * side
        box = [float(each) for each in (*(middle - reach), *(middle + reach))]
        way = rng.integers(4)
        if way == 0:
            pen.ellipse(box, colour)
        elif way == 1:
            pen.rectangle(box, colour)
        elif way == 2:
            pen.polygon(
                [(float(a), float(b)) for a, b in middle + rng.normal(0, reach, (5, 2))], colour
            )
        else:
            pen.line(box, colour, int(rng.integers(1, 9)))
    shown = np.asarray(sheet, np.float32)
    light = 1 + rng.uniform(0, 0.25) * clouds(side, rng.uniform(0.8, 2), rng)[..., None]
    soft = rng.choice([0.0, 0.7, 1.5])
    shown = ndimage.gaussian_filter(shown, (soft, soft, 0)) * light
    return np.asarray(shown + rng.normal(0, rng.uniform(0, 10), shown.shape))


def _writing(image: Array, _: Array, rng: Generator) -> Array:
    side = image.shape[0]
    paper, ink = (250.0, 20.0) if rng.random() < 0.7 else (30.0, 230.0)
    shown = np.full((side, side, 3), paper) + rng.normal(0, 6, 3)
    high = max(2, int(rng.uniform(0.015, 0.06) * side))
    for top in range(high, side - high, int(high * rng.uniform(1.5, 2.5))):
        at = int(rng.uniform(0, 0.2) * side)
        end = rng.uniform(0.4, 1.0) * side
        while at < end:
            wide = max(1, int(high * rng.uniform(0.2, 0.8)))
            letter = rng.random((high, wide)) < 0.5
            place = shown[top : top + high, at : at + wide]
            place[letter[: place.shape[0], : place.shape[1]]] = ink
            at += wide + (1 if rng.random() < 0.8 else high)
    for _number in range(int(rng.integers(0, 4))):
        a, b = (rng.uniform(0, 0.9, 2) * side).astype(int)
        c, d = (rng.uniform(0.1, 0.5, 2) * side).astype(int)
        shown[a : a + c, b : b + d] = _colours(rng, 1)
    soft = rng.choice([0.0, 0.5, 1.0])
    return np.asarray(ndimage.gaussian_filter(shown, (soft, soft, 0)))


def _clouds(image: Array, _: Array, rng: Generator) -> Array:
    side = image.shape[0]
    planes = np.stack([clouds(side, rng.uniform(0.5, 2.2), rng) for _ in range(3)], axis=-1)
    mix = rng.normal(0, 1, (3, 3)) * rng.uniform(8, 60)
    return planes @ mix + _colours(rng, 1)


def _waves(image: Array, _: Array, rng: Generator) -> Array:
    side = image.shape[0]
    at = np.arange(side)
    plane = np.zeros((side, side))
    for _number in range(int(rng.integers(1, 4))):
        pace = rng.uniform(1, side / 4) * 2 * np.pi / side
        way = rng.uniform(0, np.pi)
        wave = np.sin(pace * (at[:, None] * np.cos(way) + at[None, :] * np.sin(way)))
        plane += np.sign(wave) if rng.random() < 0.5 else wave
    one, other = _colours(rng, 2)
    shown = one + (other - one) * (0.5 + 0.3 * plane[..., None])
    return np.asarray(shown + rng.normal(0, rng.uniform(0, 15), shown.shape))


def _noise(image: Array, _: Array, rng: Generator) -> Array:
    side, grain = image.shape[0], int(rng.choice([1, 2, 4, 8]))
    few = -(-side // grain)
    plane = rng.uniform(0, 255, (few, few, 3 if rng.random() < 0.6 else 1))
    return np.kron(plane, np.ones((grain, grain, 1)))[:side, :side] * np.ones(3)


def _colour(image: Array, _: Array, rng: Generator) -> Array:
    shown = _even(image.shape[0], rng)
    if rng.random() < 0.4:  # of a wall, a cloth, a hand without anything on it
        shown = np.array([205, 160, 135]) * rng.uniform(0.5, 1.15) + 0.1 * (shown - 128)
    return np.asarray(shown + rng.normal(0, rng.choice([0.0, 1.0, 4.0]), shown.shape))


# What is derived from images of the training part ------------------------------------------------


def _skin(image: Array, _: Array, rng: Generator) -> Array:
    """A corner of the image, where lesions seldom reach, mirrored until it fills the square."""
    side = image.shape[0]
    patch = max(8, int(rng.uniform(0.16, 0.28) * side))
    best = None
    for _number in range(4):
        along = int(rng.uniform(0, side - patch))
        edge = int(rng.uniform(0, 0.04) * side)
        a, b = [
            (edge, along),
            (along, edge),
            (side - patch - edge, along),
            (along, side - patch - edge),
        ][int(rng.integers(4))]
        found = image[a : a + patch, b : b + patch].astype(np.float32)
        if best is None or found.std(axis=(0, 1)).sum() < best.std(axis=(0, 1)).sum():
            best = found
    assert best is not None
    row = np.concatenate([best, best[:, ::-1]], axis=1)
    tile = np.concatenate([row, row[::-1]], axis=0)
    times = -(-side // tile.shape[0])
    shown = np.tile(tile, (times, times, 1))[:side, :side]
    if rng.random() < 0.5:  # less regular
        shown = _carried(shown, rng, 0.03)
    return shown


def _carried(shown: Array, rng: Generator, reach: float) -> Array:
    """The picture, bent smoothly."""
    side = shown.shape[0]
    at = np.mgrid[:side, :side].astype(np.float32)
    for axis in range(2):
        at[axis] += reach * side * clouds(side, 2.5, rng)
    return np.stack(
        [ndimage.map_coordinates(shown[..., c], at, order=1, mode="mirror") for c in range(3)], -1
    )


def _smeared(image: Array, _: Array, rng: Generator) -> Array:
    side = image.shape[0]
    wide = rng.uniform(4, 14) * side / 180
    shown = image.astype(np.float32)
    way = rng.integers(3)
    if way == 0:  # out of focus: means over squares, twice
        for _number in range(2):
            shown = ndimage.uniform_filter(shown, (max(2, round(wide)), max(2, round(wide)), 1))
        return shown
    if way == 1:  # moved while the picture was taken
        return np.asarray(
            ndimage.uniform_filter1d(shown, max(3, round(2 * wide)), axis=int(rng.integers(2)))
        )
    few = max(6, round(side / wide))
    small = Image.fromarray(image).resize((few, few), Image.Resampling.BOX)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), np.float32)


def _dark(image: Array, _: Array, rng: Generator) -> Array:
    shown = image.astype(np.float32) * rng.uniform(0.05, 0.4)
    return shown + rng.normal(0, rng.uniform(0, 4), shown.shape)


def _bright(image: Array, _: Array, rng: Generator) -> Array:
    return 255 - (255 - image.astype(np.float32)) * rng.uniform(0.02, 0.35)


def _mixed(image: Array, _: Array, rng: Generator) -> Array:
    """Channels in another order, or mixed, so that skin has no colour of skin."""
    shown = image.astype(np.float32)
    if rng.random() < 0.5:
        order = [(1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1), (0, 2, 1)][int(rng.integers(5))]
        return shown[..., order]
    tint = rng.uniform(0.1, 1.6, 3)
    return np.asarray(shown * tint / tint.mean())


def _rows(image: Array, _: Array, rng: Generator) -> Array:
    """Rows that moved, or hold what another place holds, from some row on."""
    side = image.shape[0]
    shown = image.astype(np.float32)
    start = int(rng.uniform(0.1, 0.7) * side)
    way = rng.integers(3)
    if way == 0:
        shown[start:] = np.roll(shown[start:], int(rng.uniform(0.2, 0.8) * side), axis=1)
        shown[start:] += rng.normal(0, 40, 3)
    elif way == 1:
        shown[start:] = shown[start]
    else:
        for row in range(start, side, 8):
            shown[row : row + 8] = np.roll(shown[row : row + 8], int(rng.integers(side)), axis=1)
    return shown


def _pieces(image: Array, pixels: Array, rng: Generator) -> Array:
    side, along = image.shape[0], int(rng.integers(2, 7))
    limits = np.linspace(0, side, along + 1).astype(int)
    shown = image.copy()
    for a in range(along):
        for b in range(along):
            here = np.s_[limits[a] : limits[a + 1], limits[b] : limits[b + 1]]
            other = pixels[int(rng.integers(len(pixels)))]
            shown[here] = other[here]
    return shown


def _out_of_step(image: Array, _: Array, rng: Generator) -> Array:
    """The image's own waves, each moved at random: its colours and fineness without its forms."""
    waves = np.fft.rfft2(image.astype(np.float32), axes=(0, 1))
    turn = np.angle(np.fft.rfft2(rng.normal(size=image.shape[:2])))
    turn[0, 0] = 0
    return np.fft.irfft2(waves * np.exp(1j * turn)[..., None], image.shape[:2], axes=(0, 1))


def _recoloured(image: Array, pixels: Array, rng: Generator) -> Array:
    """Drawn forms in which each colour of the image occurs as often as in the image."""
    side, way = image.shape[0], rng.integers(4)
    if way == 0:
        plane = clouds(side, rng.uniform(0.3, 1.6), rng)
    elif way == 1:  # cells: spots of one size, all over
        spots = (rng.random((side, side)) < rng.uniform(0.001, 0.02)).astype(float)
        plane = ndimage.gaussian_filter(spots, rng.uniform(1.5, 6) * side / 180)
    elif way == 2:  # fibres
        reach = rng.uniform(3, 25) * side / 180
        plane = ndimage.gaussian_filter(rng.normal(size=(side, side)), (0.7, reach))
        plane = ndimage.rotate(plane, rng.uniform(0, 180), reshape=False, order=1, mode="mirror")
    else:
        plane = _shapes(image, pixels, rng).mean(axis=-1)
    plane = plane + rng.normal(0, 0.05 * plane.std() + 1e-6, plane.shape)
    flat = image.reshape(-1, 3).astype(np.float32)
    shown = np.empty_like(flat)
    shown[np.argsort(plane, axis=None)] = flat[np.argsort(flat.sum(axis=1), kind="stable")]
    soft = rng.uniform(0.4, 1.0) * side / 180
    return np.asarray(ndimage.gaussian_filter(shown.reshape(image.shape), (soft, soft, 0)))


Maker = Callable[[Array, Array, Generator], Array]
FAR: Ground = "far from what was learned"
MAKERS: dict[Unsound, tuple[Ground, Maker]] = {
    "drawn shapes": ("not dermoscopy", _shapes),
    "drawn lines of writing": ("not dermoscopy", _writing),
    "drawn clouds": ("not dermoscopy", _clouds),
    "drawn waves": ("not dermoscopy", _waves),
    "drawn noise": ("not dermoscopy", _noise),
    "drawn even colour": ("no lesion", _colour),
    "derived: skin beside lesions, mirrored": ("no lesion", _skin),
    "derived: magnified or smeared": ("blurred", _smeared),
    "derived: underexposed": ("too dark", _dark),
    "derived: overexposed": ("too bright", _bright),
    "derived: colours mixed": (FAR, _mixed),
    "derived: rows moved or lost": (FAR, _rows),
    "derived: pieces of several images": (FAR, _pieces),
    "derived: waves of an image out of step": ("not dermoscopy", _out_of_step),
    "derived: colours of an image on drawn forms": ("not dermoscopy", _recoloured),
}
