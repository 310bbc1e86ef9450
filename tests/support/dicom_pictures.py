"""What the product makes of a DICOM, and of the picture alone."""

import io

from PIL import Image

from tasks.intake.dicom import Pictures, pictures_of_dicom
from tasks.intake.dicom_file import is_dicom
from tasks.intake.images import Decoded, Refused, decode
from tasks.intake.pseudonyms import for_now
from tests.support.dicoms import Array

PACKED = 48


def pictures(data: bytes, megapixels: int = 64) -> Pictures:
    assert is_dicom(data)
    return pictures_of_dicom(
        data, packed_px=PACKED, maximum_megapixels=megapixels, pseudonyms=for_now()
    )


def decoded(data: bytes) -> Decoded:
    (one,) = pictures(data).each
    assert isinstance(one, Decoded), one
    return one


def refused(data: bytes, megapixels: int = 64) -> Refused:
    (one,) = pictures(data, megapixels).each
    assert isinstance(one, Refused)
    assert "\n" not in one.reason
    return one


def of_array(rgb: Array) -> Decoded:
    """What a PNG of these pixels is decoded to."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return of_file(buffer.getvalue())


def of_file(data: bytes) -> Decoded:
    found = decode(data, packed_px=PACKED, maximum_megapixels=64)
    assert isinstance(found, Decoded), found
    return found


def same(one: Decoded, other: Decoded) -> bool:
    assert (one.pixel_hash == other.pixel_hash) == bool((one.pixels == other.pixels).all())
    return (one.pixel_hash, one.width, one.height) == (other.pixel_hash, other.width, other.height)
