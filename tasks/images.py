"""From the bytes of a file to the pixels that everything else sees, or to the reason why not."""

import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

THUMBNAIL_PX = 32  # the size that the 64-bit DCT hash is defined on (Zauner 2010, pHash)

Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes:
        pixels: uint8 ``(packed_px, packed_px, 3)``, RGB, 0 to 255; the whole image, squeezed
            into a square, as the public nine-class set already is.
        width, height: Of the upright image, in pixels, before packing.
        mode: Pillow's name of the file's colour mode.
        format: Pillow's name of the file's format.
        pixel_hash: SHA-256 over the upright full-size RGB pixels and their size.
        thumbnail: uint8 ``(32, 32)``, grey, 0 to 255; what near duplicates are found by.
        colour: Mean red, green and blue, 0 to 255.
    """

    pixels: Pixels
    width: int
    height: int
    mode: str
    format: str
    pixel_hash: str
    thumbnail: bytes
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Refused:
    """Why a file has no pixels: the `law` it breaks and the `reason` for a person."""

    law: str
    reason: str


def decode(data: bytes, *, packed_px: int, maximum_megapixels: int) -> Decoded | Refused:
    """Decode one file, upright, 8-bit RGB, and squeeze it into a square.

    Args:
        data: The file.
        packed_px: Side of the square, in pixels.
        maximum_megapixels: A larger image is refused by its header, before it takes memory.
    """
    if not data:
        return Refused("undecodable", "the file is empty")
    # Pillow's own limit would raise before ours can say which limit it was.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF blocks are not worth a word: pixels count
            with Image.open(io.BytesIO(data)) as image:
                pictures = getattr(image, "n_frames", 1)
                if pictures > 1 and image.format != "MPO":  # phones add a small one to each JPEG
                    return Refused("undecodable", f"the file holds {pictures} pictures, not one")
                megapixels = image.width * image.height / 1e6
                if megapixels > maximum_megapixels:
                    return Refused(
                        "too_large",
                        f"{image.width} x {image.height} is {megapixels:.0f} megapixels; "
                        f"at most {maximum_megapixels} are decoded",
                    )
                mode, kind = image.mode, image.format or "?"
                rgb = to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        return Refused("undecodable", "the content is not that of an image")
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ValueError ...
        return Refused("undecodable", f"{error or type(error).__name__}")
    packed = pack(rgb, packed_px)
    red, green, blue = packed.mean(axis=(0, 1))
    grey = rgb.convert("L").resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    return Decoded(
        pixels=packed,
        width=rgb.width,
        height=rgb.height,
        mode=mode,
        format=kind,
        pixel_hash=hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes()).hexdigest(),
        thumbnail=grey.tobytes(),
        colour=(float(red), float(green), float(blue)),
    )


def to_rgb(image: Image.Image) -> Image.Image:
    """Any colour mode to 8-bit RGB. Grey images of 16 bits are scaled, not clipped."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("grey values beyond 16 bits")
        return Image.fromarray((grey / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point grey values, whose range is not known")
    if image.mode == "P":
        image = image.convert("RGBA")  # palettes may hold transparency
    return image.convert("RGB")


def pack(rgb: Image.Image, packed_px: int) -> Pixels:
    """Squeeze an RGB image into a square of `packed_px`; antialiased (Lanczos)."""
    if rgb.size != (packed_px, packed_px):
        rgb = rgb.resize((packed_px, packed_px), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(rgb)
