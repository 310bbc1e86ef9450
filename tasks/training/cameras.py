"""Imitate the photograph of another clinic: its colours, its optics, what lies on the skin.

Every function takes RGB images, float ``(n, side, side, 3)``, 0 to 255 and beyond, and gives images
of the same shape and type. None moves, turns or scales a lesion. Random numbers come from a
`keras.random.SeedGenerator` alone. A function whose share is 0 is not called, so that it takes no
random number: what a recipe without it learns stays the same, bit for bit.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

BLUR = (1.0, 4.0)  # radius of a blurred image's triangle, in pixels
CORNERS = (0.85, 1.45)  # radius of the visible disc, in halves of the side: 1.41 shows all
DARKEST = 40.0  # of corners, hairs and marks, 0 to 255
HAIRS = 4  # drawn on one image
# Widths of hair and of a ruler's marks are shares of the side: 0.1 mm and 0.3 mm of 20 mm.
WIDTH = (0.006, 0.016)


def with_gamma(images: Any, gamma: float, random: Any) -> Any:
    """Raise each channel to its own power, whose natural logarithm is at most `gamma`, either way:
    another camera's tone curve. Values outside 0 to 255 stay."""
    power = ops.exp(evenly(random, (ops.shape(images)[0], 1, 1, 3), -gamma, gamma))
    inside = ops.clip(images, 0.0, 255.0)
    return 255.0 * ops.power(inside / 255.0 + 1e-6, power) + images - inside


def restyled(images: Any, share: float, random: Any) -> Any:
    """Give a share of the images the colours of the image at the other end of the batch.

    The mean and the standard deviation of each channel move towards those of the other image by a
    part drawn evenly from none to all: Reinhard et al., "Color transfer between images", IEEE CG&A
    21(5), 2001, in RGB; the mixture of MixStyle (Zhou et al., ICLR 2021), on pixels.
    """
    n = ops.shape(images)[0]
    mean = ops.mean(images, axis=(1, 2), keepdims=True)
    spread = ops.sqrt(ops.mean(ops.square(images - mean), axis=(1, 2), keepdims=True) + 1.0)
    part = evenly(random, (n, 1, 1, 1)) * drawn(random, n, share)
    to_mean = mean + part * (ops.flip(mean, axis=0) - mean)
    to_spread = spread + part * (ops.flip(spread, axis=0) - spread)
    return (images - mean) * (to_spread / spread) + to_mean


def blurred(images: Any, share: float, random: Any) -> Any:
    """Blur a share of the images by a triangle filter, of a radius of `BLUR` pixels."""
    n, side = ops.shape(images)[0], images.shape[1]
    radius = evenly(random, (n, 1, 1), *BLUR)
    radius = 1.0 + (radius - 1.0) * drawn(random, n, share)[:, :, :, 0]  # 1 is no blur at all
    place = ops.arange(side, dtype="float32")
    away = ops.abs(place[:, None] - place[None, :])[None]
    weights = ops.maximum(1.0 - away / radius, 0.0)
    weights = weights / ops.sum(weights, axis=-1, keepdims=True)
    images = ops.einsum("nyh,nhwc->nywc", weights, images)
    return ops.einsum("nxw,nywc->nyxc", weights, images)


def noisy(images: Any, noise: float, random: Any) -> Any:
    """Add noise to each pixel: normal, of a standard deviation drawn from 0 to `noise` values."""
    level = evenly(random, (ops.shape(images)[0], 1, 1, 1), 0.0, noise)
    return images + level * keras.random.normal(ops.shape(images), seed=random)


def cornered(images: Any, share: float, random: Any) -> Any:
    """Put a share of the images behind a round opening, with dark corners and a soft edge."""
    n, side = ops.shape(images)[0], images.shape[1]
    radius = evenly(random, (n, 1, 1), *CORNERS)
    edge = evenly(random, (n, 1, 1), 0.03, 0.4)
    y, x = _places(side)
    away = ops.sqrt(ops.square(y - 0.5) + ops.square(x - 0.5)) * 2.0
    seen = ops.clip((radius - away) / edge + 1.0, 0.0, 1.0)[..., None]
    dark = evenly(random, (n, 1, 1, 1), 0.0, DARKEST)
    return _covered(images, (1.0 - seen) * drawn(random, n, share), dark)


