"""Decode a DICOM: photographs in visible light, dermoscopic ones among them.

A picture that was put in as a JPEG goes through the decoder of all JPEGs: its pixels, size and hash
are those of the JPEG alone, bit for bit. Pixels put in uncompressed, or by run lengths, are taken
as stored. `tasks.intake.dicom_colours` says how colours are read, and when they are refused.

Grey of 8 to 16 bits is scaled by Bits Stored, and turned for MONOCHROME1, where 0 is white (PS3.3,
C.7.6.3.1.2). Windows and presentation states are for screens, and are not applied.

pydicom is imported when the first DICOM is met, and never before.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from tasks.errors import PipelineError
from tasks.intake.dicom_colours import (
    GREY,
    YCBCR,
    as_rgb_jpeg,
    by_profile,
    jpeg_2000_contradicts,
    jpeg_contradicts,
    pixels_contradict,
    rgb_of_ycbcr,
    said_by_jpeg,
)
from tasks.intake.dicom_file import DicomFile, NotRead, parsed
from tasks.intake.dicom_tags import Tags, tags_of
from tasks.intake.images import (
    FORMATS,
    Decoded,
    Opened,
    Pixels,
    Refused,
    described,
    opened,
    too_large_by,
)
from tasks.intake.pseudonyms import Pseudonyms

# The classes that hold photographs (PS3.4, B.5), by the first words of their names.
PHOTOGRAPHS = (
    *("VL Photographic", "Dermoscopic Photography", "Secondary Capture"),
    *("Multi-frame Single Bit Secondary", "Multi-frame Grayscale", "Multi-frame True Color"),
    "VL Image Storage",
)
UNDEFINED = 0xFFFFFFFF  # a length that the elements within say
MOST_FRAMES = 512  # as many as one shard holds; a film is no set of photographs
JPEG = "1.2.840.10008.1.2.4."
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2",
          "1.2.840.10008.1.2.1.99")  # fmt: skip
RUN_LENGTHS = "1.2.840.10008.1.2.5"
BY_JPEG = (f"{JPEG}50", f"{JPEG}51", f"{JPEG}57", f"{JPEG}70")
BY_JPEG_2000 = tuple(f"{JPEG}{number}" for number in (90, 91, 201, 202, 203))
# What would decode what is not decoded here.
DECODERS = {
    f"{JPEG}51": "pylibjpeg-libjpeg",
    f"{JPEG}57": "pylibjpeg-libjpeg",
    f"{JPEG}70": "pylibjpeg-libjpeg",
    f"{JPEG}80": "pyjpegls",
    f"{JPEG}81": "pyjpegls",
    f"{JPEG}110": "pillow-jxl-plugin",
    f"{JPEG}111": "pillow-jxl-plugin",
    f"{JPEG}112": "pillow-jxl-plugin",
} | dict.fromkeys(BY_JPEG_2000, "pylibjpeg-openjpeg")


@dataclass(frozen=True)
class Pictures:
    """The pictures of one file.

    Attributes:
        each: At least one; several of a file of several frames.
        tags: What the tags of a DICOM say; None for any other file.
    """

    each: tuple[Decoded | Refused, ...]
    tags: Tags | None = field(default=None)


@dataclass(frozen=True)
class Header:
    """What the header of a DICOM claims about its pictures.

    Attributes:
        syntax: UID of the transfer syntax.
        photometric: The tag Photometric Interpretation.
        rows, columns, frames, samples: Numbers of each, at least 1.
        stored: Bits of a sample that count, 1 to 16.
    """

    syntax: str
    photometric: str
    rows: int
    columns: int
    frames: int
    samples: int
    stored: int


def pictures_of_dicom(
    data: bytes, *, packed_px: int, maximum_megapixels: int, pseudonyms: Pseudonyms
) -> Pictures:
    """Decode the pictures of a DICOM, as `tasks.intake.images.decode` does others.

    Args:
        data: The file.
        packed_px: Side of the packed square, in pixels.
        maximum_megapixels: A file with more, all frames together, is refused by its header.
        pseudonyms: Names for patients.
    """
    tags = None
    try:
        file = parsed(data, most_bytes=maximum_megapixels * 6_000_000)
        tags = tags_of(file, pseudonyms)
        header = _header(file, maximum_megapixels)
        if isinstance(header, Refused):
            return Pictures((header,), tags)
        profile, space = file.bytes("ICCProfile"), file.text("ColorSpace")
        found: list[Decoded | Refused] = []
        told = ""
        for each in _frames(file, header, maximum_megapixels):
            if isinstance(each, Opened):
                converted, told = by_profile(each.rgb, profile, space)
                found.append(described(each, packed_px, converted))
            else:
                found.append(each)
        return Pictures(tuple(found), replace(tags, profile=told))
    except PipelineError:  # of the store, which holds the key of the names
        raise
    except NotRead as error:
        return Pictures((Refused("undecodable", f"a DICOM: {error}"),), tags)
    except Exception as error:  # its words may repeat what the tags hold
        told = f"a DICOM that cannot be decoded ({type(error).__name__})"
        return Pictures((Refused("undecodable", told),), tags)


def opened_of_dicom(data: bytes, maximum_megapixels: int) -> list[Opened]:
    """The pictures of a DICOM in full size and in sRGB, without anything that its tags say.

    Args:
        data: A file of which `pictures_of_dicom` decodes each picture.
        maximum_megapixels: As there.

    Raises:
        NotRead: A picture cannot be decoded.
    """
    file = parsed(data, most_bytes=maximum_megapixels * 6_000_000)
    header = _header(file, maximum_megapixels)
    frames = [header] if isinstance(header, Refused) else _frames(file, header, maximum_megapixels)
    profile, space = file.bytes("ICCProfile"), file.text("ColorSpace")
    found = []
    for each in frames:
        if isinstance(each, Refused):
            raise NotRead(each.reason)
        converted, _ = by_profile(each.rgb, profile, space)
        found.append(each if converted is None else replace(each, rgb=converted))
    return found


def _header(file: DicomFile, maximum_megapixels: int) -> Header | Refused:
    """What the header claims, or why no picture can come of it."""
    from pydicom.uid import UID

    uid = file.text("SOPClassUID")
    known = UID(uid).name if uid else "no class"
    pixels = file.data_set.get_item("PixelData")
    if pixels is None and file.damage:
        raise NotRead(file.damage)
    if pixels is None:
        return Refused("undecodable", f"a DICOM of the class {known}, and no whole picture in it")
    if uid and not known.startswith(PHOTOGRAPHS):
        return Refused(
            "not_a_photograph",
            f"a DICOM of the class {known}; photographs are of the classes VL Photographic, "
            "Dermoscopic Photography and Secondary Capture",
        )
    found = Header(
        syntax=file.syntax,
        photometric=file.text("PhotometricInterpretation").upper(),
        rows=file.number("Rows"),
        columns=file.number("Columns"),
        frames=file.number("NumberOfFrames", 1),
        samples=file.number("SamplesPerPixel", 1),
        stored=file.number("BitsStored", file.number("BitsAllocated", 8)),
    )
    if min(found.rows, found.columns, found.frames, found.samples) < 1:
        raise NotRead("it says that its picture has no pixels")
    if len(pixels.value or b"") < getattr(pixels, "length", 0) != UNDEFINED:
        raise NotRead("it is cut: its pixels are fewer than it says")
    if not 1 <= found.stored <= 16 or file.number("PixelRepresentation"):
        raise NotRead(
            "its numbers are not 1 to 16 bits without a sign, as those of photographs are"
        )
    if found.frames > MOST_FRAMES:
        return Refused("too_large", f"{found.frames} frames; at most {MOST_FRAMES} are decoded")
    return too_large_by(found.columns, found.rows * found.frames, maximum_megapixels) or found


def _frames(file: DicomFile, header: Header, maximum_megapixels: int) -> Iterator[Opened | Refused]:
    if header.syntax in (*NATIVE, RUN_LENGTHS):
        yield from _uncompressed(file, header)
        return
    if header.syntax not in (*BY_JPEG, *BY_JPEG_2000):
        raise _not_here(header.syntax)
    for frame in _encapsulated(file, header.frames):
        if header.syntax in BY_JPEG:
            found = _of_jpeg(frame, header, maximum_megapixels)
        else:
            found = _of_jpeg_2000(frame, header, maximum_megapixels)
        if isinstance(found, Opened) and {*found.rgb.shape[:2]} != {header.rows, header.columns}:
            height, width, _ = found.rgb.shape
            said = f"{header.columns} x {header.rows}"
            yield Refused("undecodable", f"a DICOM that says {said} and holds {width} x {height}")
        else:
            yield found


def _not_here(syntax: str) -> NotRead:
    from pydicom.uid import UID

    package = DECODERS.get(syntax)
    name = UID(syntax).name if syntax else "no transfer syntax"
    would = f": {package} would decode it" if package else ": export it as PNG"
    return NotRead(f"its pixels are in {name}, which is not decoded here{would}")


def _encapsulated(file: DicomFile, count: int) -> list[bytes]:
    """The bytes of each frame."""
    from pydicom.encaps import generate_frames

    offsets = file.bytes("ExtendedOffsetTable"), file.bytes("ExtendedOffsetTableLengths")
    try:
        found = list(
            generate_frames(
                file.bytes("PixelData"),
                number_of_frames=count,
                extended_offsets=offsets if all(offsets) else None,
            )
        )
    except Exception:
        raise NotRead("its frames cannot be told apart: it may be cut") from None
    if len(found) != count:
        raise NotRead(f"it says {count} frames and holds {len(found)}: it may be cut")
    return found


def _of_jpeg(frame: bytes, header: Header, maximum_megapixels: int) -> Opened | Refused:
    if why := jpeg_contradicts(frame, header.photometric):
        return Refused("colour_mislabelled", f"a DICOM that contradicts itself: {why}")
    if header.photometric == "RGB" and not said_by_jpeg(frame):
        return _of_unmarked_jpeg(frame, header, maximum_megapixels)
    return _by_decoder(frame, header, maximum_megapixels)


def _of_unmarked_jpeg(frame: bytes, header: Header, maximum_megapixels: int) -> Opened | Refused:
    """A JPEG of RGB by its tag alone: its numbers must not look like YCbCr."""
    found = _by_decoder(as_rgb_jpeg(frame), header, maximum_megapixels)
    if isinstance(found, Opened) and (why := pixels_contradict(found.rgb, "RGB")):
        return Refused("colour_mislabelled", f"a DICOM that contradicts itself: {why}")
    return found


def _by_decoder(frame: bytes, header: Header, maximum_megapixels: int) -> Opened | Refused:
    """What the decoder of all images makes of a frame."""
    try:
        found = opened(frame, maximum_megapixels)
    except Exception as error:
        if header.syntax in DECODERS:
            return Refused("undecodable", f"a DICOM: {_not_here(header.syntax)}")
        return Refused("undecodable", f"the picture in the DICOM: {error or type(error).__name__}")
    if isinstance(found, Refused):
        return found
    rgb = 255 - found.rgb if header.photometric == "MONOCHROME1" else found.rgb
    return Opened(rgb, found.mode, f"DICOM, {found.format}")


def _of_jpeg_2000(frame: bytes, header: Header, maximum_megapixels: int) -> Opened | Refused:
    from pydicom.pixels.utils import get_j2k_parameters

    if why := jpeg_2000_contradicts(frame, header.photometric, header.samples):
        return Refused("colour_mislabelled", f"a DICOM that contradicts itself: {why}")
    precision = get_j2k_parameters(frame).get("precision", 8)
    if header.samples > 1 or precision <= 8:
        return _by_decoder(frame, header, maximum_megapixels)
    with Image.open(io.BytesIO(frame), formats=FORMATS) as image:
        if too_large := too_large_by(image.width, image.height, maximum_megapixels):
            return too_large
        # Pillow moves what it reads up to 16 bits.
        grey = np.asarray(image).astype(np.uint16) >> (16 - precision)
    return Opened(_rgb_of_grey(grey, header), "I;16", "DICOM, JPEG2000")


def _uncompressed(file: DicomFile, header: Header) -> Iterator[Opened | Refused]:
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels.utils import iter_pixels
    from pydicom.uid import UID

    if header.syntax == RUN_LENGTHS:
        _check_run_lengths(file, header)
    data_set = file.data_set
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(header.syntax)
    kind = "DICOM, run lengths" if header.syntax == RUN_LENGTHS else "DICOM"
    try:
        arrays = list(iter_pixels(data_set, raw=True))
    except Exception:
        raise NotRead(
            f"its pixels do not fit {header.columns} x {header.rows}, {header.samples} samples and "
            f"{header.frames} frames: it may be cut"
        ) from None
    for array in arrays:
        rgb, why = _rgb_of(array, data_set, header)
        if why:
            yield Refused("colour_mislabelled", f"a DICOM that contradicts itself: {why}")
        else:
            yield Opened(rgb, "L" if header.samples == 1 else "RGB", kind)


def _check_run_lengths(file: DicomFile, header: Header) -> None:
    """Check that no segment becomes larger than its plane (PS3.5, G.3), before it does."""
    plane = header.rows * header.columns
    for frame in _encapsulated(file, header.frames):
        count = int.from_bytes(frame[:4], "little")
        starts = [int.from_bytes(frame[4 * n : 4 * n + 4], "little") for n in range(1, count + 1)]
        if not 1 <= count <= 15 or any(start < 64 for start in starts):
            raise NotRead("its run lengths are damaged")
        for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
            if _length_of_runs(frame[start:end], plane) > plane + 1:
                raise NotRead("its run lengths would become larger than the picture")


def _length_of_runs(segment: bytes, enough: int) -> int:
    at = length = 0
    while at < len(segment) and length <= enough + 1:
        code = segment[at]
        if code < 128:
            length, at = length + code + 1, at + code + 2
        else:
            length, at = length + (257 - code if code > 128 else 0), at + (2 if code > 128 else 1)
    return length


def _rgb_of(array: Any, data_set: Any, header: Header) -> tuple[Pixels, str]:
    """RGB of the numbers as stored; or how these contradict the tag, in words."""
    photometric = header.photometric
    samples = 1 if photometric in (*GREY, "PALETTE COLOR") else 3
    if header.samples != samples:
        return array, f"the tag says {photometric or 'nothing'}, of {header.samples} samples"
    if photometric in GREY:
        return _rgb_of_grey(array, header), ""
    if photometric == "PALETTE COLOR":
        return _rgb_of_palette(array, data_set), ""
    if photometric not in (*YCBCR, "RGB"):
        raise NotRead(f"its colours are in {photometric[:20] or 'nothing'}, which is not read")
    if header.stored > 8:
        array = _eight_bits(array, header.stored)
    if why := pixels_contradict(array, photometric):
        return array, why
    if photometric == "RGB":
        return np.ascontiguousarray(array), ""
    return rgb_of_ycbcr(array).round().clip(0, 255).astype(np.uint8), ""


def _rgb_of_grey(grey: Any, header: Header) -> Pixels:
    eight = _eight_bits(grey, header.stored)
    eight = 255 - eight if header.photometric == "MONOCHROME1" else eight
    return np.repeat(eight[..., None], 3, axis=2)


def _eight_bits(values: Any, stored: int) -> Any:
    """Numbers of so many bits as uint8, scaled by the range of these bits."""
    white = 2**stored - 1
    counted = np.asarray(values).astype(np.uint16) & white  # other bits may hold overlays
    if stored == 8:
        return counted.astype(np.uint8)
    return (counted.astype(np.float32) * 255 / white).round().astype(np.uint8)


def _rgb_of_palette(array: Any, data_set: Any) -> Pixels:
    """Colours by the palette; of 16 bits the upper 8, which hold those of 8 in either way of
    writing them (PS3.3, C.7.6.3.1.5). A palette in segments is not read: it may become large."""
    from pydicom.pixels.processing import apply_color_lut

    try:
        found = apply_color_lut(array, data_set)[..., :3]
    except Exception:
        raise NotRead("its palette is missing, damaged or in segments") from None
    return np.ascontiguousarray(found >> 8 if found.max() > 255 else found).astype(np.uint8)
