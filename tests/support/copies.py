"""Copies of an image, altered as people and programs alter them, each kind at several strengths."""

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

Alteration = Callable[[Image.Image], Image.Image]


def recompressed(quality: int, scale: float = 1.0) -> Alteration:
    """Saved as JPEG, after a resize by `scale`."""

    def alter(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        _resized(image, scale).save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return alter


def cropped(share: float, across: float = 0.5, down: float = 0.5) -> Alteration:
    """Without twice this share of width and height, of which `across` left and `down` above."""

    def alter(image: Image.Image) -> Image.Image:
        width, height = image.size
        left, top = round(2 * share * across * width), round(2 * share * down * height)
        size = round(width * (1 - 2 * share)), round(height * (1 - 2 * share))
        return image.crop((left, top, left + size[0], top + size[1]))

    return alter


def turned(degrees: float) -> Alteration:
    """Turned within its frame; the corners are black."""
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC)


def mirrored(degrees: float) -> Alteration:
    """Mirrored, then turned."""
    flip = Image.Transpose.FLIP_LEFT_RIGHT
    return lambda image: turned(degrees)(image.transpose(flip))


def framed(share: float, colour: tuple[int, int, int] = (0, 0, 0)) -> Alteration:
    """Within a frame that is this share of the side wide."""

    def alter(image: Image.Image) -> Image.Image:
        border = round(share * max(image.size))
        outer = Image.new("RGB", (image.width + 2 * border, image.height + 2 * border), colour)
        outer.paste(image, (border, border))
        return outer

    return alter


def with_text(share: float) -> Alteration:
    """Under a bar of text that hides this share of the height."""

    def alter(image: Image.Image) -> Image.Image:
        found, height = image.copy(), round(share * image.height)
        draw = ImageDraw.Draw(found)
        draw.rectangle((0, image.height - height, image.width, image.height), fill=(0, 0, 0))
        draw.text(
            (4, image.height - height + 2), "Clinic 2024-03-05  10:22  x20", fill=(255, 255, 255)
        )
        return found

    return alter


def overlaid(share: float) -> Alteration:
    """Under a grey disc of this share of the side, and a half-transparent band across."""

    def alter(image: Image.Image) -> Image.Image:
        side = share * min(image.size)
        draw = ImageDraw.Draw(found := image.copy())
        draw.ellipse((8, 8, 8 + side, 8 + side), fill=(150, 150, 160))
        veil = Image.new("RGB", image.size, (255, 255, 255))
        mask = Image.new("L", image.size, 0)
        below = image.height * 0.7
        ImageDraw.Draw(mask).rectangle((0, below, image.width, below + side / 2), fill=128)
        return Image.composite(veil, found, mask)

    return alter


def in_perspective(share: float) -> Alteration:
    """Seen from aside: two corners move inwards by this share of the side."""

    def alter(image: Image.Image) -> Image.Image:
        width, height = image.size
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        inward = np.array([[1, 0.6], [-0.4, 0.2], [0, 0], [0.3, -0.5]], np.float32)
        moved = corners + share * inward * np.array([width, height], np.float32)
        matrix = cv2.getPerspectiveTransform(corners, moved)
        return Image.fromarray(cv2.warpPerspective(np.asarray(image), matrix, (width, height)))

    return alter


def hue_shifted(degrees: float) -> Alteration:
    def alter(image: Image.Image) -> Image.Image:
        hsv = np.asarray(image.convert("HSV")).copy()
        hsv[..., 0] = (hsv[..., 0].astype(int) + round(degrees / 360 * 256)) % 256
        return Image.fromarray(hsv, "HSV").convert("RGB")

    return alter


def with_gamma(gamma: float) -> Alteration:
    table = [round(255 * (value / 255) ** gamma) for value in range(256)]
    return lambda image: image.point(table * 3)


def brightened(by: float) -> Alteration:
    return lambda image: ImageEnhance.Brightness(image).enhance(by)


def photographed(strength: float) -> Alteration:
    """Photographed from a screen: perspective, a small turn, blur, stripes, noise, gamma, JPEG."""

    def alter(image: Image.Image) -> Image.Image:
        found = in_perspective(0.04 + 0.06 * strength)(turned(2 + 6 * strength)(image))
        found = found.filter(ImageFilter.GaussianBlur(0.3 + 0.6 * strength))
        rgb = np.asarray(found).astype(np.float32)
        rows = np.arange(rgb.shape[0])[:, None, None]
        columns = np.arange(rgb.shape[1])[None, :, None]
        rgb += 6 * strength * np.sin(0.9 * rows + 0.35 * columns + rgb.mean())
        rgb += np.random.default_rng(int(rgb.sum())).normal(0, 2 + 4 * strength, rgb.shape)
        rgb *= 1 + 0.25 * strength * (columns / rgb.shape[1] - 0.5)
        found = Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))
        return recompressed(70)(with_gamma(1 + 0.3 * strength)(found))

    return alter


def _resized(image: Image.Image, scale: float) -> Image.Image:
    if scale == 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)))


# Each kind, with a name for each strength.
COPIES: dict[str, dict[str, Alteration]] = {
    "cropped": {
        "4 % a side": cropped(0.04),
        "8 % a side": cropped(0.08),
        "15 % a side": cropped(0.15),
        "15 % a side, off centre": cropped(0.15, 0.2, 0.9),
    },
    "turned": {f"{angle} degrees": turned(angle) for angle in (5, 10, 33, 77, 145)},
    "mirrored": {"alone": mirrored(0), "and turned by 24 degrees": mirrored(24)},
    "framed": {
        "black, 5 %": framed(0.05),
        "black, 15 %": framed(0.15),
        "white, 10 %": framed(0.10, (255, 255, 255)),
    },
    "text bar": {"10 % of the height": with_text(0.10), "25 % of the height": with_text(0.25)},
    "overlaid": {"20 % of the side": overlaid(0.2), "40 % of the side": overlaid(0.4)},
    "perspective": {f"{share:.0%}": in_perspective(share) for share in (0.05, 0.10, 0.20)},
    "hue": {f"{angle} degrees": hue_shifted(angle) for angle in (20, 60, 150)},
    "gamma": {f"{gamma:g}": with_gamma(gamma) for gamma in (0.5, 1.6, 2.2)},
    "brightness": {f"{by:g} times": brightened(by) for by in (0.6, 1.3)},
    "recompressed": {
        "quality 30": recompressed(30),
        "quality 15": recompressed(15),
        "half the size, quality 40": recompressed(40, 0.5),
    },
    "re-photographed": {
        "weakly": photographed(0.2),
        "clearly": photographed(0.6),
        "strongly": photographed(1.0),
    },
}
