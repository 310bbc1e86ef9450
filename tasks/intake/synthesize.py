"""Draws a synthetic set of skin lesions, for those who have no images at hand.

Nine classes, imbalanced, some lesions seen more than once, and three kinds of planted defects. The
drawings follow the textbook: what tells the classes apart under a dermatoscope (network, globules,
lacunae, arborizing vessels, milia-like cysts, a central white patch ...) is drawn, and varies from
lesion to lesion so that the classes overlap a little. They say nothing about patients: every
picture carries the word SYNTHETIC in its pixels, in its JPEG comment and in its name.
"""

import csv
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from tasks.errors import BadInput
from tasks.lesions import SYNTHETIC_PREFIX, Diagnosis

SIDE_PX = 180  # as the public nine-class set
COMMENT = b"SYNTHETIC: drawn by the program, not a photograph; says nothing about patients."
SITES = ("back", "abdomen", "chest", "face", "lower extremity", "upper extremity", "scalp")
SEVERAL_IMAGES = 0.15  # share of the lesions that are seen two or three times
SMALLEST_CLASS = 4
FIELD = 128  # side of the random field that gives a lesion its texture; a power of 2

Plane = NDArray[Any]  # float32 (SIDE_PX, SIDE_PX)
Places = NDArray[Any]  # float64 (n, 2), on the lesion; its border is about at distance 1
Colour = NDArray[Any] | Sequence[float]  # red, green, blue; 0 to 255


@dataclass(frozen=True)
class Kind:
    """How lesions of one class are drawn.

    Attributes:
        images: How many images of it a full set holds.
        radius: Least and largest radius, in half image sides.
        ragged: How far the border departs from an ellipse, in radii.
        edge: Width over which the border fades, in radii.
        paint: Draws what is inside the border; takes the scene, the lesion's own random numbers
            and how typical of its class it is, 0 to 1.
    """

    images: int
    radius: tuple[float, float]
    ragged: float
    edge: float
    paint: "Callable[[Scene, Generator, float], None]"


def synthesize(to: Path, *, seed: int = 20, scale: float = 1.0) -> dict[str, int]:
    """Draw a set into ``<to>/Train/<class>/*.jpg`` and ``<to>/metadata/labels.csv``.

    The same seed and scale give the same files. The directory appears whole or not at all.

    Args:
        to: A directory that does not exist yet or is empty.
        seed: Start of all random numbers, 0 or more.
        scale: 1 draws about 800 images; a class never has fewer than 4.

    Returns:
        How many there are of: ``files``, ``images`` (without the planted copies), ``lesions``,
        ``contradictory_labels`` (one file in two class folders), ``exact_duplicates`` (one
        file under two names) and ``truncated_files``.

    Raises:
        BadInput: The directory holds something already or cannot be written; or seed or scale is
            out of range.
    """
    if seed < 0 or not 0 < scale <= 100:
        raise BadInput(
            "The synthetic set cannot be drawn.",
            expected="a seed of 0 or more and a scale above 0, at most 100",
            received=f"seed={seed}, scale={scale}",
            do="correct the value",
        )
    to = to.absolute()
    try:
        if to.exists() and (not to.is_dir() or any(to.iterdir())):
            raise _occupied(to)
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as partial:
            made = Path(partial, "set")
            counts = _draw_set(made, seed, scale)
            os.replace(made, to)
    except OSError as error:
        raise BadInput(
            "The synthetic set cannot be written.",
            expected=f"a directory {to} that may be written, with room for 15 MB",
            received=str(error.strerror or error),
            do="free space, or give another directory",
        ) from error
    return counts


def _occupied(to: Path) -> BadInput:
    return BadInput(
        "The synthetic set would be mixed with other files.",
        expected="a directory that does not exist yet or is empty",
        received=f"{to}, which holds something",
        do="give another directory, or remove this one",
    )


def _draw_set(to: Path, seed: int, scale: float) -> dict[str, int]:
    rng = default_rng(seed)
    lesions: list[tuple[Diagnosis, int]] = []  # class and number of images
    for diagnosis, kind in KINDS.items():
        left = max(SMALLEST_CLASS, round(kind.images * scale))
        while left:
            views = 1 if rng.random() > SEVERAL_IMAGES else int(rng.integers(2, 4))
            lesions.append((diagnosis, min(views, left)))
            left -= min(views, left)
    rows: list[dict[str, str]] = []
    for number in rng.permutation(len(lesions)):  # so that a number tells nothing of its class
        diagnosis, views = lesions[number]
        person = _person(rng, int(number), diagnosis)
        for view in range(views):
            row = {"image_id": f"{SYNTHETIC_PREFIX}{len(rows) + 1:07d}", **person}
            rows.append(row)
            pixels = draw(diagnosis, default_rng([seed, number]), default_rng([seed, number, view]))
            _write(_path(to, row), pixels)
    counts = {"images": len(rows), "lesions": len(lesions), **_plant_defects(to, rows, rng)}
    counts["files"] = sum(1 for _ in to.glob("Train/*/*.jpg"))
    table = to / "metadata" / "labels.csv"
    table.parent.mkdir()
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return counts


