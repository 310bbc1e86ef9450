"""Figures of an image that are not about its lesion: of its file, its border, its colours.

None of them should tell a diagnosis. `tasks.validation.shortcuts` asks whether one does. Rulers,
stickers, ink, black corners and frames are what classifiers of skin lesions took for signs of
melanoma: Bissoto, Valle & Avila, "Debiasing skin lesion datasets and models? Not so fast", CVPR
Workshops (2020), which counts them in ISIC's images.
"""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]

BORDER = 0.16  # share of the side: how far in a ruler, a sticker or a corner reaches
FRAME = 0.03  # share of the side: a frame along the edge
CELLS = 15  # cells along each side: a sticker fills some, and none is as large as a lesion
COARSE_PX = 60  # colours are measured on about so many pixels a side; lines on all
# Images at once: so few that a processor's cache holds their planes, and that the product of one
# plane of each with `_places` is too small for OpenBLAS to start threads (262,144 multiplications,
# interface/gemm.c), which would take the processors from the threads that are at work.
AT_ONCE = 6
DARK = 48  # of 255: a black corner or a frame is darker, skin is not
PALE = 225  # of 255, red, green and blue alike: paper and bubbles are paler, skin is redder
STEEP = 24  # of 255, from one pixel to the next: a drawn line; the rim of a lesion is softer

# The figures, by what they are about: each group is asked alone.
GROUPS: dict[str, tuple[str, ...]] = {
    "dimensions": ("width", "height", "aspect"),
    "file": ("format", "mode", "encoding", "camera", "bytes a pixel", "bytes for its detail"),
    "corners": ("darkest corner", "dark share of the corners"),
    "frame": ("light of the edge", "spread of the edge", "dark share of the edge"),
    "colour of the border": (
        *("red of the border", "green of the border", "blue of the border"),
        *("spread of red", "spread of green", "spread of blue"),
    ),
    "marks on the border": (
        *("share without the colour of skin", "largest such share of a strip"),
        *("pale share", "dark share", "oddest colour", "oddest light"),
    ),
    "lines on the border": ("lines", "most lines of a strip", "most lines above the others"),
}
# The whole image holds the lesion: its colour is told of, and is no shortcut by itself.
OF_THE_WHOLE = "colour of the whole, lesion included"
WHOLE = (
    "red",
    "green",
    "blue",
    "red of all, spread",
    "green of all, spread",
    "blue of all, spread",
)
OF_PIXELS = (*(name for about in list(GROUPS)[2:] for name in GROUPS[about]), *WHOLE)
TEXTS = ("format", "mode", "encoding", "camera")
FEWEST = 20  # images of a text; fewer are counted together
DETAIL = ("lines", "green of all, spread", "spread of green")


