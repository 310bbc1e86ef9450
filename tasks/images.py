"""From the bytes of a file to the pixels that everything else sees, or to the reason why not.

A plain JPEG, which is what a dermatoscope delivers, is decoded by libjpeg-turbo through simplejpeg,
straight into an array: the same pixels as Pillow's, in less time. All else, and every file that
simplejpeg finds anything unusual in, is Pillow's.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

THUMBNAIL_PX = 32  # the size that the 64-bit DCT hash is defined on (Zauner 2010, pHash)

# Before Lanczos an image is averaged down to this many times the wanted size, at least. On the 60
# full-size images at hand the packed pixels then differ by 0.3 levels of 255 in the mean, the
# perceptual hash by 0.6 bits of 64; the near duplicates of the public sets stay the same 646 pairs.
REDUCING_GAP = 2.0

# In a file that holds none of these, nothing turns the image, and no second image follows.
NOT_PLAIN = (b"Exif", b"Orientation", b"MPF")

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
    try:
        return _decoded_plain_jpeg(data, packed_px, maximum_megapixels) or _decoded_any(
            data, packed_px, maximum_megapixels
        )
    except UnidentifiedImageError:
        return Refused("undecodable", "the content is not that of an image")
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ValueError ...
        return Refused("undecodable", f"{error or type(error).__name__}")


def _decoded_plain_jpeg(
    data: bytes, packed_px: int, maximum_megapixels: int
) -> Decoded | Refused | None:
    """A colour JPEG that stands upright and is sound; None for anything else."""
    if not data.startswith(b"\xff\xd8\xff") or any(mark in data for mark in NOT_PLAIN):
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
        if colour not in ("YCbCr", "RGB"):
            return None
        if too_large := _too_large(width, height, maximum_megapixels):
            return too_large
        # The accurate settings are those that Pillow uses, too.
        rgb = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)
    except ValueError:  # Pillow is more lenient, and its reasons are better to read
        return None
    return _described(Image.fromarray(rgb), rgb, "RGB", "JPEG", packed_px)


def _decoded_any(data: bytes, packed_px: int, maximum_megapixels: int) -> Decoded | Refused:
    Image.MAX_IMAGE_PIXELS = None  # would raise before `_too_large` can say which limit it was
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd EXIF blocks are not worth a word: pixels count
        with Image.open(io.BytesIO(data)) as image:
            pictures = getattr(image, "n_frames", 1)
            if pictures > 1 and image.format != "MPO":  # phones add a small one to each JPEG
                return Refused("undecodable", f"the file holds {pictures} pictures, not one")
            if too_large := _too_large(image.width, image.height, maximum_megapixels):
                return too_large
            mode, kind = image.mode, image.format or "?"
            rgb = to_rgb(ImageOps.exif_transpose(image))
    return _described(rgb, np.asarray(rgb), mode, kind, packed_px)


def _too_large(width: int, height: int, maximum_megapixels: int) -> Refused | None:
    megapixels = width * height / 1e6
    if megapixels <= maximum_megapixels:
        return None
    return Refused(
        "too_large",
        f"{width} x {height} is {megapixels:.0f} megapixels; "
        f"at most {maximum_megapixels} are decoded",
    )


def _described(rgb: Image.Image, array: Pixels, mode: str, kind: str, packed_px: int) -> Decoded:
    """`rgb` and `array` are the same pixels."""
    packed = array if rgb.size == (packed_px, packed_px) else pack(rgb, packed_px)
    # Row sums first: summing all at once along two axes takes ten times as long.
    red, green, blue = packed.sum(axis=0, dtype=np.uint32).sum(axis=0) / packed_px**2
    grey = rgb.convert("L").resize(
        (THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP
    )
    digest = hashlib.sha256(f"{rgb.size}".encode())
    digest.update(array.data)
    return Decoded(
        pixels=packed,
        width=rgb.width,
        height=rgb.height,
        mode=mode,
        format=kind,
        pixel_hash=digest.hexdigest(),
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
    return np.asarray(
        rgb.resize((packed_px, packed_px), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
    )