def _person(rng: Generator, lesion: int, diagnosis: str) -> dict[str, str]:
    age = int(np.clip(rng.normal(45 if diagnosis == "nevus" else 61, 14), 15, 90))
    return {
        "diagnosis": diagnosis,
        "lesion_id": f"SYNTHETIC_LESION_{lesion:05d}",
        # Archives know the patient of some lesions only.
        "patient_id": f"SYNTHETIC_PATIENT_{lesion:05d}" if rng.random() < 0.7 else "",
        "age": str(5 * round(age / 5)),
        "sex": str(rng.choice(["female", "male"])),
        "site": str(rng.choice(SITES)),
    }


def _path(to: Path, row: dict[str, str]) -> Path:
    return to / "Train" / row["diagnosis"] / f"{row['image_id']}.jpg"


def _plant_defects(to: Path, rows: list[dict[str, str]], rng: Generator) -> dict[str, int]:
    """Copy two images into a second class, one to a second name, and cut one short."""

    def any_of(diagnosis: str) -> dict[str, str]:
        return rows[
            int(rng.choice([i for i, row in enumerate(rows) if row["diagnosis"] == diagnosis]))
        ]

    pairs = (("melanoma", "seborrheic keratosis"), ("actinic keratosis", "nevus"))
    for true, other in pairs:
        row = any_of(true)
        shutil.copyfile(_path(to, row), _path(to, {**row, "diagnosis": other}))
    row = any_of("nevus")
    copy = {**row, "image_id": f"{SYNTHETIC_PREFIX}{len(rows) + 1:07d}"}
    shutil.copyfile(_path(to, row), _path(to, copy))
    rows.append(copy)
    cut = _path(to, any_of("pigmented benign keratosis"))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
    return {"contradictory_labels": len(pairs), "exact_duplicates": 1, "truncated_files": 1}


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=90, comment=COMMENT)
    path.write_bytes(data.getvalue())


# One picture --------------------------------------------------------------------------------------


def draw(diagnosis: Diagnosis, lesion: Generator, view: Generator) -> NDArray[np.uint8]:
    """Draw one picture: uint8 ``(180, 180, 3)``, RGB, 0 to 255.

    Args:
        diagnosis: The class.
        lesion: Random numbers of what belongs to the lesion: the same in each of its pictures.
        view: Random numbers of what belongs to the picture: angle, zoom, light, hairs.
    """
    kind = KINDS[diagnosis]
    typical = float(lesion.beta(4, 1.3))
    scene = Scene(kind, typical, lesion, view)
    kind.paint(scene, lesion, typical)
    scene.hairs(view)
    return scene.photograph(view)


