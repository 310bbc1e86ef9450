"""Lesions on skin with so many details that a copy can be told from a second photograph."""

from functools import cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates


@cache
def lesion(seed: int) -> Image.Image:
    """A dark patch with a network, on skin of fine and coarse texture, 180 px."""
    draw = np.random.default_rng(seed)
    noise = [gaussian_filter(draw.normal(size=(180, 180)), width) * width for width in (1, 2, 5)]
    y, x = np.mgrid[-1:1:180j, -1:1:180j]
    patch = np.exp(-2 * (x**2 + y**2)) * 90 + sum(noise) * 40
    rgb = np.stack([200 - patch * share for share in (0.7, 1.0, 1.0)], axis=-1)
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))


def photographed_again(picture: Image.Image, seed: int = 0) -> Image.Image:
    """Another photograph of the same skin: stretched by some pixels, in other light, with other
    pores and hairs."""
    draw = np.random.default_rng(seed)
    rgb = np.asarray(picture).astype(float)
    side = rgb.shape[0]
    bent = [gaussian_filter(draw.normal(size=(side, side)), side / 6) for _ in range(2)]
    moved = [2.5 * each / np.abs(each).max() for each in bent]
    at = np.mgrid[0:side, 0:side] + np.stack(moved)
    found = np.stack([map_coordinates(rgb[..., c], at, mode="nearest") for c in range(3)], axis=-1)
    pores = gaussian_filter(draw.normal(size=(side, side)), 1)
    found = found * np.linspace(0.9, 1.05, side)[:, None] + 12 * (pores / pores.std())[..., None]
    return Image.fromarray(np.clip(found, 0, 255).astype(np.uint8))
