"""Estimates of skin tone and sharpness from the pixels of an image.

Skin tone is the individual typology angle (ITA) of Chardon, Cretois & Hourseau, "Skin colour
typology and suntanning pathways", International Journal of Cosmetic Science 13:191-208 (1991),
with the bands of Del Bino & Bernerd, "Variations in skin colour and the biological consequences
of ultraviolet radiation exposure", British Journal of Dermatology 169 (s3):33-40 (2013). Kinyanjui
et al., "Estimating skin tone and effects on classification performance in dermatology datasets"
(2019), used it on ISIC images. A dermatoscope's light and a camera's white balance are not
calibrated, so a single angle may be off by a band. Use the estimate to compare groups of images,
never for a single image.
"""

from typing import Any

import numpy as np
from scipy.ndimage import laplace

Array = np.ndarray[Any, Any]

# Upper bands first: an angle above the number, in degrees, belongs to the band.
SKIN_TONES = (
    (55.0, "very light"),
    (41.0, "light"),
    (28.0, "intermediate"),
    (10.0, "tan"),
    (-30.0, "brown"),
    (-90.0, "dark"),
)
BORDER = 0.10  # share of the side: the border shows skin around a lesion in the middle
DARK = 20.0  # L* below which a border pixel is the dermatoscope's black rim, or a hair
LEAST_SKIN = 0.2  # least share of the border that must remain without dark pixels
THIRDS = ("least sharp third", "middle third", "sharpest third")


def skin_tones(pixels: Array) -> list[str | None]:
    """The skin tone of each image, or None where too little of the border shows skin.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, sRGB, 0 to 255.
    """
    return [skin_tone(typology_angle(image)) for image in pixels]


def skin_tone(angle: float | None) -> str | None:
    """The skin tone of an angle in degrees."""
    if angle is None:
        return None
    return next(name for lowest, name in SKIN_TONES if angle > lowest or name == "dark")


def typology_angle(image: Array) -> float | None:
    """ITA in degrees, -90 to 90, of the border's median colour: arctan((L* - 50) / b*)."""
    side = image.shape[0]
    width = max(1, round(BORDER * side))
    edge = np.ones(image.shape[:2], bool)
    edge[width:-width, width:-width] = False
    lab = cielab(image[edge])
    skin = lab[lab[:, 0] >= DARK]
    if len(skin) < LEAST_SKIN * len(lab):
        return None
    lightness, _, yellowness = np.median(skin, axis=0)
    # A b* at or below 0 is not the colour of skin; the limit keeps the angle defined.
    return float(np.degrees(np.arctan((lightness - 50) / max(yellowness, 1e-6))))


def cielab(rgb: Array) -> Array:
    """sRGB to CIELAB under D65 (IEC 61966-2-1; CIE 15): L* 0 to 100.

    Args:
        rgb: uint8 ``(n, 3)``, 0 to 255.

    Returns:
        float ``(n, 3)``: L*, a*, b*.
    """
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    ratio = linear @ to_xyz.T / np.array([0.9505, 1.0, 1.0890])
    small = (6 / 29) ** 3
    root = np.where(ratio > small, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def sharpness(pixels: Array) -> Array:
    """Variance of the Laplacian of the luminance, float ``(n,)``, higher if sharper.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 15 (2000). The
    variance also rises with structure, so it can rank only images of the same kind.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, RGB.
    """
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    return np.array([laplace(image @ weights).var() for image in pixels])


def thirds(values: Array) -> list[str]:
    """The third of all images to which each image belongs, by rank."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return [THIRDS[int(3 * rank / len(values))] for rank in ranks]
