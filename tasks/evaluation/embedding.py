"""A fixed embedding of pictures: figures of colour, place, frequency and texture.

Nothing here is learned, so that pictures of every run and every model have the same embedding. It
needs NumPy and SciPy alone, because the web app computes it for each picture that it is sent.

Sources
-------
Colour moments and histograms: Stricker & Orengo, "Similarity of color images", SPIE 2420 (1995).
Local binary patterns, uniform and invariant to turns: Ojala, Pietikäinen & Mäenpää, IEEE TPAMI
24:971-987 (2002). Power by bands of frequency tells kinds of scenes: Torralba & Oliva, "Statistics
of natural image categories", Network 14:391-412 (2003). Histograms of gradients: Dalal & Triggs,
CVPR (2005).
"""

from functools import cache
from typing import Any

import numpy as np
from scipy.fft import rfft2

Array = np.ndarray[Any, Any]

FINE_PX = 90  # texture is measured on about so many pixels a side, so that JPEG's noise is averaged
LIGHT = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
QUANTILES = (0.02, 0.10, 0.25, 0.50, 0.75, 0.90, 0.98)
STEEP = (0.50, 0.75, 0.90, 0.97, 0.995)
RINGS, BANDS, WAYS = 5, 6, 4
HUES = 6  # cells along each axis of colour
CELLS = 15  # cells along each side, which tell where what lies
TINY = 1e-4

Embedding = np.ndarray[Any, np.dtype[np.float32]]


def embedded(pixels: Array) -> Embedding:
    """The embedding of pictures.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255; the side at least 30.

    Returns:
        float32 ``(n, d)``; d is the same for each side.
    """
    if not len(pixels):
        return np.empty((0, len(_of_one(np.zeros((90, 90, 3), np.uint8)))), np.float32)
    return np.stack([_of_one(image) for image in pixels])


def brightness(pixels: Array) -> Array:
    """Median light of each picture, float ``(n,)``, 0 to 255."""
    return np.array([np.median(_light(image)) for image in _shrunk(pixels)]) * 255


def sharpness(pixels: Array) -> Array:
    """How much of the detail of each picture is fine, float ``(n,)``, natural logarithm.

    The logarithm of the mean squared step from pixel to pixel, over that from each pixel to the one
    `REACH` pixels on. Blur takes fine steps and leaves wide ones; contrast changes neither. A ratio
    of two scales is the principle of Crete et al., "The blur effect", SPIE 6492 (2007).
    """
    return np.array([_sharpness(image) for image in pixels])


REACH = 6  # pixels


def _sharpness(image: Array) -> float:
    light = image[..., 1].astype(np.float32)  # green, the sharpest channel of most cameras
    fine, wide = (
        _mean_square(light[step:], light[:-step]) + _mean_square(light[:, step:], light[:, :-step])
        for step in (1, REACH)
    )
    return float(np.log((fine + TINY) / (wide + TINY)))


def _mean_square(ones: Array, others: Array) -> float:
    apart = (ones - others).ravel()
    return float(np.dot(apart, apart)) / apart.size


def _shrunk(pixels: Array) -> list[Array]:
    return [_fine(image) for image in pixels]


