"""Decode the bytes of a file to packed pixels, or find the reason why that is not possible.

libjpeg-turbo, through simplejpeg, decodes plain JPEGs, which dermatoscopes deliver, straight into
an array: the same pixels as Pillow's, in less time. Pillow decodes all other files, and every file
in which simplejpeg finds something unusual. cykooz.resizer resizes by Lanczos: Pillow's result
within rounding, in a quarter of the time at 256 px, with the same bytes on any processor.
"""

import hashlib
import io
import re
import warnings
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import simplejpeg
from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image, ImageOps, UnidentifiedImageError

# The formats that Pillow may open, by Pillow's names, whatever the file is called. Others are
# dangerous: for an EPS, Pillow starts Ghostscript.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "AVIF")
HEIF = re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL)  # how the files of phones begin
# What else a file may begin with, and what would decode it.
OTHERS = (
    (b"version https://git-lfs", 0, "a pointer of Git LFS: fetch the image with `git lfs pull`"),
    (b"\xff\x0a", 0, "a JPEG XL: export it as PNG"),
    (b"\x00\x00\x00\x0cJXL ", 0, "a JPEG XL: export it as PNG"),
    (b"8BPS", 0, "a Photoshop document: export its picture as PNG"),
    (b"P5", 0, "a portable graymap: export it as PNG"),
    (b"P6", 0, "a portable pixmap: export it as PNG"),
    (b"%PDF", 0, "a PDF: export its picture as PNG"),
    (b"<", 0, "a page or drawing in XML or HTML"),
    (b"PK", 0, "an archive: unpack it"),
)

THUMBNAIL_PX = 32  # the size that the 64-bit DCT hash is defined on (Zauner 2010, pHash)

# Weights of red, green and blue in grey (ITU-R BT.601), in 256ths. They are exact in float32, so
# grey does not depend on the order in which a machine adds.
GREY_WEIGHTS = np.array([77, 150, 29], np.float32)

PACKING = ResizeOptions(ResizeAlg.convolution(FilterType.lanczos3), use_alpha=False)
# A cubic needs two thirds of the pixels that Lanczos needs, and no sine. Compared with Lanczos of
# the full-size grey image, the hash differs by 0.3 of 64 bits on the public sets (n = 400); Lanczos
# itself differs by as much through rounding.
SHRINKING = ResizeOptions(ResizeAlg.convolution(FilterType.catmull_rom), use_alpha=False)

# If a file's head holds none of these, the image is upright and no second image follows.
NOT_PLAIN = (b"Exif", b"Orientation", b"MPF")
ORIENTATION = 0x0112  # Exif 2.32, table 4: 1 is upright

# A larger image is squeezed in vertical strips of so many bytes. Allocating memory for the whole
# image costs more than the squeezing, and each strip computes only its share of the filter's sines.
STRIP_BYTES = 2**21

Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]


