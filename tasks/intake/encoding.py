"""How a file was made, as far as its head tells: the settings of the JPEG encoder, the camera.

Both belong to the clinic that took or stored an image, and neither to the lesion. So they name its
source more finely than its archive does, see `tasks.intake.acquisition`.
"""

import hashlib
import io
import re
import warnings
from functools import cache, lru_cache

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin

from tasks.intake.images import FORMATS, first_scan

# The luminance table of the JPEG standard (ITU-T T.81, table K.1), row by row. Encoders scale it.
STANDARD = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}  # Pillow's numbers
KEPT = 256  # beginnings of files
LONGEST = 60  # letters of a camera's name


def encoding_and_camera(data: bytes) -> tuple[str, str]:
    """How an image's file was encoded, and which camera its EXIF block names, in words.

    What one encoder writes above the pixels is often the same in thousands of files, so an answer
    is kept for each such beginning.

    Args:
        data: The file.

    Returns:
        Such as ``("quality 90, 4:2:0", "NIKON E995")``. The first is empty for what is no JPEG; a
        table of another form than the standard's has a name of its own, such as ``tables 1f3a``.
        The second is empty where no camera is named. Both are empty for what Pillow cannot read.
    """
    scan = first_scan(data)
    if not scan:
        return _told_by(data)
    length = int.from_bytes(data[scan + 2 : scan + 4], "big")
    return _told_by_head(data[: scan + 2 + length])


@lru_cache(KEPT)
def _told_by_head(head: bytes) -> tuple[str, str]:
    return _told_by(head)


def _told_by(data: bytes) -> tuple[str, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _encoding(image), _camera(image)
    except Exception:  # an odd head is no reason to refuse an image whose pixels are sound
        return "", ""


def _encoding(image: Image.Image) -> str:
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not image.quantization:
        return ""
    # All tables name an encoder; the quality is that of the first, for luminance.
    luminance = tuple(image.quantization[min(image.quantization)])
    quality = _qualities().get(luminance)
    mark = hashlib.sha256(repr(luminance).encode()).hexdigest()[:4]
    settings = f"quality {quality}" if quality else f"tables {mark}"
    sampling = SAMPLING.get(JpegImagePlugin.get_sampling(image), "")
    progressive = "progressive" if image.info.get("progressive") else ""
    return ", ".join(each for each in (settings, sampling, progressive) if each)


@cache
def _qualities() -> dict[tuple[int, ...], int]:
    """The quality of each table, 1 to 100, as the library of the Independent JPEG Group scales."""
    found = {}
    for quality in range(1, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        scaled = (np.array(STANDARD) * scale + 50) // 100
        found[tuple(np.clip(scaled, 1, 255).tolist())] = quality
    return found


def _camera(image: Image.Image) -> str:
    exif = image.getexif()
    said = (str(exif.get(tag) or "") for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    words = re.sub(r"[^\x20-\x7e]", " ", " ".join(said)).split()
    # Many makers begin the model with their own name.
    once = [word for at, word in enumerate(words) if word not in words[:at]]
    return " ".join(once)[:LONGEST].strip()
