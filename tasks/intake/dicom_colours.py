"""The colours of a DICOM: as its tags say, or refused where its pixels say otherwise.

The tag Photometric Interpretation says what the numbers of a pixel mean (PS3.3, C.7.6.3.1.2; PS3.5,
8.2). Files whose tag is wrong exist, some of ISIC 2020 among them, and whoever believes the tag
sees green melanomas. Nobody can tell from one file which of both is wrong. So a file that
contradicts itself is refused, with the reason.

- A JPEG says itself what its numbers mean: by its JFIF mark (YCbCr), its Adobe mark (either), or
  the names of its components, in the order in which libjpeg asks. Where it says nothing, the tag
  decides.
- The codestream of a JPEG 2000 says whether its components were transformed (ISO/IEC 15444-1,
  A.6.1). Its decoder undoes this, so RGB, YBR_RCT and YBR_ICT are all RGB then.
- Uncompressed pixels say nothing, but RGB and YCbCr look different. Measured on 660 images of five
  public sets, in RGB and converted to YCbCr: the two colour channels change from pixel to pixel
  0.88 to 1.63 times as much as the first in RGB, and 0.02 to 0.76 times in YCbCr. No YCbCr leaves
  0 to 255 by more than 3 when converted to RGB; RGB taken for YCbCr does in 99 of 100 images, for
  more than 0.0005 of the pixels.

An ICC profile says what the RGB mean (PS3.3, C.11.15). sRGB is what this program works in, so a
profile that acts as sRGB changes nothing. Another profile is applied by Pillow's ImageCms to the
pixels that are packed. `pixel_hash` stays that of the pixels as stored: it equals that of the JPEG
inside, by which copies are found. A profile that cannot be applied is told; the colours stay as
stored.
"""

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from tasks.intake.images import Pixels

YCBCR = ("YBR_FULL", "YBR_FULL_422")
OF_JPEG_2000 = ("RGB", "YBR_RCT", "YBR_ICT")
GREY = ("MONOCHROME1", "MONOCHROME2")
FEWEST_PIXELS = 1024  # that a measurement is made on; a lesion is shown by at least 32 x 32
BEYOND = 3  # levels outside 0 to 255: rounding to whole numbers explains up to 2
FEW, MANY = 0.0005, 0.05  # share of pixels beyond
LIKE_YCBCR, LIKE_RGB = 0.6, 0.8  # change of the colour channels, as a share of the first's
ALIKE = 2  # levels by which a profile may differ from sRGB at any of 729 colours to act as sRGB


def said_by_jpeg(frame: bytes) -> str:
    """What a JPEG says of its components: ``RGB``, ``YCbCr``, ``grey``, or nothing for three
    components without a mark."""
    at, adobe, jfif = 2, -1, False
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        mark, size = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        body = frame[at + 4 : at + 2 + size]
        if mark == 0xFF:  # a fill byte
            at += 1
            continue
        if mark == 0xE0 and body.startswith(b"JFIF\0"):
            jfif = True
        elif mark == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC) and len(body) >= 6:
            return _said_by_components(body[6::3][: body[5]], adobe, jfif)
        at += 2 + size
    return ""


def _said_by_components(names: bytes, adobe: int, jfif: bool) -> str:
    if len(names) == 1:
        return "grey"
    if len(names) != 3:
        return f"{len(names)} components"
    if jfif:
        return "YCbCr"
    if adobe >= 0:
        return "RGB" if adobe == 0 else "YCbCr"
    return "RGB" if names == b"RGB" else ""


def jpeg_contradicts(frame: bytes, photometric: str) -> str:
    """How a JPEG contradicts the tag, in words; empty if it does not."""
    own = said_by_jpeg(frame)
    agree = {"grey": GREY, "RGB": ("RGB",), "YCbCr": YCBCR, "": (*YCBCR, "RGB")}
    if photometric in agree.get(own, ()):
        return ""
    return f"the tag says {photometric or 'nothing'}, the JPEG inside says {own or 'colour'}"