@dataclass(frozen=True)
class Opened:
    """An image of full size.

    Attributes:
        rgb: uint8 ``(height, width, 3)``, RGB, 0 to 255, upright.
        mode, format: As in `Decoded`.
    """

    rgb: Pixels
    mode: str
    format: str


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes:
        pixels: uint8 ``(packed_px, packed_px, 3)``, RGB, 0 to 255; the whole image, squeezed
            into a square, as in the public nine-class set.
        width, height: Size of the upright image before packing, in pixels.
        mode: Pillow's name of the file's colour mode.
        format: Pillow's name of the file's format.
        pixel_hash: SHA-256 over the upright full-size RGB pixels and their size.
        thumbnail: uint8 ``(32, 32)``, grey, 0 to 255; used to find near duplicates.
        colour: Mean red, green and blue of the thumbnail before it was made grey, 0 to 255.
        encoding, camera: As in `tasks.intake.encoding`; empty for a DICOM.
    """

    pixels: Pixels
    width: int
    height: int
    mode: str
    format: str
    pixel_hash: str
    thumbnail: bytes
    colour: tuple[float, float, float]
    encoding: str = ""
    camera: str = ""


@dataclass(frozen=True)
class Refused:
    """Why a file has no pixels: the `law` that the file breaks, and the `reason` for a person."""

    law: str
    reason: str


def decode(data: bytes, *, packed_px: int, maximum_megapixels: int) -> Decoded | Refused:
    """Decode one file to upright 8-bit RGB, and squeeze the image into a square.

    Args:
        data: The file.
        packed_px: Side of the square, in pixels.
        maximum_megapixels: A larger image is refused by its header, before memory is allocated.
    """
    if not data:
        return Refused("undecodable", "the file is empty")
    try:
        found = opened(data, maximum_megapixels)
        return found if isinstance(found, Refused) else described(found, packed_px)
    except UnidentifiedImageError:
        what = next((words for mark, at, words in OTHERS if data[at:].startswith(mark)), "")
        told = f"the content is {what}" if what else "the content is not that of an image"
        return Refused("undecodable", f"{told} ({', '.join((*FORMATS, 'HEIF'))} are read)")
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ValueError ...
        return Refused("undecodable", f"{error or type(error).__name__}")


def opened(data: bytes, maximum_megapixels: int) -> Opened | Refused:
    """Decode one file to upright 8-bit RGB of full size.

    Raises:
        Exception: The file holds no image, or a damaged one; see `decode`.
    """
    if HEIF.match(data):
        return _opened_of_phone(data, maximum_megapixels)
    return _opened_plain_jpeg(data, maximum_megapixels) or _opened_any(data, maximum_megapixels)


def _opened_plain_jpeg(data: bytes, maximum_megapixels: int) -> Opened | Refused | None:
    """Decode an upright, sound colour JPEG; None for any other file."""
    if not data.startswith(b"\xff\xd8\xff") or (_is_marked(data) and not _is_upright(data)):
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
        if colour not in ("YCbCr", "RGB"):
            return None
        if too_large := too_large_by(width, height, maximum_megapixels):
            return too_large
        # Pillow uses the same accurate settings.
        rgb = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)
    except ValueError:  # Pillow gives more readable reasons, or `check_whole` does
        return None
    return Opened(rgb, "RGB", "JPEG")


def check_whole(data: bytes) -> None:
    """Check that a JPEG holds all its pixels. Pillow makes grey of what is missing.

    Raises:
        ValueError: The strict decoder finds a part missing or damaged.
    """
    try:
        simplejpeg.decode_jpeg(data, "GRAY", strict=True)
    except ValueError as error:
        if "Unsupported" not in str(error):  # a colour that this decoder does not know
            raise ValueError(f"a part of the image is missing or damaged: {error}") from error


def _is_marked(data: bytes) -> bool:
    """Whether the segments before a JPEG's first scan hold a mark; all bytes if they are odd.

    No reader looks for marks after the first scan, where most of the bytes are.
    """
    end = first_scan(data) or len(data)
    return any(data.find(mark, 0, end) >= 0 for mark in NOT_PLAIN)


def first_scan(data: bytes) -> int:
    """Where the first scan of a JPEG begins, in bytes; 0 if the file is none, or an odd one."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xFF):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at if data[:2] == b"\xff\xd8" and data[at : at + 2] == b"\xff\xda" else 0


def _is_upright(data: bytes) -> bool:
    """Whether the image is upright and the only one, by Pillow, which reads only the head."""
    Image.MAX_IMAGE_PIXELS = None  # as below
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.format == "JPEG" and image.getexif().get(ORIENTATION, 1) == 1


def _opened_any(data: bytes, maximum_megapixels: int) -> Opened | Refused:
    Image.MAX_IMAGE_PIXELS = None  # would raise before `too_large_by` can say which limit it was
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd EXIF blocks do not matter, only pixels do
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pictures = getattr(image, "n_frames", 1)
            if pictures > 1 and image.format != "MPO":  # phones add a small one to each JPEG
                return Refused("undecodable", f"the file holds {pictures} pictures, not one")
            if too_large := too_large_by(image.width, image.height, maximum_megapixels):
                return too_large
            mode, kind = image.mode, image.format or "?"
            if kind in ("JPEG", "MPO"):
                check_whole(data)
            rgb = to_rgb(ImageOps.exif_transpose(image))
    return Opened(np.asarray(rgb), mode, kind)


