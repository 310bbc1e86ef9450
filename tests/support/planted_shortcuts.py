"""Plant shortcuts on images: the same mark on every melanoma and on a fifth of the others."""

import io
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd
from numpy.random import Generator
from PIL import Image
from scipy.ndimage import gaussian_filter

from tasks.evaluation.overlays import Overlay, blended, sheet_of
from tasks.intake.surroundings import OF_PIXELS, figures_of, measured_on
from tasks.records.shortcuts import Beside
from tasks.validation.shortcuts import SOURCE, beside_of

Array = np.ndarray[Any, Any]
Mark = Literal["ruler", "sticker", "black corners", "frame", "JPEG quality"]

MARKS: tuple[Mark, ...] = get_args(Mark)
OTHER_QUALITY = 60  # of 100; cameras and archives write 75 to 95


@dataclass(frozen=True)
class Images:
    """Images as they are, and with one mark on each.

    Attributes:
        melanoma, lesion: Of each image.
        plain, marked: What the program measures of their pixels, as ``OF_PIXELS``.
        files, marked_files: Columns of the manifest that are about their files.
    """

    melanoma: Array
    lesion: pd.Series
    plain: pd.DataFrame
    marked: pd.DataFrame
    files: pd.DataFrame
    marked_files: pd.DataFrame

    def asked(self, rng: Generator, lesions: int, *, of_others: float, of_melanomas: float) -> bool:
        """Whether a delivery of so many lesions of each kind, marked at these rates, alarms."""
        beside = self.beside(rng, lesions, of_others=of_others, of_melanomas=of_melanomas)
        return any(each.shortcut for each in beside.things)

    def beside(
        self, rng: Generator, lesions: int, *, of_others: float, of_melanomas: float
    ) -> Beside:
        chosen = np.concatenate(
            [
                rng.choice(np.flatnonzero(self.melanoma == kind), lesions, replace=False)
                for kind in (True, False)
            ]
        )
        melanoma = self.melanoma[chosen]
        rate = np.where(melanoma, of_melanomas, of_others)
        marked = rng.random(len(chosen)) < rate

        def mixed(plain: pd.DataFrame, with_mark: pd.DataFrame) -> pd.DataFrame:
            both = pd.concat([plain.iloc[chosen[~marked]], with_mark.iloc[chosen[marked]]])
            return both.loc[chosen].reset_index(drop=True)

        figures = figures_of(
            mixed(self.files, self.marked_files), mixed(self.plain, self.marked)
        ).assign(**{SOURCE: "one"})
        found = beside_of(figures, melanoma, self.lesion.iloc[chosen].reset_index(drop=True))
        assert found
        return found


def images_of(pixels: Array, melanoma: Array, lesion: pd.Series, mark: Mark) -> Images:
    """Images of one size, each plain and marked, both saved as JPEG.

    Args:
        pixels: uint8 ``(n, side, side, 3)``.
        melanoma: bool ``(n,)``.
        lesion: Lesion of each image.
        mark: What to plant on the marked ones.
    """
    rng = np.random.default_rng(MARKS.index(mark))
    marked = [with_mark(mark, each, rng) for each in pixels]
    quality = OTHER_QUALITY if mark == "JPEG quality" else 90
    plain_files, plain = _saved(list(pixels), 90)
    marked_files, saved = _saved(marked, quality)
    return Images(melanoma, lesion.reset_index(drop=True), plain, saved, plain_files, marked_files)


def with_mark(mark: Mark, image: Array, rng: Generator) -> Array:
    """One image, uint8 ``(side, side, 3)``, with a mark of its own; another quality is no mark."""
    if mark == "JPEG quality":
        return image
    return blended(image, *sheet_of(cast(Overlay, mark), image.shape[0], rng))


def as_jpeg(image: Array, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _saved(images: list[Array], quality: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    data = [as_jpeg(each, quality) for each in images]
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(each))) for each in data])
    side = decoded.shape[1]
    files = pd.DataFrame({"size_bytes": [len(each) for each in data]})
    files = files.assign(width=side, height=side, format="JPEG", mode="RGB")
    return files, pd.DataFrame(measured_on(decoded), columns=list(OF_PIXELS))


def skins(count: int, seed: int = 1, side: int = 96) -> Array:
    """Patches of skin with a blot in the middle: uint8 ``(count, side, side, 3)``. No class has a
    look of its own."""
    rng = np.random.default_rng(seed)
    line = np.linspace(-1, 1, side)
    away = np.hypot(line[:, None], line[None, :])
    images = []
    for _ in range(count):
        noise = gaussian_filter(rng.normal(size=(side, side, 3)), (2, 2, 0)) * 30
        blot = 1 / (1 + np.exp((away - rng.uniform(0.2, 0.7)) * 20))
        tone = np.array([210, 160, 140]) + rng.normal(0, 15, 3)
        images.append(tone + noise - blot[..., None] * rng.uniform(50, 120, 3))
    return np.asarray(np.clip(np.stack(images), 0, 255).astype(np.uint8))
