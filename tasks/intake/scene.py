"""Draw a picture: paint a patch of skin with a lesion, then photograph it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

SIDE_PX = 180  # side of a picture, as in the public nine-class set
FIELD = 128  # side of the random field that gives a lesion its texture; a power of 2

Plane = NDArray[Any]  # float32 (SIDE_PX, SIDE_PX)
Places = NDArray[Any]  # float64 (n, 2), on the lesion; its border is about at distance 1
Colour = NDArray[Any] | Sequence[float]  # red, green, blue; 0 to 255


@dataclass(frozen=True)
class Kind:
    """How lesions of one class are drawn.

    Attributes:
        images: Number of images of the class in a full set.
        radius: Least and largest radius, in half image sides.
        ragged: How far the border departs from an ellipse, in radii.
        edge: Width over which the border fades, in radii.
        paint: Draws the inside of the lesion; takes the scene, the lesion's own random numbers
            and how typical of its class the lesion is, 0 to 1.
    """

    images: int
    radius: tuple[float, float]
    ragged: float
    edge: float
    paint: "Callable[[Scene, Generator, float], None]"


class Scene:
    """A patch of skin with a lesion on it, being painted.

    Attributes:
        x, y: Position of each pixel on the lesion; the border is about at distance 1.
        distance: Distance of each pixel from the lesion's centre, in local radii: the border is
            at 1.
        inside: 1 inside the lesion, 0 outside, in between at the border.
        pixels: float32 ``(180, 180, 3)``, 0 to 255.
    """

    def __init__(self, kind: Kind, typical: float, lesion: Generator, view: Generator) -> None:
        self._field = ndimage.gaussian_filter(
            lesion.standard_normal((FIELD, FIELD), dtype=np.float32), 2.1, mode="wrap"
        )
        self._field /= self._field.std()
        self._place(kind, lesion, view)
        angle = np.arctan2(self.y, self.x)
        border = np.ones_like(angle)
        ragged = kind.ragged * (0.4 + 0.6 * typical) * lesion.uniform(0.7, 1.3)
        for waves in range(2, 6):
            phase = lesion.uniform(0, 2 * np.pi)
            size = 0.8 * ragged * lesion.normal() / waves
            border += np.float32(size) * np.cos(waves * angle + np.float32(phase))
        self.distance: Plane = np.hypot(self.x, self.y) / np.clip(border, 0.5, 1.6)
        self.distance += np.float32(0.55 * ragged) * (
            self.noise(1.5, 70) + 0.5 * self.noise(4.0, 80)
        )
        self.inside: Plane = self.disc(1.0, kind.edge)
        self._skin(lesion)

    def _place(self, kind: Kind, lesion: Generator, view: Generator) -> None:
        stretch = lesion.uniform(1.0, 1.35)
        radius = lesion.uniform(*kind.radius)
        self._radius = np.array([radius * stretch**0.5, radius / stretch**0.5])
        self._radius *= view.uniform(0.88, 1.12)
        turn = view.uniform(0, 2 * np.pi)
        self._turn = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        self._centre = view.uniform(-0.14, 0.14, 2)
        line = np.linspace(-1, 1, SIDE_PX, dtype=np.float32)
        grid = np.stack(np.meshgrid(line, line), axis=-1) - self._centre.astype(np.float32)
        place = (grid @ self._turn.astype(np.float32)) / self._radius.astype(np.float32)
        self.x: Plane = place[..., 0]
        self.y: Plane = place[..., 1]

    def _skin(self, lesion: Generator) -> None:
        fair, tan = np.array([232.0, 190.0, 172.0]), np.array([186.0, 138.0, 108.0])
        self.skin = fair + (tan - fair) * lesion.beta(1.2, 3.0) + lesion.normal(0, [3, 3, 5])
        self.pixels = np.empty((SIDE_PX, SIDE_PX, 3), np.float32)
        self.pixels[:] = self.skin
        self.blend(self.noise(1.6) * 0.10, [205, 120, 110], 1)
        self.blend(self.lines(7.0, 0.22), np.asarray(self.skin) * 0.86, 0.35)
        self.blend(self.noise(13.0) * 0.06, [255, 235, 220], 1)

    # What painters use

    def disc(self, radius: float, edge: float) -> Plane:
        """1 within `radius` of the lesion's centre, fading to 0 over `edge`."""
        steep = np.clip((self.distance - np.float32(radius)) * np.float32(5 / edge), -30, 30)
        disc: Plane = 1 / (1 + np.exp(steep))
        return disc

    def noise(self, frequency: float, start: float = 0.0) -> Plane:
        """A smooth random field of mean 0 and deviation about 1, fixed to the lesion."""
        scale, shift = np.float32(4 * frequency), np.float32(FIELD // 2 + start)
        if frequency > 3:  # so fine that the nearest cell suffices
            rows, columns = ((c * scale + shift).astype(int) % FIELD for c in (self.y, self.x))
            nearest: Plane = self._field[rows, columns]
            return nearest
        # So smooth that every second pixel suffices.
        places = np.stack([self.y[::2, ::2], self.x[::2, ::2]]) * scale + shift
        field = ndimage.map_coordinates(self._field, places, order=1, mode="grid-wrap")
        whole = Image.fromarray(field).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        return np.asarray(whole)

    def patches(self, share: float, frequency: float, start: float) -> Plane:
        """Soft-edged patches that cover about `share` of the plane."""
        level = np.float32(2.4 * (0.5 - share))
        patches: Plane = np.clip((self.noise(frequency, start) - level) * 1.6 + 0.5, 0, 1)
        return patches

    def lines(self, frequency: float, width: float, start: float = 17.0) -> Plane:
        """A net of lines, like a pigment network: the places where a random field changes sign."""
        net: Plane = np.exp(-np.square(self.noise(frequency, start) / np.float32(width)))
        return net

    def blend(self, mask: Plane, colour: Colour, strength: float) -> None:
        """Tint towards a colour where `mask` says so."""
        amount = np.clip(mask * np.float32(strength), -1, 1)[..., None]
        self.pixels += amount * (np.asarray(colour, np.float32) - self.pixels)

    def dots(self, places: Places, radii: NDArray[Any]) -> Plane:
        """Discs at places on the lesion, with radii in lesion radii."""
        sheet, pen = self._sheet
        size = float(self._radius.mean()) * SIDE_PX
        for (x, y), radius in zip(self._on_sheet(places), radii * size, strict=True):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        return self._lift(sheet)

    def strokes(self, paths: Sequence[Places], width_px: float) -> Plane:
        """Polylines through places on the lesion."""
        sheet, pen = self._sheet
        for path in paths:
            line = [(float(x), float(y)) for x, y in self._on_sheet(path)]
            pen.line(line, fill=255, width=max(1, round(2 * width_px)), joint="curve")
        return self._lift(sheet)

    def hairs(self, view: Generator) -> None:
        """Lay hairs over the picture: none on most pictures, many on some, whatever the class."""
        count = int(view.poisson(view.choice([0.3, 3, 10], p=[0.5, 0.35, 0.15])))
        if not count:
            return
        sheet, pen = self._sheet
        t = np.linspace(0, 1, 12)[:, None]
        for _ in range(count):
            start, bend, end = view.uniform(-0.1, 1.1, (3, 2)) * 2 * SIDE_PX
            bend = (start + end) / 2 + (bend - SIDE_PX) * 0.25
            curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
            pen.line([(float(x), float(y)) for x, y in curve], fill=255, width=2)
        self.blend(self._lift(sheet), np.array([58.0, 40, 32]) * view.uniform(0.5, 2.0), 0.75)

    def photograph(self, view: Generator) -> NDArray[np.uint8]:
        """Add light, lens, sensor, and the mark that this is not a photograph."""
        line = np.linspace(-1, 1, SIDE_PX, dtype=np.float32)
        across, down = view.normal(0, 0.05, 2)
        light: Plane = view.normal(1.0, 0.05) + across * line[None, :] + down * line[:, None]
        light -= 0.10 * (line[None, :] ** 2 + line[:, None] ** 2)
        light = light.astype(np.float32)
        image = ndimage.gaussian_filter(self.pixels, (lens := view.uniform(0.5, 0.95), lens, 0))
        image *= light[..., None] * view.normal(1.0, 0.02, 3).astype(np.float32)
        image += view.standard_normal(image.shape, dtype=np.float32) * np.float32(2.5)
        picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
        return np.asarray(mark(picture, at=(4, SIDE_PX - 15)))

    @property
    def _sheet(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """An empty mask of twice the size, which is halved later to smooth the drawing."""
        sheet = Image.new("L", (2 * SIDE_PX, 2 * SIDE_PX))
        return sheet, ImageDraw.Draw(sheet)

    @staticmethod
    def _lift(sheet: Image.Image) -> Plane:
        return np.asarray(sheet.reduce(2), np.float32) / 255

    def _on_sheet(self, places: Places) -> Places:
        spot: Places = (places * self._radius) @ self._turn.T + self._centre
        return (spot + 1) * SIDE_PX

    @cached_property
    def core(self) -> Plane:
        """The lesion without its rim."""
        return self.disc(0.8, 0.3)


def mark(picture: Image.Image, at: tuple[int, int]) -> Image.Image:
    """Write into a picture, in place, that it is no photograph."""
    ImageDraw.Draw(picture).text(
        at,
        "SYNTHETIC",
        (255, 255, 255),
        font=_font(),
        stroke_width=1,
        stroke_fill=(40, 30, 30),
    )
    return picture


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(10)
