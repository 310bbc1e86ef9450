"""The files that are kept of images: the same pixels, and nothing else that the files held.

A JPEG stays a JPEG, bit for bit in its scans, because its encoder's settings belong to what the
model learns from. Of its segments, those stay that the pixels depend on, and of EXIF the
orientation. Every other image becomes a PNG of its upright pixels, 8 bits of red, green and blue.
"""

import io
from dataclasses import dataclass

from PIL import Image

from tasks.errors import BadInput
from tasks.intake.dicom import opened_of_dicom
from tasks.intake.dicom_file import is_dicom
from tasks.intake.images import FORMATS, ORIENTATION, Decoded, Opened, decode, opened

# Markers of JPEG segments (ITU-T T.81, table B.1).
START, SCAN, END = b"\xff\xd8", 0xDA, 0xD9
RESTARTS = range(0xD0, 0xD8)
# What decoders need nothing of, but of two: JFIF's own segment, and Adobe's, which tells colours.
SAYS = {*range(0xE0, 0xF0), 0xFE} - {0xE0, 0xEE}
FAST = 1  # zlib's level: a photograph shrinks little more by a higher one


@dataclass(frozen=True)
class Bare:
    """One image, without metadata.

    Attributes:
        data: The file.
        suffix: ``.jpg`` or ``.png``.
        pixel_hash: As `Decoded.pixel_hash`, of this file.
    """

    data: bytes
    suffix: str
    pixel_hash: str


def bare(data: bytes, maximum_megapixels: int) -> list[Bare]:
    """The images of one file, without metadata; a DICOM may hold several.

    Args:
        data: The file.
        maximum_megapixels: A larger image is refused by its header.

    Raises:
        BadInput: The file holds no image that can be read.
    """
    if is_dicom(data):
        return [
            _png(each, maximum_megapixels) for each in opened_of_dicom(data, maximum_megapixels)
        ]
    found = _decoded(data, maximum_megapixels)
    if found.format in ("JPEG", "MPO"):
        try:
            kept = without_segments(data)
            again = decode(kept, packed_px=1, maximum_megapixels=maximum_megapixels)
        except ValueError:  # an odd file, which decoders read all the same
            again = None
        if isinstance(again, Decoded) and again.pixel_hash == found.pixel_hash:
            return [Bare(kept, ".jpg", found.pixel_hash)]
    whole = opened(data, maximum_megapixels)
    assert isinstance(whole, Opened)  # it was decoded above
    return [_png(whole, maximum_megapixels)]


def without_segments(data: bytes) -> bytes:
    """A JPEG without what its pixels do not depend on: EXIF, comments, thumbnails, other pictures.

    Args:
        data: A JPEG, of which decoders read the first picture.

    Raises:
        ValueError: The segments do not follow each other as the standard says.
    """
    kept, at = [START, _orientation(data)], 2
    while True:
        marker = data[at + 1 : at + 2]
        if data[at : at + 1] != b"\xff" or not marker:
            raise ValueError("no segment where one must be")
        if marker[0] == END:
            return b"".join((*kept, data[at : at + 2]))
        if marker[0] == 0xFF:  # a filler
            at += 1
            continue
        after = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker[0] == SCAN:
            after = _end_of_scan(data, after)
        if marker[0] not in SAYS:
            kept.append(data[at:after])
        at = after


def _end_of_scan(data: bytes, at: int) -> int:
    """Where the next segment begins: within a scan, 0xFF is followed by 0 or a restart marker."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise ValueError("the last scan does not end")
        if data[at + 1] == 0 or data[at + 1] in RESTARTS:
            at += 2
        elif data[at + 1] == 0xFF:
            at += 1
        else:
            return at


def _orientation(data: bytes) -> bytes:
    """The segment of EXIF that names the orientation alone; nothing for an upright image."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        turned = image.getexif().get(ORIENTATION, 1)
    if turned not in range(2, 9):
        return b""
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    told = exif.tobytes()
    return b"\xff\xe1" + (len(told) + 2).to_bytes(2, "big") + told


def _png(found: Opened, maximum_megapixels: int) -> Bare:
    buffer = io.BytesIO()
    Image.fromarray(found.rgb).save(buffer, "PNG", compress_level=FAST)
    data = buffer.getvalue()
    return Bare(data, ".png", _decoded(data, maximum_megapixels).pixel_hash)


def _decoded(data: bytes, maximum_megapixels: int) -> Decoded:
    found = decode(data, packed_px=1, maximum_megapixels=maximum_megapixels)
    if isinstance(found, Decoded):
        return found
    raise BadInput(
        "The image cannot be kept.",
        expected=f"an image that can be read, of at most {maximum_megapixels} megapixels",
        received=found.reason,
        do="send the image as the camera or the archive made it",
    )
