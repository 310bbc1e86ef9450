"""A small writer of DICOMs: valid photographs of every kind, and what tests change in them."""

import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.pixels.utils import compress
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

Array = np.ndarray[Any, Any]

PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.4"
DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
SECONDARY_FRAMES = "1.2.840.10008.5.1.4.1.1.7.4"
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"  # Basic Text SR
CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"


def photograph(number: int, width: int = 64, height: int = 48) -> Array:
    """Skin with a dark spot, uint8 ``(height, width, 3)``, another one for each number."""
    random = np.random.default_rng(number)
    coarse = random.normal(0, 14, (6, 8, 1)) + np.array([205, 160, 140])
    field = Image.fromarray(coarse.clip(0, 255).astype(np.uint8))
    skin = np.asarray(field.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    y, x = np.mgrid[:height, :width]
    spot = np.hypot(x - width * random.uniform(0.4, 0.6), y - height * random.uniform(0.4, 0.6))
    dark = 1 - 0.7 * np.exp(-((spot / (0.25 * height)) ** 4))
    grain = random.normal(0, 3, (height, width, 1))
    found: Array = (skin * dark[..., None] + grain).clip(0, 255).astype(np.uint8)
    return found


def jpeg(rgb: Array, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", **({"quality": 92} | options))
    return buffer.getvalue()


def jpeg_2000(image: Array, *, transformed: bool = True, lossless: bool = True) -> bytes:
    """A codestream alone, as a DICOM holds it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(
        buffer, "JPEG2000", mct=int(transformed), irreversible=not lossless, no_jp2=True
    )
    return buffer.getvalue()


def written(data_set: Dataset, syntax: str, *, preamble: bool = True) -> bytes:
    """The bytes of a DICOM; without the preamble, those of its data set alone."""
    little, implicit = syntax != BIG_ENDIAN, syntax == IMPLICIT
    if not preamble:
        alone = DicomBytesIO()
        alone.is_little_endian, alone.is_implicit_VR = little, implicit
        write_dataset(alone, data_set)
        return alone.getvalue()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(syntax)
    data_set.file_meta.MediaStorageSOPClassUID = data_set.get("SOPClassUID", UID(PHOTOGRAPH))
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.get("SOPInstanceUID", UID("1.2.3"))
    buffer = io.BytesIO()
    dcmwrite(buffer, data_set, enforce_file_format=True)
    return buffer.getvalue()


def header(number: int = 1, kind: str = DERMOSCOPIC, **tags: Any) -> Dataset:
    """A data set without pixels."""
    data_set = Dataset()
    data_set.SOPClassUID = UID(kind)
    data_set.SOPInstanceUID = UID(f"1.2.826.0.1.3680043.8.498.{number + 1}")
    data_set.StudyInstanceUID = UID(f"1.2.826.0.1.3680043.8.499.{number + 1}")
    data_set.SeriesInstanceUID = UID(f"1.2.826.0.1.3680043.8.500.{number + 1}")
    data_set.Modality = "DMS"
    data_set.PatientName = ""
    data_set.PatientID = ""
    for name, value in tags.items():
        setattr(data_set, name, value)
    return data_set


def native(
    frames: "Array | Sequence[Array]",
    photometric: str = "RGB",
    *,
    syntax: str = EXPLICIT,
    planar: int = 0,
    stored: int = 0,
    preamble: bool = True,
    kind: str = DERMOSCOPIC,
    number: int = 1,
    **tags: Any,
) -> bytes:
    """A DICOM of uncompressed pixels.

    Args:
        frames: One frame or several, uint8 or uint16, ``(height, width)`` or with 3 samples.
        photometric: The tag Photometric Interpretation.
        syntax: Transfer syntax: native, deflated or run lengths.
        planar: 0: the samples of a pixel stand together; 1: those of a plane.
        stored: Bits Stored; all bits if 0.
        preamble: Whether preamble and file meta information stand before the data set.
        kind: SOP class.
        number: Its UIDs are made of this number.
        tags: Further elements, by keyword; None leaves one out.
    """
    pixels = [frames] if isinstance(frames, np.ndarray) else list(frames)
    data_set = _pictured(header(number, kind), pixels[0], photometric, len(pixels))
    if pixels[0].ndim == 3:
        data_set.PlanarConfiguration = 0 if syntax == RLE else planar
        if data_set.PlanarConfiguration:
            pixels = [np.moveaxis(each, -1, 0) for each in pixels]
    if stored:
        data_set.BitsStored, data_set.HighBit = stored, stored - 1
    order = ">" if syntax == BIG_ENDIAN else "<"
    data = b"".join(each.astype(each.dtype.newbyteorder(order)).tobytes() for each in pixels)
    data_set.PixelData = data + bytes(len(data) % 2)
    data_set["PixelData"].VR = "OB" if pixels[0].itemsize == 1 else "OW"
    _set(data_set, tags)
    if syntax == RLE:
        data_set.file_meta = FileMetaDataset()
        data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        compress(data_set, RLELossless, generate_instance_uid=False)
        if pixels[0].ndim == 3:
            data_set.PlanarConfiguration = planar  # run lengths stand by plane, whatever it says
    return written(data_set, syntax, preamble=preamble)


def encapsulated(
    frames: "bytes | Sequence[bytes]",
    shown: Array,
    photometric: str = "YBR_FULL_422",
    *,
    syntax: str = JPEG_BASELINE,
    kind: str = DERMOSCOPIC,
    fragments: int = 1,
    table: bool = True,
    number: int = 1,
    **tags: Any,
) -> bytes:
    """A DICOM with JPEGs of one size in it.

    Args:
        frames: One file or several.
        shown: An array of the size, samples and depth of a frame.
        photometric, kind, number, tags: As in `native`.
        syntax: Transfer syntax.
        fragments: Parts that each frame is cut into.
        table: Whether a Basic Offset Table says where each frame begins.
    """
    inside = [frames] if isinstance(frames, bytes) else list(frames)
    data_set = _pictured(header(number, kind), shown, photometric, len(inside))
    if shown.ndim == 3:
        data_set.PlanarConfiguration = 0
    data_set.PixelData = encapsulate(inside, fragments_per_frame=fragments, has_bot=table)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    _set(data_set, tags)
    return written(data_set, syntax)


def _pictured(data_set: Dataset, shown: Array, photometric: str, frames: int) -> Dataset:
    data_set.Rows, data_set.Columns = shown.shape[:2]
    data_set.SamplesPerPixel = 3 if shown.ndim == 3 else 1
    data_set.PhotometricInterpretation = photometric
    data_set.BitsAllocated = data_set.BitsStored = 8 * shown.itemsize
    data_set.HighBit = data_set.BitsStored - 1
    data_set.PixelRepresentation = 0
    if frames > 1:
        data_set.NumberOfFrames = frames
    return data_set


def _set(data_set: Dataset, tags: dict[str, Any]) -> None:
    for name, value in tags.items():
        if value is None:
            delattr(data_set, name)
        else:
            setattr(data_set, name, value)


def with_palette(indices: Array, palette: Array, *, bits: int = 16, **options: Any) -> bytes:
    """A DICOM of palette colours.

    Args:
        indices: uint8 ``(height, width)``.
        palette: uint8 ``(n, 3)``.
        bits: Of an entry: 8, or 16 of which the upper 8 count.
        options: As in `native`.
    """
    given = palette if bits == 8 else palette.astype(np.uint16) * 256
    tags: dict[str, Any] = {}
    for channel, hue in enumerate(("Red", "Green", "Blue")):
        entries = given[:, channel].tobytes()
        tags[f"{hue}PaletteColorLookupTableDescriptor"] = [len(palette) % 65536, 0, bits]
        tags[f"{hue}PaletteColorLookupTableData"] = entries + bytes(len(entries) % 2)
    return native(indices, "PALETTE COLOR", **tags, **options)


def ycbcr(rgb: Array) -> Array:
    """YCbCr of the full range (ITU-T T.871), rounded, uint8."""
    red, green, blue = (rgb[..., n].astype(np.float64) for n in range(3))
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    found = np.stack([y, 128 + (blue - y) / 1.772, 128 + (red - y) / 1.402], axis=-1)
    return found.round().clip(0, 255).astype(np.uint8)


def deflated_bomb(megabytes: int) -> bytes:
    """A small deflated file that would become large."""
    whole = native(np.zeros((8, 8, 3), np.uint8), syntax=DEFLATED)
    start = whole.index(DEFLATED.encode()) + len(DEFLATED)
    for end in range(start, start + 600):  # where the deflated part begins
        try:
            body = zlib.decompress(whole[end:], -zlib.MAX_WBITS)
        except zlib.error:
            continue
        if body.startswith(b"\x08\x00"):
            break
    packing = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packing.compress(body + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\x7f")
    for _ in range(megabytes):
        packed += packing.compress(bytes(1_000_000))
    return whole[:end] + packed + packing.flush()