def as_rgb_jpeg(frame: bytes) -> bytes:
    """A JPEG without a mark, with Adobe's mark for RGB: decoders would take it for YCbCr."""
    return frame[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + frame[2:]


def jpeg_2000_contradicts(frame: bytes, photometric: str, samples: int) -> str:
    """How a JPEG 2000 contradicts the tag, in words; empty if it does not."""
    at = frame.find(b"\xff\x52", 0, 4096)  # COD, of the main header; its length is at least 12
    transformed = at >= 0 and frame[at + 8 : at + 9] == b"\x01"
    own = "one component" if samples == 1 else "transformed" if transformed else "RGB"
    if photometric in (GREY if samples == 1 else OF_JPEG_2000 if transformed else ("RGB",)):
        return ""
    return f"the tag says {photometric or 'nothing'}, the JPEG 2000 inside says {own}"


def rgb_of_ycbcr(stored: Pixels) -> np.ndarray[Any, np.dtype[np.float32]]:
    """RGB of YCbCr of the full range (ITU-T T.871, 7; PS3.3, C.7.6.3.1.2), not yet within 0 to 255.

    Args:
        stored: uint8 ``(height, width, 3)``.
    """
    y, cb, cr = (stored[..., n].astype(np.float32) for n in range(3))
    cb, cr = cb - 128, cr - 128
    return np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)


def share_beyond(converted: np.ndarray[Any, Any]) -> float:
    """The share of pixels, 0 to 1, of which a value lies beyond 0 to 255 and rounding."""
    beyond = (converted < -BEYOND) | (converted > 255 + BEYOND)
    return float(beyond.any(axis=-1).mean())


def change_of_colour(stored: Pixels) -> float | None:
    """How much the second and third channel change from pixel to pixel, as a share of the first;
    None if the first does not change."""
    first, *others = (
        np.abs(np.diff(stored[..., n].astype(np.int16), axis=1)).mean() for n in range(3)
    )
    return float(sum(others) / (2 * first)) if first else None


def pixels_contradict(stored: Pixels, photometric: str) -> str:
    """How uncompressed pixels contradict the tag, in words; empty if they do not.

    Args:
        stored: uint8 ``(height, width, 3)``, as stored.
        photometric: The tag, of `YCBCR` or RGB.
    """
    if stored.shape[0] * stored.shape[1] < FEWEST_PIXELS or stored.shape[1] < 2:
        return ""
    change, beyond = change_of_colour(stored), share_beyond(rgb_of_ycbcr(stored))
    if change is None:
        return ""
    if photometric in YCBCR and (beyond > MANY or (beyond > FEW and change > LIKE_RGB)):
        return (
            f"the tag says {photometric}, and {beyond:.1%} of the pixels would leave the range of "
            "colours: they are RGB"
        )
    middle = all(80 <= stored[..., n].mean() <= 195 for n in (1, 2))
    if photometric == "RGB" and change < LIKE_YCBCR and beyond < FEW and middle:
        return (
            f"the tag says RGB, and the second and third channel change {change:.2f} times as much "
            "as the first, as only those of YCbCr do"
        )
    return ""


def by_profile(rgb: Pixels, profile: bytes, space: str) -> tuple[Pixels | None, str]:
    """The image in sRGB, by its ICC profile; None if nothing changes.

    Args:
        rgb: uint8 ``(height, width, 3)``.
        profile: The ICC profile; may be empty.
        space: The tag Color Space, which names a profile; may be empty.

    Returns:
        The image, and why a profile could not be applied, in words.
    """
    if not profile:
        told = space and space.upper() not in ("SRGB", "UNKNOWN")
        return None, "another colour space is named, and no profile is there" if told else ""
    try:
        if _acts_as_srgb(profile):
            return None, ""
        image = Image.fromarray(rgb)
        return np.asarray(_converted(image, profile)), ""
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None, "the colour profile is damaged, or not one of RGB"


@lru_cache(maxsize=32)
def _acts_as_srgb(profile: bytes) -> bool:
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    found = np.asarray(_converted(Image.fromarray(grid), profile)).astype(int)
    return bool(np.abs(found - grid).max() <= ALIKE)


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    found = ImageCms.profileToProfile(
        image,
        given,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    assert found is not None  # only in place
    return found
