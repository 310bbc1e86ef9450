"""Marks that pictures of different lesions share: ruler, black corners, stamp, text, frame."""

import numpy as np
from PIL import Image, ImageDraw

from tests.support.copies import Alteration, framed, with_text


def ruled(picture: Image.Image) -> Image.Image:
    """With a ruler of ticks along the lower edge."""
    rgb = np.asarray(picture).copy()
    height, width = rgb.shape[:2]
    edge = height - height // 9
    rgb[edge : edge + 3] = 20
    for number, at in enumerate(range(4, width, 8)):
        rgb[edge - (16 if number % 5 == 0 else 9) : edge, at : at + 2] = 20
    return Image.fromarray(rgb)


def cornered(picture: Image.Image) -> Image.Image:
    """With the black corners of a round tube."""
    height, width = np.asarray(picture).shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return Image.fromarray(np.asarray(picture) * (x**2 + y**2 < 1.1)[..., None].astype(np.uint8))


def stamped(picture: Image.Image) -> Image.Image:
    """With a half-transparent stamp of 96 x 20 px, as of a publisher."""
    rgb = np.asarray(picture).astype(int)
    mark = np.random.default_rng(99).random((5, 24)).repeat(4, axis=0).repeat(4, axis=1) > 0.5
    rgb[10:30, 40:136] += np.where(mark, 120, 0)[..., None]
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))


def written_on(picture: Image.Image) -> Image.Image:
    """With two lines of small letters near the lower edge."""
    found = picture.copy()
    draw = ImageDraw.Draw(found)
    for above, text in ((26, "Clinic 2024-03-05  10:22  x20"), (13, "No. 4711  polarized")):
        draw.text((4, found.height - above), text, fill=(255, 255, 255))
    return found


MARKS: dict[str, Alteration] = {
    "ruler": ruled,
    "black corners": cornered,
    "stamp": stamped,
    "frame": framed(0.1),
    "text bar": with_text(0.1),
    "large text bar": with_text(0.25),
    "two lines": written_on,
}