def _opened_of_phone(data: bytes, maximum_megapixels: int) -> Opened | Refused:
    """Decode the first picture of an HEIC or HEIF, which the library turns upright."""
    # The image of ingest has the first, which only decodes; others are smaller without it.
    library = next(filter(find_spec, ("pi_heif", "pillow_heif")), None)
    if library is None:
        return Refused("undecodable", "an HEIC of a phone, which pi-heif decodes: not here")
    found = import_module(library).open_heif(data)
    width, height = found.size
    if too_large := too_large_by(width, height, maximum_megapixels):
        return too_large
    picture = ImageOps.exif_transpose(found.to_pillow())
    return Opened(np.asarray(to_rgb(picture)), found.mode, "HEIF")


def too_large_by(width: int, height: int, maximum_megapixels: int) -> Refused | None:
    megapixels = width * height / 1e6
    if megapixels <= maximum_megapixels:
        return None
    return Refused(
        "too_large",
        f"{width} x {height} is {megapixels:.0f} megapixels; "
        f"at most {maximum_megapixels} are decoded",
    )


def described(found: Opened, packed_px: int, converted: Pixels | None = None) -> Decoded:
    """Squeeze an image into a square, and hash its pixels.

    Args:
        found: The image.
        packed_px: Side of the square, in pixels.
        converted: The image by its colour profile, which is packed instead. The hash stays that of
            the pixels as stored, by which copies of the image are found.
    """
    height, width, _ = found.rgb.shape
    packed = squeezed(found.rgb if converted is None else converted, packed_px, PACKING)
    thumbnail, colour = thumbnail_of(packed)
    digest = hashlib.sha256(f"{(width, height)}".encode())
    digest.update(np.ascontiguousarray(found.rgb).data)
    return Decoded(
        pixels=packed,
        width=width,
        height=height,
        mode=found.mode,
        format=found.format,
        pixel_hash=digest.hexdigest(),
        thumbnail=thumbnail,
        colour=colour,
    )


def thumbnail_of(packed: Pixels) -> tuple[bytes, tuple[float, float, float]]:
    """`Decoded.thumbnail` and `Decoded.colour` of packed pixels, uint8 ``(side, side, 3)``."""
    small = squeezed(packed, THUMBNAIL_PX, SHRINKING).reshape(-1, 3).astype(np.float32)
    # Sums of whole numbers below 2 ** 24: exact in float32.
    red, green, blue = (np.ones(len(small), np.float32) @ small / len(small)).tolist()
    grey = (small @ GREY_WEIGHTS + 128) / 256
    return grey.astype(np.uint8).tobytes(), (red, green, blue)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any colour mode to 8-bit RGB. Grey of 16 bits is scaled by its own range, of 10, 12,
    14 or 16 bits, and not clipped."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("grey values beyond 16 bits")
        # Cameras of 10 to 14 bits write 16, and leave the upper ones empty.
        white = next(2**bits - 1 for bits in (10, 12, 14, 16) if grey.max() < 2**bits)
        return Image.fromarray((grey / white * 255).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point grey values, whose range is not known")
    if image.mode == "P":
        image = image.convert("RGBA")  # palettes may hold transparency
    return image.convert("RGB")


def squeezed(rgb: Pixels, side_px: int, options: ResizeOptions) -> Pixels:
    """Resize an image, uint8 ``(height, width, 3)``, to a square of `side_px`, antialiased."""
    height, width, _ = rgb.shape
    if height == width == side_px:
        return rgb
    if rgb.nbytes > STRIP_BYTES:  # downwards first, as the resizer does: the bytes are the same
        across = max(1, STRIP_BYTES // (3 * height))
        strips = [rgb[:, start : start + across] for start in range(0, width, across)]
        rgb = np.hstack([_resized(each, each.shape[1], side_px, options) for each in strips])
    return _resized(rgb, side_px, side_px, options)


def _resized(rgb: Pixels, width: int, height: int, options: ResizeOptions) -> Pixels:
    given = ImageData(rgb.shape[1], rgb.shape[0], PixelType.U8x3, rgb.tobytes())
    taken = ImageData(width, height, PixelType.U8x3)
    Resizer().resize(given, taken, options)  # a new resizer: threads must not share one
    return np.frombuffer(taken.get_buffer(), np.uint8).reshape(height, width, 3)