def _fine(image: Array) -> Array:
    """The picture in means of whole pixels, float32 ``(FINE_PX or more, same, 3)``, 0 to 1."""
    every = max(1, image.shape[0] // FINE_PX)
    return _halved(image.astype(np.float32), every) / np.float32(255)


def _halved(plane: Array, every: int) -> Array:
    """Means of squares of `every` pixels a side; what is left over at the edges is cut off."""
    if every == 1:
        return plane
    side = plane.shape[0] // every * every
    parts = [plane[a:side:every, b:side:every] for a in range(every) for b in range(every)]
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    return np.asarray(total / np.float32(every**2))


def _light(fine: Array) -> Array:
    red, green, blue = LIGHT
    return np.asarray(fine[..., 0] * red + fine[..., 1] * green + fine[..., 2] * blue)


def _of_one(image: Array) -> Embedding:
    fine = _fine(image)
    light = _light(fine)
    red, green, blue = fine[..., 0], fine[..., 1], fine[..., 2]
    # Colour over light: a change of exposure leaves it as it is.
    warm = (red - green) / (light + np.float32(0.1))
    yellow = ((red + green) / 2 - blue) / (light + np.float32(0.1))
    planes = np.stack([light, warm, yellow])
    figures = (
        _spreads(planes),
        _hues(warm, yellow),
        _by_ring(planes),
        _spectrum(light),
        _spectrum(warm),
        _gradients(light),
        _patterns(light),
        _patterns(_halved(light, 2)),
        _pieces(light),
        _lesion(planes),
        [_sharpness(image)],
    )
    return np.concatenate([np.asarray(each, np.float32).ravel() for each in figures])


def _spreads(planes: Array) -> Array:
    """Moments, quantiles and correlations of light and colours."""
    flat = planes.reshape(len(planes), -1)
    mean, spread = flat.mean(axis=1), flat.std(axis=1)
    normal = (flat - mean[:, None]) / (spread[:, None] + np.float32(0.01))
    skew = np.mean(normal * normal * normal, axis=1)
    places = [round(share * (flat.shape[1] - 1)) for share in QUANTILES]
    ordered = np.partition(flat, places, axis=1)[:, places]
    together = normal @ normal.T / flat.shape[1]
    return np.concatenate(
        [mean, spread, np.cbrt(skew), ordered.ravel(), together[np.triu_indices(len(planes), 1)]]
    )


def _hues(warm: Array, yellow: Array) -> Array:
    """How often each colour occurs, square roots of shares (Hellinger)."""
    across, down = (
        np.clip((plane[::2, ::2] + 0.3) * (HUES / 1.5), 0, HUES - 1).astype(np.intp).ravel()
        for plane in (warm, yellow)
    )
    counts = np.bincount(across * HUES + down, minlength=HUES * HUES)
    return np.asarray(np.sqrt(counts / len(across)))


@cache
def _rings(side: int) -> Array:
    """What turns a plane into its means over rings around the middle: ``(side * side, RINGS)``."""
    at = (np.arange(side) + 0.5) / side * 2 - 1
    reach = np.hypot(at[:, None], at[None, :]).ravel()
    number = np.minimum((reach / 1.2 * RINGS).astype(int), RINGS - 1)
    masks = (number[:, None] == np.arange(RINGS)).astype(np.float32)
    return np.asarray(masks / masks.sum(axis=0))


def _by_ring(planes: Array) -> Array:
    """Light and colours of each ring, less those of the whole, and how far they spread there."""
    flat = planes.reshape(len(planes), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    rings = _rings(planes.shape[1])
    means = flat @ rings
    spreads = np.sqrt(np.maximum((flat[:1] ** 2) @ rings - means[:1] ** 2, 0))
    return np.concatenate([means.ravel(), spreads.ravel()])


@cache
def _bands(side: int) -> tuple[Array, Array]:
    """The window, and what turns powers into means by band and way: ``(m, BANDS * WAYS)``."""
    window = np.hanning(side).astype(np.float32)
    down = np.fft.fftfreq(side)[:, None]
    across = np.fft.rfftfreq(side)[None, :]
    reach = np.hypot(down, across).ravel()
    way = (np.arctan2(down, across).ravel() / np.pi * WAYS + WAYS / 2 + 0.5).astype(int) % WAYS
    limits = np.geomspace(1.5 / side, 0.5, BANDS + 1)
    band = np.digitize(reach, limits) - 1
    number = np.where((band >= 0) & (band < BANDS), band * WAYS + way, -1)
    masks = (number[:, None] == np.arange(BANDS * WAYS)).astype(np.float32)
    return np.outer(window, window), masks / np.maximum(masks.sum(axis=0), 1)


def _spectrum(plane: Array) -> Array:
    """Power of each band of frequency, as logarithm, and how much more of it lies in one way."""
    window, bands = _bands(plane.shape[0])
    waves = rfft2((plane - plane.mean()) * window)
    power = np.log((np.abs(waves.ravel()) ** 2 / plane.size) @ bands + 1e-7)
    power = power.reshape(BANDS, WAYS)
    return np.concatenate([power.mean(axis=1), np.ptp(power, axis=1)])


def _gradients(light: Array) -> Array:
    """How steep the picture is, how much of it is flat, and which way its edges run."""
    across = light[1:-1, 2:] - light[1:-1, :-2]
    down = light[2:, 1:-1] - light[:-2, 1:-1]
    steep = np.hypot(across, down).ravel()
    places = [round(share * (len(steep) - 1)) for share in STEEP]
    ordered = np.log(np.partition(steep, places)[places] + 1e-3)
    way = (np.arctan2(down, across).ravel() * (8 / np.pi) + 16.5).astype(np.intp) % 8
    shares = np.bincount(way, weights=steep, minlength=8) / (steep.sum() + TINY)
    disorder = -np.sum(shares * np.log(shares + TINY))
    flat = np.mean(steep < 1 / 510)
    return np.array([*ordered, flat, disorder, shares[0] + shares[4], shares.max()])


@cache
def _uniform() -> Array:
    """The bin of each of the 256 patterns: neighbours that are lighter, or 9 for a rough one."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), 9)


def _patterns(light: Array) -> Array:
    """Shares of the ten local binary patterns, square roots."""
    inner = light[1:-1, 1:-1] + np.float32(1 / 512)  # of two levels alike, none is lighter
    side = inner.shape[0]
    code = np.zeros(inner.shape, np.uint8)
    around = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    for bit, (a, b) in enumerate(around):
        code |= (light[a : a + side, b : b + side] > inner).view(np.uint8) << np.uint8(bit)
    counts = np.bincount(_uniform()[code.ravel()], minlength=10)
    return np.asarray(np.sqrt(counts / code.size))


def _pieces(light: Array) -> Array:
    """What tells pages, screens and broken files: jumps between lines, flat pieces, few levels."""
    down, across = np.abs(np.diff(light, axis=0)), np.abs(np.diff(light, axis=1))
    jumps = []
    for lines in (down.mean(axis=1), across.mean(axis=0)):
        ordered = np.sort(lines)
        usual = ordered[len(ordered) // 2] + 1e-3
        jumps += list(np.log(ordered[[-1, -3]] / usual + 0.1))
    size = light.shape[0] // 9
    blocks = light[: 9 * size, : 9 * size].reshape(9, size, 9, size)
    spread = np.sort(blocks.std(axis=(1, 3)).ravel())
    levels = np.bincount((light.ravel() * 63.99).astype(np.intp), minlength=64) / light.size
    return np.array(
        [
            *jumps,
            *np.log(spread[[8, 40, 72]] + 1e-3),
            np.mean(spread < 1 / 255),
            -np.sum(levels * np.log(levels + TINY)),
            levels.max(),
        ]
    )


@cache
def _places() -> tuple[Array, Array]:
    """Cells of the border, bool, and the squared distance of each cell from the middle."""
    border = np.ones((CELLS, CELLS), bool)
    border[2:-2, 2:-2] = False
    at = np.linspace(-1, 1, CELLS)
    return border, at[:, None] ** 2 + at[None, :] ** 2


def _lesion(planes: Array) -> Array:
    """How far something in the picture stands out from what its border shows, where, how large."""
    size = planes.shape[1] // CELLS
    crop = planes[:, : CELLS * size, : CELLS * size]
    cells = crop.reshape(3, CELLS, size, CELLS, size).mean(axis=(2, 4))
    border, reach = _places()
    skin = np.median(cells[:, border], axis=1)
    apart = np.abs(cells - skin[:, None, None])
    usual = np.median(apart[:, border], axis=1) + np.float32(0.01)
    distance = np.sqrt((apart**2).sum(axis=0))
    inner = distance[~border]
    weight = distance / (distance.sum() + TINY)
    odd = (apart / usual[:, None, None]).max(axis=0) > 4
    return np.array(
        [
            *np.log(usual),
            np.log(distance.max() + 0.01),
            np.log(inner.mean() + 0.01),
            np.log(distance[5:10, 5:10].mean() + 0.01),
            np.log(distance[border].mean() + 0.01),
            (weight * reach).sum(),
            odd[~border].mean(),
            odd[border].mean(),
            (skin[0] - cells[0][5:10, 5:10].mean()),
        ]
    )
