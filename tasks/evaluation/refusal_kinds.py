"""Images that the judge of images should refuse, and was not fit on: drawn, derived, photographs.

They are made by other means than those of `tasks.evaluation.unsound`, and derived from images of
the test part, so that what is refused here shows how the judge does on what it was not shown. The
photographs are crops of scikit-learn's two sample images, where the library is installed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from tasks.intake.images import FORMATS
from tasks.records.refusals import Origin

Array = np.ndarray[Any, Any]

EACH = 100  # images of each kind that is derived from images of the test part
# Of each kind without skin: of 100, all refused, 95 % could not be proven at a third look at a test
# part any more, and of 200 at 29 looks (`tasks.statistics.confidence`).
WITHOUT_SKIN = 200
NOT_SKIN, OTHERS = 0.95, 0.80  # shares that should be refused
# Kinds that should be refused, of which no images can be drawn.
WITHOUT_IMAGES = ("clinical photographs",)
PHOTOGRAPHS = "photographs of a temple and a flower"
DERIVED: Origin = "derived from test images"
TEXT = (
    "Patient history and consent for the procedure. Date of birth, ward, insurance number. The "
    "quick brown fox jumps over the lazy dog while 0123456789 invoices, letters and prescriptions "
    "wait for a signature. Save Cancel Open File Edit View Help Search Settings Inbox (12)"
)


@dataclass(frozen=True)
class Kind:
    """Images that should be refused.

    Attributes:
        name: What they show.
        origin: Where they come from.
        skin: Whether they show skin.
        pixels: uint8 ``(n, side, side, 3)``, RGB.
        sides: Short sides of the images as they would come, in pixels, ``(n,)``.
    """

    name: str
    origin: Origin
    skin: bool
    pixels: Array
    sides: Array

    @property
    def target(self) -> float:
        """The share that should be refused."""
        return OTHERS if self.skin else NOT_SKIN


def kinds_of(pixels: Array, seed: int = 1) -> list[Kind]:
    """Every kind that can be made here: `WITHOUT_SKIN` images of each kind without skin, `EACH` of
    the others, and of these at most one of each image.

    Args:
        pixels: Images of the test part, uint8 ``(n, side, side, 3)``, RGB; not changed.
        seed: Of what is drawn.
    """
    side = pixels.shape[1]
    found = []
    photographs = sample_photographs()
    if photographs:
        rng = np.random.default_rng([seed, 0])
        made = crops(photographs, side, WITHOUT_SKIN, rng)
        sides = np.full(WITHOUT_SKIN, side)
        found.append(Kind(PHOTOGRAPHS, "photographs", False, made, sides))
    for number, (name, draw) in enumerate(DRAWN.items(), 1):
        rng = np.random.default_rng([seed, number])
        made = np.stack([levels(draw(side, rng)) for _ in range(WITHOUT_SKIN)])
        found.append(Kind(name, "drawn", False, made, np.full(WITHOUT_SKIN, side)))
    count = min(EACH, len(pixels))  # no image twice, or the bounds would not hold
    for number, (name, change) in enumerate(CHANGED.items(), 1 + len(DRAWN)):
        rng = np.random.default_rng([seed, number])
        chosen = pixels[rng.choice(len(pixels), count, replace=False)]
        made = np.stack([levels(change(image, rng)) for image in chosen])
        found.append(Kind(name, DERIVED, True, made, np.full(count, side)))
    few = pixels[np.random.default_rng([seed, 99]).choice(len(pixels), count, replace=False)]
    made = np.stack([resized(resized(image, max(1, side // 4)), side) for image in few])
    found.append(Kind("a quarter of the size", DERIVED, True, made, np.full(count, side // 4)))
    return found


def levels(shown: Array) -> Array:
    return np.asarray(np.clip(np.rint(shown), 0, 255).astype(np.uint8))


def resized(image: Array, side: int) -> Array:
    """The image, uint8 ``(height, width, 3)``, squeezed into a square."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))


def sample_photographs() -> list[Array]:
    """scikit-learn's sample images, uint8 ``(height, width, 3)``; none where it is missing."""
    there = find_spec("sklearn")
    if there is None or there.origin is None:
        return []
    folder = Path(there.origin).parent / "datasets" / "images"
    return [opened(path) for path in sorted(folder.glob("*.jpg"))]


def opened(path: Path) -> Array:
    """An image file as uint8 ``(height, width, 3)``, RGB."""
    with Image.open(path, formats=FORMATS) as image:
        return np.asarray(image.convert("RGB"))


