"""A fixed description of an image in 48 figures, by which images of two times are compared.

No training changes the figures, so the promotion of a model never looks like drift.

What they can see: the colour of the lesion and of the skin around it, how even both are, how light
falls off towards the corners, and how much contrast there is in structures of each size, from
single pixels (focus, noise, compression, sharpening) to eight pixels. So they tell a dermatoscope,
a lamp, a camera's processing, and lesions of another kind. What they cannot see: which structures
these are, such as a network or globules, text, and anything outside the image.

The contrast of each size is the spread of a band of a Laplacian pyramid (Burt & Adelson, "The
Laplacian pyramid as a compact image code", IEEE Transactions on Communications 31:532-540, 1983) on
luminance and two opponent colours. Such spreads, in logarithms, are what Portilla & Simoncelli, "A
parametric texture model based on joint statistics of complex wavelet coefficients", International
Journal of Computer Vision 40:49-70 (2000), describe textures by, among others.
"""

from typing import Any

import numpy as np

from tasks.errors import BadInput
from tasks.evaluation.appearance import cielab

Array = np.ndarray[Any, Any]

VERSION = 1  # raise it with any change of the figures: rows of two versions are never compared
LEAST_PX = 32  # side: four halvings must leave a border and a middle
LEVELS = 4  # bands of luminance: structures of 1, 2, 4 and 8 pixels
COLOUR_PX = 48  # colours are measured on about so many pixels a side
BORDER = 0.2  # share of the side; as a rule skin
FLOOR = 0.25  # of 255: less contrast is rounding, and its logarithm would say much about nothing

PLACES = ("middle", "border")
NAMES: tuple[str, ...] = (
    *(f"{name} of the {place}" for place in PLACES for name in ("L*", "a*", "b*")),
    *(f"spread of {name}, {place}" for place in PLACES for name in ("L*", "a*", "b*")),
    *(f"light, quantile {share}" for share in ("0.02", "0.25", "0.5", "0.75", "0.98")),
    *(f"light of the {name} against the whole" for name in ("corners", "edges", "inner middle")),
    *("dark share", "pale share"),
    *(
        f"contrast {kind} at {2**level} px, {place}"
        for level in range(LEVELS)
        for place in PLACES
        for kind in ("across", "down")
    ),
    *(
        f"contrast of {name} at {2**level} px"
        for level in range(3)
        for name in ("red-green", "blue-yellow")
    ),
    *("peaks of the finest band, middle", "peaks of the finest band, border"),
    *("contrast of crossings at 1 px", "contrast of crossings at 2 px"),
)
DIMENSIONS = len(NAMES)


def descriptors_of(pixels: Array) -> Array:
    """The figures `NAMES` of images.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, sRGB, 0 to 255, side at least 32. Compare only images
            that were squeezed to one side.

    Returns:
        float32 ``(n, DIMENSIONS)``: CIELAB units, shares 0 to 1, natural logarithms of contrast.

    Raises:
        BadInput: The pixels have another shape or type.
    """
    square = pixels.ndim == 4 and pixels.shape[1] == pixels.shape[2] and pixels.shape[3] == 3
    if not square or pixels.dtype != np.uint8 or pixels.shape[1] < LEAST_PX:
        raise BadInput(
            "These pixels cannot be described.",
            expected=f"uint8 (n, side, side, 3) with a side of {LEAST_PX} or more",
            received=f"{pixels.dtype} {pixels.shape}",
            do="give images as ingest packs them",
        )
    found = [np.concatenate((_colours(image), _contrasts(image))) for image in pixels]
    return np.array(found, np.float32).reshape(len(pixels), DIMENSIONS)


def _colours(image: Array) -> Array:
    """The first 22 figures, of one image."""
    every = max(1, image.shape[0] // COLOUR_PX)
    coarse = _reduced(image.astype(np.float32), every)
    lab = cielab(coarse.reshape(-1, 3)).reshape(coarse.shape)
    side, (inside, around) = coarse.shape[0], _places(coarse.shape[0])
    light = lab[..., 0]
    spots = [lab[place] for place in (inside, around)]
    corner, thin = max(1, side // 6), max(1, side // 24)
    flat = np.concatenate([light[at].ravel() for at in _corners(corner)])
    edges = np.concatenate([light[at].ravel() for at in _edges(thin)])
    third = light[side // 3 : -(side // 3), side // 3 : -(side // 3)]
    mean = light.mean()
    return np.concatenate(
        (
            *(spot.mean(axis=0) for spot in spots),
            *(spot.std(axis=0) for spot in spots),
            np.quantile(light, (0.02, 0.25, 0.5, 0.75, 0.98)),
            (flat.mean() - mean, edges.mean() - mean, third.mean() - mean),
            ((light < 20).mean(), (light > 90).mean()),
        )
    )


def _corners(size: int) -> list[tuple[slice, slice]]:
    one, other = slice(size), slice(-size, None)
    return [(down, across) for down in (one, other) for across in (one, other)]


def _edges(size: int) -> list[tuple[slice, slice]]:
    one, other, every = slice(size), slice(-size, None), slice(None)
    return [(one, every), (other, every), (every, one), (every, other)]


def _contrasts(image: Array) -> Array:
    """The last 26 figures, of one image."""
    red, green, blue = np.moveaxis(image.astype(np.float32), -1, 0)
    light = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    opponents = [red - green, blue - (red + green) / 2]
    along, chroma, peaks, crossed = [], [], [], []
    for level in range(LEVELS):
        across, down = np.diff(light, axis=1)[:-1], np.diff(light, axis=0)[:, :-1]
        for inside in _places(len(across)):
            along += [_contrast(across[inside]), _contrast(down[inside])]
            if level == 0:
                peaks.append(_peaks(across[inside]))
        if level < 2:
            crossed.append(_contrast(np.diff(across, axis=0)))
        if level < 3:
            chroma += [_contrast(_band(each)) for each in opponents]
            opponents = [_reduced(each, 2) for each in opponents]
        light = _reduced(light, 2)
    return np.array((*along, *chroma, *peaks, *crossed))


def _band(plane: Array) -> Array:
    """What the half as large picture lacks: structures of one pixel."""
    half = _reduced(plane, 2)
    side = 2 * len(half)
    return np.asarray(plane[:side, :side] - np.repeat(np.repeat(half, 2, axis=0), 2, axis=1))


def _contrast(values: Array) -> float:
    return float(np.log(values.std() + FLOOR))


def _peaks(values: Array) -> float:
    """How rare and how large the steps are: log of the ratio of spread to mean size of a step."""
    return float(np.log((values.std() + FLOOR) / (np.abs(values).mean() + FLOOR)))


def _reduced(plane: Array, every: int) -> Array:
    """Means of squares of `every` pixels; what fills no square at the far edges is left out."""
    if every == 1:
        return plane
    down, across = (size // every for size in plane.shape[:2])
    cut = plane[: down * every, : across * every]
    # Strided sums: a third of the time of a mean over axes of a reshaped plane.
    total = sum(cut[i::every, j::every] for i in range(every) for j in range(every))
    return np.asarray(total / every**2)


def _places(side: int) -> tuple[Array, Array]:
    """Which pixels are the middle, and which the border: bool ``(side, side)``, each."""
    wide = max(1, round(BORDER * side))
    inside = np.zeros((side, side), bool)
    inside[wide:-wide, wide:-wide] = True
    return inside, ~inside