def marked(images: Any, share: float, random: Any) -> Any:
    """Draw hairs over a share of the images, and the marks of a ruler over the edge of a share."""
    n, side = ops.shape(images)[0], images.shape[1]
    lines = ops.zeros((n, side, side, 1))
    for _ in range(HAIRS):
        lines = ops.maximum(lines, _hair(n, side, random))
    dark = evenly(random, (n, 1, 1, 1), 0.0, 2 * DARKEST)
    images = _covered(images, lines * drawn(random, n, share), dark)
    dark = evenly(random, (n, 1, 1, 1), 0.0, DARKEST)
    return _covered(images, _ruler(n, side, random) * drawn(random, n, share), dark)


def _hair(n: Any, side: int, random: Any) -> Any:
    """A bow from edge to edge, at any angle: cover 0 to 1 ``(n, side, side, 1)``."""
    y, x = _places(side)
    angle = evenly(random, (n, 1, 1), 0.0, 6.2832)
    along = (x - 0.5) * ops.cos(angle) + (y - 0.5) * ops.sin(angle)
    across = (y - 0.5) * ops.cos(angle) - (x - 0.5) * ops.sin(angle)
    bow = evenly(random, (n, 1, 1), -1.0, 1.0) * ops.square(along)
    return _line(across - evenly(random, (n, 1, 1), -0.5, 0.5) - bow, n, side, random)


def _ruler(n: Any, side: int, random: Any) -> Any:
    """Marks at even distances along one edge: cover 0 to 1 ``(n, side, side, 1)``."""
    y, x = _places(side)
    upright = evenly(random, (n, 1, 1)) < 0.5
    far = evenly(random, (n, 1, 1)) < 0.5
    along, inward = ops.where(upright, y, x), ops.where(upright, x, y)
    inward = ops.where(far, 1.0 - inward, inward)
    apart = evenly(random, (n, 1, 1), 0.05, 0.12)
    place = along / apart + evenly(random, (n, 1, 1))
    marks = _line((place - ops.round(place)) * apart, n, side, random)
    reach = evenly(random, (n, 1, 1), 0.05, 0.15)
    return marks * ops.cast(inward < reach, "float32")[..., None]


def _line(away: Any, n: Any, side: int, random: Any) -> Any:
    """Cover of a line whose middle lies `away`, in shares of the side; soft by half a pixel."""
    half = evenly(random, (n, 1, 1), *WIDTH) / 2
    return ops.clip((half - ops.abs(away)) * side + 0.5, 0.0, 1.0)[..., None]


def _covered(images: Any, cover: Any, colour: Any) -> Any:
    return images + cover * (colour - images)


def _places(side: int) -> tuple[Any, Any]:
    """Rows ``(1, side, 1)`` and columns ``(1, 1, side)`` of pixels, 0 to 1."""
    place = (ops.arange(side, dtype="float32") + 0.5) / side
    return place[None, :, None], place[None, None, :]


def drawn(random: Any, n: Any, share: float) -> Any:
    """1.0 for a share of `n` images, 0.0 for the others: ``(n, 1, 1, 1)``."""
    return ops.cast(evenly(random, (n, 1, 1, 1)) < share, "float32")


def evenly(random: Any, shape: Any, low: float = 0.0, high: float = 1.0) -> Any:
    """Random numbers of this shape, evenly from `low` to `high`."""
    return keras.random.uniform(shape, low, high, seed=random)


# In the order in which light, lens and sensor change a picture; by the field of `Showing`.
CHANGES: dict[str, Callable[[Any, float, Any], Any]] = {
    "marked": marked,
    "cornered": cornered,
    "blurred": blurred,
    "restyled": restyled,
    "gamma": with_gamma,
    "noise": noisy,
}


def photographed_elsewhere(images: Any, showing: Any, random: Any) -> Any:
    """All changes that `showing` asks for; without any, the same images."""
    for field, change in CHANGES.items():
        if getattr(showing, field):
            images = change(images, getattr(showing, field), random)
    return images