def crops(photographs: list[Array], side: int, count: int, rng: Generator) -> Array:
    """Crops of photographs, from a quarter to the whole of the height, squeezed into squares."""
    found = []
    for number in range(count):
        photo = photographs[number % len(photographs)]
        high = max(16, int(photo.shape[0] * rng.uniform(0.25, 1.0)))
        wide = min(photo.shape[1], int(high * rng.uniform(0.8, 1.25)))
        top = int(rng.integers(photo.shape[0] - high + 1))
        left = int(rng.integers(photo.shape[1] - wide + 1))
        crop = photo[top : top + high, left : left + wide]
        found.append(resized(crop[:, ::-1] if rng.random() < 0.5 else crop, side))
    return np.stack(found)


# Drawn -------------------------------------------------------------------------------------------


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _written(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], rng: Generator, size: float, ink: str
) -> None:
    start, length = int(rng.integers(len(TEXT) - 60)), int(rng.integers(15, 60))
    pen.text(at, TEXT[start : start + length], ink, _font(max(6, round(size))))


def _page(side: int, rng: Generator) -> Array:
    """A page of print in a real typeface, drawn twice as large and shrunk."""
    large = 2 * side
    sheet = Image.new("RGB", (large, large), "white" if rng.random() < 0.7 else "#f4ecd8")
    pen = ImageDraw.Draw(sheet)
    size = float(rng.uniform(0.03, 0.09) * large)
    top = float(rng.uniform(0, 0.1) * large)
    while top < large:
        if rng.random() < 0.85:
            _written(pen, (float(rng.uniform(0, 0.1) * large), top), rng, size, "black")
        top += size * 1.3
    if rng.random() < 0.3:  # a chart
        line = rng.uniform(0.5, 0.9, 12) * large
        pen.rectangle((0.1 * large, 0.45 * large, 0.95 * large, 0.95 * large), "white", "black")
        pen.line(
            [(0.1 * large + n * 0.07 * large, float(y)) for n, y in enumerate(line)], "blue", 3
        )
    return np.asarray(sheet.reduce(2))


def _screen(side: int, rng: Generator) -> Array:
    """A window with a bar of titles, buttons, a list and pictures."""
    large = 2 * side
    dark = rng.random() < 0.4
    back, front = ("#20242b", "#dde3ea") if dark else ("#f2f3f5", "#1b1f24")
    sheet = Image.new("RGB", (large, large), back)
    pen = ImageDraw.Draw(sheet)
    accent = tuple(int(each) for each in rng.uniform(30, 230, 3))
    pen.rectangle((0, 0, large, 0.08 * large), accent)
    _written(pen, (0.02 * large, 0.02 * large), rng, 0.04 * large, "white")
    wide = float(rng.uniform(0.15, 0.35) * large)
    pen.rectangle((0, 0.08 * large, wide, large), "#2f3640" if dark else "#e1e4e8")
    for number in range(int(rng.integers(4, 12))):
        y = (0.12 + 0.07 * number) * large
        _written(pen, (0.02 * large, y), rng, 0.03 * large, front)
        pen.rounded_rectangle((wide + 10, y, large - 10, y + 0.05 * large), 6, None, front)
        if rng.random() < 0.5:
            _written(pen, (wide + 20, y + 3), rng, 0.03 * large, front)
        if rng.random() < 0.2:
            colour = tuple(int(each) for each in rng.uniform(0, 255, 3))
            pen.ellipse((large - 60, y, large - 30, y + 30), colour)
    return np.asarray(sheet.reduce(2))


def _texture(side: int, rng: Generator) -> Array:
    """Stones, planks or cloth: cells around random points, wavy rings, or threads."""
    at = np.mgrid[:side, :side] / side
    one, other = rng.uniform(20, 235, (2, 3))
    way = rng.integers(3)
    if way == 0:
        points = rng.random((int(rng.integers(15, 120)), 2))
        apart = np.hypot(at[0][..., None] - points[:, 0], at[1][..., None] - points[:, 1])
        nearest = np.sort(apart, axis=-1)[..., :2]
        edge = np.clip((nearest[..., 1] - nearest[..., 0]) * 25, 0, 1)
        own = rng.uniform(0.7, 1.1, len(points))[apart.argmin(axis=-1)]
        plane = edge * own
    elif way == 1:
        bent = ndimage.gaussian_filter(rng.normal(size=(side, side)), side / 12)
        bent *= 0.08 / (bent.std() + 1e-9)
        plane = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(4, 15) * (at[0] * 0.3 + at[1] + bent))
        plane *= 0.8 + 0.2 * ndimage.gaussian_filter(rng.normal(size=(side, side)), (8, 0.5)) * 3
    else:
        pace = rng.uniform(12, 40)
        a, b = np.sin(2 * np.pi * pace * at[0]), np.sin(2 * np.pi * pace * at[1])
        over = (np.floor(at[0] * pace) + np.floor(at[1] * pace)) % 2
        plane = 0.5 + 0.4 * np.where(over > 0, np.abs(a), np.abs(b))
    shown = one + (other - one) * plane[..., None]
    return np.asarray(shown + rng.normal(0, rng.uniform(2, 8), shown.shape))