def figures_of(frame: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """All figures of images, those of their files included.

    Args:
        frame: Rows of the manifest; those of earlier versions have no ``encoding`` and ``camera``.
        measured: Columns `OF_PIXELS`, same index.

    Returns:
        The columns of `GROUPS` and `WHOLE`, same index: texts, or floats.
    """
    width, height, size = (
        frame[name].to_numpy(float) for name in ("width", "height", "size_bytes")
    )
    bytes_a_pixel = np.log(size / (width * height))
    # A picture with more detail needs more bytes at the same quality.
    detail = np.log(measured[list(DETAIL)].to_numpy(float) + 1e-3)
    known = np.column_stack([np.ones(len(detail)), np.log(width * height), detail])
    fitted = np.linalg.lstsq(known, bytes_a_pixel, rcond=None)[0]
    of_file = {
        "width": width,
        "height": height,
        "aspect": width / height,
        "bytes a pixel": bytes_a_pixel,
        "bytes for its detail": bytes_a_pixel - known @ fitted,
    }
    told = frame.reindex(columns=list(TEXTS), fill_value="")
    texts = told.astype("str").fillna("").apply(_common)
    return pd.concat([measured, pd.DataFrame(of_file, index=frame.index), texts], axis=1)


def _common(values: pd.Series) -> pd.Series:
    """Texts, the rare ones as one."""
    return values.where(values.map(values.value_counts()) >= FEWEST, "another")


def measured_of(manifest: pd.DataFrame) -> pd.DataFrame | None:
    """What ingest measured beside the lesion, by key: the columns `OF_PIXELS`.

    None for the manifest of an earlier version, which has none of these figures.
    """
    if "surroundings" not in manifest:
        return None
    rows = manifest[manifest["surroundings"].notna()]
    found = np.frombuffer(b"".join(rows["surroundings"]), np.float32)
    table = found.reshape(len(rows), len(OF_PIXELS))
    return pd.DataFrame(table, index=rows["key"], columns=list(OF_PIXELS))


def measured_on(pixels: Array) -> Array:
    """The figures `OF_PIXELS` of images.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255.

    Returns:
        float32 ``(n, len(OF_PIXELS))``: light, colours and spreads 0 to 255, shares 0 to 1; lines
        0 to 2, the shares of steps across and down that are steep.
    """
    parts = [_of_few(pixels[at : at + AT_ONCE]) for at in range(0, len(pixels), AT_ONCE)]
    return np.concatenate(parts) if parts else np.empty((0, len(OF_PIXELS)), np.float32)


def _of_few(pixels: Array) -> Array:
    every = max(1, pixels.shape[1] // COARSE_PX)
    coarse = np.ascontiguousarray(pixels[:, ::every, ::every])
    n, side = coarse.shape[:2]
    red, green, blue = np.moveaxis(coarse.reshape(n, -1, 3).astype(np.float32), -1, 0)
    light = (red + 2 * green + blue) / 4
    levels: Array = np.stack((red, green, blue, light))
    # Squares of levels would lose small spreads in float32: they are taken from a corner's level.
    corner = levels[..., :1]
    flags = (
        light < DARK,
        np.minimum(np.minimum(red, green), blue) > PALE,
        np.maximum(green, blue) > red,  # which no skin is
    )
    # Levels are quarters, their squares sixteenths: their sums are exact in float64. So no machine,
    # library or number of threads adds them up to something else.
    masks, counts = _places(side)
    planes = np.concatenate((levels, (levels - corner) ** 2, flags), dtype=np.float64)
    means: Array = (planes @ masks / counts).astype(np.float32)
    spread = np.sqrt(np.maximum(0, means[4:8] - (means[:4] - corner) ** 2))
    lights, (dark, pale, strange) = means[3], means[8:]
    corners, strips, ring, edge, whole = slice(0, 4), slice(4, 8), 8, 9, 10
    lines = _lines(pixels[..., 1], max(2, round(BORDER * pixels.shape[1])))
    columns = (
        *(lights[:, corners].min(axis=1), dark[:, corners].mean(axis=1)),
        *(lights[:, edge], spread[3, :, edge], dark[:, edge]),
        *(*means[:3, :, ring], *spread[:3, :, ring]),
        *(strange[:, ring], strange[:, strips].max(axis=1), pale[:, ring], dark[:, ring]),
        *_oddest(coarse),
        *(lines.mean(axis=1), lines.max(axis=1), lines.max(axis=1) - np.median(lines, axis=1)),
        *(*means[:3, :, whole], *spread[:3, :, whole]),
    )
    return np.stack(columns, axis=1).astype(np.float32)


@cache
def _places(side: int) -> tuple[Array, Array]:
    """What turns a plane into its sums over places, float64 ``(side * side, 11)``, 0 or 1; and how
    many pixels each place has, float64 ``(11,)``.

    The places are four corners, the upper, lower, left and right strip, the border, the edge, and
    the whole.
    """
    wide, thin = max(1, round(BORDER * side)), max(1, round(FRAME * side))
    one, other, every = slice(wide), slice(-wide, None), slice(None)
    boxes = [(down, across) for down in (one, other) for across in (one, other)]
    boxes += [(one, every), (other, every), (every, one), (every, other)]
    masks = np.zeros((len(boxes) + 3, side, side), np.float64)
    for mask, (down, across) in zip(masks, boxes, strict=False):
        mask[down, across] = 1
    masks[8:] = 1
    masks[8, wide:-wide, wide:-wide] = 0
    masks[9, thin:-thin, thin:-thin] = 0
    flat = masks.reshape(len(masks), -1)
    return np.ascontiguousarray(flat.T), flat.sum(axis=1)


def _oddest(coarse: Array) -> tuple[Array, Array]:
    """How far the oddest cell of the border is from the border's median: in colour, in light."""
    size = max(1, coarse.shape[1] // CELLS)
    along = min(CELLS, coarse.shape[1])
    crop = coarse[:, : along * size, : along * size].astype(np.float32)
    # Twice along one axis is faster than once along two.
    cells = crop.reshape(len(crop), along, size, -1).sum(axis=2)
    cells = cells.reshape(len(crop), along, along, size, 3).sum(axis=3) / size**2
    ring = np.ones((along, along), bool)
    ring[2:-2, 2:-2] = False
    red, green, blue = np.moveaxis(cells[:, ring], -1, 0)
    colour, tint, light = (
        np.abs(each - np.median(each, axis=1, keepdims=True))
        for each in (red - green, blue - green, green)
    )
    return (colour + tint).max(axis=1), light.max(axis=1)


def _lines(green: Array, wide: int) -> Array:
    """The steep steps of each strip, float ``(n, 4)``, 0 to 2."""
    found = []
    for at in (np.s_[:, :wide], np.s_[:, -wide:], np.s_[:, :, :wide], np.s_[:, :, -wide:]):
        strip = np.ascontiguousarray(green[at])
        found.append(
            _steep(strip[:, 1:], strip[:, :-1]) + _steep(strip[:, :, 1:], strip[:, :, :-1])
        )
    return np.stack(found, axis=1)


def _steep(ones: Array, others: Array) -> Array:
    """Share of pixels that differ by a steep step, for each image: float ``(n,)``."""
    steps = (np.maximum(ones, others) - np.minimum(ones, others)) > STEEP
    counted = np.add.reduce(steps.view(np.uint8), axis=(1, 2), dtype=np.uint32)
    return np.asarray(counted / ones[0].size)