class Scene:
    """A patch of skin with a lesion on it, being painted.

    Attributes:
        x, y: Where each pixel lies on the lesion; the border is about at distance 1.
        distance: Of each pixel from the lesion's centre, in local radii: the border is at 1.
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
        if frequency > 3:  # so fine that the nearest cell will do
            rows, columns = ((c * scale + shift).astype(int) % FIELD for c in (self.y, self.x))
            nearest: Plane = self._field[rows, columns]
            return nearest
        # So smooth that every second pixel will do.
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
        """A net of lines, as of a pigment network: where a random field changes its sign."""
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
        """Lay hairs over the picture: none on most, many on some; the same for every class."""
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
        """Light, lens, sensor, and the mark that this is no photograph."""
        line = np.linspace(-1, 1, SIDE_PX, dtype=np.float32)
        across, down = view.normal(0, 0.05, 2)
        light: Plane = view.normal(1.0, 0.05) + across * line[None, :] + down * line[:, None]
        light -= 0.10 * (line[None, :] ** 2 + line[:, None] ** 2)
        light = light.astype(np.float32)
        image = ndimage.gaussian_filter(self.pixels, (lens := view.uniform(0.5, 0.95), lens, 0))
        image *= light[..., None] * view.normal(1.0, 0.02, 3).astype(np.float32)
        image += view.standard_normal(image.shape, dtype=np.float32) * np.float32(2.5)
        picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
        ImageDraw.Draw(picture).text(
            (4, SIDE_PX - 15),
            "SYNTHETIC",
            (255, 255, 255),
            font=_font(),
            stroke_width=1,
            stroke_fill=(40, 30, 30),
        )
        return np.asarray(picture)

    @property
    def _sheet(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """An empty mask of twice the size, so that halving it smooths what is drawn."""
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


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(10)


def _scatter(rng: Generator, count: int, inner: float, outer: float) -> Places:
    """Places on the lesion between two distances from its centre: ``(count, 2)``."""
    angle = rng.uniform(0, 2 * np.pi, count)
    reach = np.sqrt(rng.uniform(inner**2, outer**2, count))
    return np.stack([np.cos(angle) * reach, np.sin(angle) * reach], axis=1)


def _vessels(rng: Generator, trunks: int) -> list[Places]:
    """Arborizing vessels: each trunk crosses the lesion and sheds thinner twigs."""
    paths = []
    for _ in range(trunks):
        way = rng.uniform(0, 2 * np.pi)
        place = -0.9 * np.array([np.cos(way), np.sin(way)]) + rng.normal(0, 0.25, 2)
        trunk = [place]
        for _ in range(9):
            way += rng.normal(0, 0.35)
            place = place + 0.19 * np.array([np.cos(way), np.sin(way)])
            trunk.append(place)
            if rng.random() < 0.5:
                side = way + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
                reach = rng.uniform(0.15, 0.45) * np.array([np.cos(side), np.sin(side)])
                bend = place + reach * 0.5 + rng.normal(0, 0.04, 2)
                paths.append(np.stack([place, bend, place + reach]))
        paths.append(np.stack(trunk))
    return paths


# What is inside the border, class by class --------------------------------------------------------


def _brown(rng: Generator, depth: float) -> NDArray[Any]:
    """Melanin, light (0) to nearly black (1)."""
    light, dark = np.array([172.0, 122.0, 84.0]), np.array([52.0, 34.0, 30.0])
    shade: NDArray[Any] = light + (dark - light) * np.clip(depth + rng.normal(0, 0.07), 0, 1)
    return shade * rng.uniform([0.95, 0.98, 0.92], [1.05, 1.02, 1.08])


def _nevus(scene: Scene, rng: Generator, typical: float) -> None:
    depth = rng.uniform(0.15, 0.7)
    scene.blend(scene.inside * (0.8 + 0.08 * scene.noise(2.0)), _brown(rng, depth), 1)
    scene.blend(scene.disc(rng.uniform(0.3, 0.7), 0.7), _brown(rng, depth + 0.25), 0.5)
    if rng.random() < 0.65:
        net = scene.lines(rng.uniform(7, 10), 0.45) * scene.inside
        scene.blend(net, _brown(rng, depth + 0.3), 0.5)
    else:
        places = _scatter(rng, 45, 0, 0.9)
        globules = scene.dots(places, rng.uniform(0.03, 0.06, 45))
        scene.blend(globules * scene.inside, _brown(rng, depth + 0.3), 0.5)
    if typical < 0.52:  # an atypical nevus has a second colour off its centre, like a melanoma
        scene.blend(scene.patches(0.3, 1.0, 3) * scene.core, _brown(rng, 0.95), 0.8)


def _melanoma(scene: Scene, rng: Generator, typical: float) -> None:
    scene.blend(
        scene.inside * (0.85 + 0.1 * scene.noise(2.0)), _brown(rng, rng.uniform(0.3, 0.7)), 1
    )
    scene.blend(scene.lines(4.5, 0.5) * scene.inside, _brown(rng, 0.85), 0.5)
    scene.blend(scene.patches(0.4, 0.9, 5) * scene.inside, _brown(rng, 0.95), 0.4 + 0.5 * typical)
    zones = ([98, 112, 138], [172, 92, 84], [206, 184, 176])  # veil, blush, regression
    for start, colour in enumerate(zones):
        if rng.random() < 0.25 + 0.5 * typical:
            zone = scene.patches(rng.uniform(0.15, 0.28), 1.1, 31 + 13 * start)
            scene.blend(zone * scene.core, colour, 0.35 + 0.35 * typical)
    if rng.random() < 0.7 * typical:  # streaks, on one side only
        side = rng.uniform(0, 2 * np.pi)
        ways = side + rng.uniform(-0.9, 0.9, 16)
        rays = np.stack([np.cos(ways), np.sin(ways)], axis=1)
        paths = [np.stack([ray * 0.7, ray * rng.uniform(0.9, 1.15)]) for ray in rays]
        scene.blend(scene.strokes(paths, 1.6), _brown(rng, 0.9), 0.5)
    dots = scene.dots(_scatter(rng, 30, 0.3, 0.95), rng.uniform(0.012, 0.05, 30))
    scene.blend(dots * scene.inside, _brown(rng, 1.0), 0.6)


def _pigmented_benign_keratosis(scene: Scene, rng: Generator, typical: float) -> None:
    tan = _brown(rng, rng.uniform(0.0, 0.4))
    scene.blend(scene.inside * (0.85 + 0.1 * scene.noise(2.5)), tan, rng.uniform(0.65, 0.95))
    way = rng.uniform(0, np.pi)
    along = scene.x * np.float32(np.cos(way)) + scene.y * np.float32(np.sin(way))
    bends = 2.6 * scene.noise(1.0) + 1.2 * scene.noise(2.2, 50)
    ridges = 0.5 + 0.5 * np.sin(along * np.float32(rng.uniform(22, 34)) + bends)
    scene.blend(ridges * scene.inside * (0.7 + 0.4 * scene.noise(1.5, 60)), tan * 0.55, 0.55)
    scene.blend(scene.patches(0.3, 1.2, 9) * scene.inside, [158, 136, 122], 0.45)
    if typical < 0.5:
        scene.blend(scene.patches(0.4, 0.9, 7) * scene.inside, _brown(rng, 0.75), 0.75)


def _seborrheic_keratosis(scene: Scene, rng: Generator, typical: float) -> None:
    scene.blend(scene.disc(1.06, 0.12) * (1 - scene.inside), scene.skin * 0.62, 0.5)
    wax = _brown(rng, rng.uniform(0.15, 0.7)) * 0.8 + 24
    scene.blend(scene.inside * (0.9 + 0.08 * scene.noise(5.0)), wax, 1)
    scene.blend(scene.lines(2.6, 0.35) * scene.core, wax * 0.5, 0.5)
    scene.blend(scene.patches(0.3, 2.0, 9) * scene.inside, wax * 1.25, 0.5)
    cysts = scene.dots(_scatter(rng, 20, 0, 0.85), rng.uniform(0.02, 0.06, 20))
    scene.blend(ndimage.gaussian_filter(cysts, 0.8), [236, 222, 200], 0.3 + 0.45 * typical)
    plugs = scene.dots(_scatter(rng, 10, 0, 0.85), rng.uniform(0.025, 0.07, 10))
    scene.blend(plugs, _brown(rng, 0.95), 0.75)


def _basal_cell_carcinoma(scene: Scene, rng: Generator, typical: float) -> None:
    scene.blend(scene.inside * (0.8 + 0.12 * scene.noise(1.5)), [220, 160, 150], 0.85)
    scene.blend(scene.patches(0.3, 1.5, 9) * scene.inside, [232, 196, 186], 0.6)
    count = int(rng.integers(1, 7))
    nests = scene.dots(_scatter(rng, count, 0.2, 0.8), rng.uniform(0.08, 0.24, count))
    nests = ndimage.gaussian_filter(nests, 2.0) * (0.75 + 0.35 * scene.noise(3.0))
    scene.blend(nests, _brown(rng, 0.6) * 0.4 + [46, 52, 70], 0.4 + 0.45 * typical)
    vessels = _vessels(rng, 1 + int(4 * typical))
    scene.blend(scene.strokes(vessels, 1.0), [176, 54, 54], 0.4 + 0.3 * typical)
    if rng.random() < 0.35:  # a small erosion
        spot = scene.dots(_scatter(rng, 3, 0, 0.3), rng.uniform(0.06, 0.14, 3))
        scene.blend(spot * (0.8 + 0.3 * scene.noise(4)), [126, 52, 38], 0.8)


def _actinic_keratosis(scene: Scene, rng: Generator, typical: float) -> None:
    scene.blend(scene.inside * (0.8 + 0.2 * scene.noise(1.2)), [204, 116, 104], 0.5 + 0.3 * typical)
    scene.blend(scene.lines(5.0, 0.5) * scene.inside, [182, 82, 76], 0.5)
    places = _scatter(rng, 40, 0, 1.0)
    sizes = rng.uniform(0.03, 0.065, 40)
    scene.blend(scene.dots(places, sizes), [232, 200, 182], 0.55)
    scene.blend(scene.dots(places, sizes * 0.45), [196, 152, 104], 0.6)
    scales = scene.patches(0.25, 3.5, 11) * scene.patches(0.45, 1.0, 29) * scene.inside
    scene.blend(scales, [240, 226, 206], 0.8)
    if typical < 0.4:  # a pigmented one
        scene.blend(scene.patches(0.5, 0.9, 7) * scene.inside, _brown(rng, 0.4), 0.6)


def _squamous_cell_carcinoma(scene: Scene, rng: Generator, typical: float) -> None:
    scene.blend(scene.inside * (0.85 + 0.12 * scene.noise(2.0)), [200, 112, 104], 0.9)
    heart = scene.disc(rng.uniform(0.4, 0.7), 0.4) * (0.85 + 0.2 * scene.noise(4.0))
    scene.blend(heart, [222, 194, 148], 0.4 + 0.5 * typical)
    scene.blend(scene.patches(0.3, 2.5, 15) * heart, [174, 132, 86], 0.7)
    loops = []
    for place in _scatter(rng, 30, 0.6, 1.0):
        out, turn = place / np.linalg.norm(place), np.linspace(0, np.pi, 5)[:, None]
        across = np.array([-out[1], out[0]])
        loops.append(place + 0.08 * np.sin(turn) * out + 0.03 * np.cos(turn) * across)
    scene.blend(scene.strokes(loops, 0.7), [150, 34, 42], 0.7)
    spots = scene.dots(_scatter(rng, 5, 0, 0.6), rng.uniform(0.02, 0.08, 5))
    scene.blend(spots, [96, 26, 24], 0.75)


def _dermatofibroma(scene: Scene, rng: Generator, typical: float) -> None:
    depth = rng.uniform(0.0, 0.4)
    scene.blend(scene.inside * (0.85 + 0.1 * scene.noise(1.5)), _brown(rng, depth), 0.65)
    scene.blend(scene.lines(9.0, 0.4) * scene.inside, _brown(rng, depth + 0.35), 0.45)
    scar = scene.disc(rng.uniform(0.25, 0.5), 0.5) * (0.9 + 0.12 * scene.noise(3.0))
    scene.blend(scar, [234, 208, 194], 0.4 + 0.45 * typical)
    scene.blend(scene.lines(2.5, 0.2) * scar, [248, 236, 228], 0.5)


def _vascular_lesion(scene: Scene, rng: Generator, typical: float) -> None:
    violet = np.array([132.0, 40.0, 60.0]) * rng.uniform([0.6, 0.7, 0.6], [1.15, 1.2, 1.5])
    scene.blend(scene.inside * (0.9 + 0.1 * scene.noise(2.0)), [192, 98, 100], 0.85)
    count = 26
    places, radii = _scatter(rng, count, 0, 0.82), rng.uniform(0.08, 0.26, count)
    scene.blend(scene.dots(places, radii) * scene.inside, violet * [1.3, 1.2, 1.0], 0.7)
    scene.blend(scene.dots(places, radii * 0.72) * scene.inside, violet, 0.35 + 0.4 * typical)
    scene.blend(scene.patches(0.2, 1.2, 23) * scene.inside, [196, 170, 176], 0.35)
    if typical < 0.5:  # a thrombosed one is nearly black
        scene.blend(scene.patches(0.4, 0.9, 7) * scene.inside, [50, 24, 32], 0.8)


KINDS: dict[Diagnosis, Kind] = {
    "actinic keratosis": Kind(45, (0.45, 0.70), 0.10, 0.50, _actinic_keratosis),
    "basal cell carcinoma": Kind(100, (0.40, 0.65), 0.12, 0.22, _basal_cell_carcinoma),
    "dermatofibroma": Kind(30, (0.35, 0.55), 0.05, 0.40, _dermatofibroma),
    "melanoma": Kind(180, (0.45, 0.75), 0.26, 0.14, _melanoma),
    "nevus": Kind(195, (0.35, 0.65), 0.06, 0.22, _nevus),
    "pigmented benign keratosis": Kind(110, (0.40, 0.65), 0.16, 0.12, _pigmented_benign_keratosis),
    "seborrheic keratosis": Kind(60, (0.40, 0.65), 0.09, 0.06, _seborrheic_keratosis),
    "squamous cell carcinoma": Kind(42, (0.40, 0.65), 0.12, 0.18, _squamous_cell_carcinoma),
    "vascular lesion": Kind(45, (0.35, 0.60), 0.10, 0.08, _vascular_lesion),
}