def _noise(side: int, rng: Generator) -> Array:
    """Gaussian noise about a colour, or salt and pepper."""
    if rng.random() < 0.3:
        return np.repeat(rng.choice([0.0, 255.0], (side, side, 1)), 3, axis=2)
    return rng.normal(rng.uniform(60, 200, 3), rng.uniform(25, 90), (side, side, 3))


def _flat(side: int, rng: Generator) -> Array:
    """One colour, exactly."""
    return np.broadcast_to(np.rint(rng.uniform(0, 255, 3)), (side, side, 3))


DRAWN: dict[str, Callable[[int, Generator], Array]] = {
    "pages of print": _page,
    "screens": _screen,
    "textures": _texture,
    "noise": _noise,
    "one flat colour": _flat,
}


# Derived from images of the test part ------------------------------------------------------------


def _skin(image: Array, rng: Generator) -> Array:
    """The skin of the image's edge, led smoothly into the middle, with the grain of the edge."""
    side = image.shape[0]
    wide = max(2, round(0.08 * side))
    frame = np.ones((side, side), bool)
    frame[wide:-wide, wide:-wide] = False
    # The middle half of the edge's colours, so that a lesion that reaches the edge hardly counts.
    light = image[frame].sum(axis=-1)
    usual = (light >= np.quantile(light, 0.3)) & (light <= np.quantile(light, 0.9))
    kept = np.zeros((side, side))
    kept[frame] = usual
    weight = ndimage.gaussian_filter(kept, side / 6) + 1e-6
    smooth = ndimage.gaussian_filter(image * kept[..., None], (side / 6, side / 6, 0))
    smooth = smooth / weight[..., None]
    grain = image - ndimage.gaussian_filter(image.astype(float), (3, 3, 0))
    colours = grain[frame][usual]
    drawn = colours[rng.integers(len(colours), size=(side, side))]
    drawn = ndimage.gaussian_filter(drawn, (0.8, 0.8, 0))
    drawn *= colours.std() / (drawn.std() + 1e-9)
    broad = ndimage.gaussian_filter(rng.normal(size=(side, side)), side / 40)
    return np.asarray(smooth + drawn + 4 * (broad / (broad.std() + 1e-9))[..., None])


def hue_turned(image: Array, degrees: float) -> Array:
    """The image with each hue turned on the circle of hues (HSV)."""
    hsv = np.array(Image.fromarray(image).convert("HSV"))
    hsv[..., 0] += np.uint8(round(degrees / 360 * 256))
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


def _half_grey(image: Array, rng: Generator) -> Array:
    """As a decoder shows a JPEG that was cut off: grey from some row of blocks on."""
    shown = image.copy()
    shown[int(rng.uniform(0.3, 0.7) * image.shape[0]) // 8 * 8 :] = 128
    return shown


def _shuffled(image: Array, rng: Generator) -> Array:
    """The sixteen squares of the image in another order."""
    side, along = image.shape[0], 4
    size = side // along
    cut = image[: along * size, : along * size].reshape(along, size, along, size, 3)
    squares = cut.transpose(0, 2, 1, 3, 4).reshape(along**2, size, size, 3)
    mixed = squares[rng.permutation(along**2)].reshape(along, along, size, size, 3)
    shown = image.copy()
    shown[: along * size, : along * size] = mixed.transpose(0, 2, 1, 3, 4).reshape(
        cut.shape[0] * size, -1, 3
    )
    return shown


def _blurred(deviation: float) -> Callable[[Array, Generator], Array]:
    def blurred(image: Array, _: Generator) -> Array:
        wide = deviation * image.shape[0] / 180
        return np.asarray(ndimage.gaussian_filter(image.astype(np.float32), (wide, wide, 0)))

    return blurred


def _dark(image: Array, rng: Generator) -> Array:
    return 255 * (image / 255) ** 2.2 * rng.uniform(0.1, 0.3)


def _glaring(image: Array, rng: Generator) -> Array:
    return image * rng.uniform(1.8, 3.0)


CHANGED: dict[str, Callable[[Array, Generator], Array]] = {
    "skin without lesion": _skin,
    "half of the file grey": _half_grey,
    "squares in another order": _shuffled,
    "hue turned by 90 degrees": lambda image, _: hue_turned(image, 90),
    "hue turned by 180 degrees": lambda image, _: hue_turned(image, 180),
    "red and blue exchanged, in negative": lambda image, _: 255 - image[..., ::-1],
    "negative": lambda image, _: 255 - image,
    "blurred, 3 pixels of 180": _blurred(3),
    "blurred, 5 pixels of 180": _blurred(5),
    "dark": _dark,
    "overexposed": _glaring,
}
