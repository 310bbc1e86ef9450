"""The colours of a DICOM: as its tags say, or refused with the reason."""

import struct
from typing import Any

import numpy as np
import pytest
from PIL import ImageCms

from tasks.intake.images import Decoded
from tests.support.dicom_pictures import decoded, of_array, of_file, pictures, refused, same
from tests.support.dicoms import (
    JPEG_2000_LOSSLESS,
    Array,
    encapsulated,
    jpeg,
    jpeg_2000,
    native,
    photograph,
    ycbcr,
)

RGB = photograph(1)


# Colours as said, or not at all ------------------------------------------------------------------


def without_marks(inside: bytes) -> bytes:
    """A JPEG without JFIF's mark."""
    assert inside[2:4] == b"\xff\xe0"
    return inside[:2] + inside[4 + int.from_bytes(inside[4:6], "big") :]


def rgb_jpeg(rgb: Array) -> bytes:
    """A JPEG whose components are RGB, with Adobe's mark."""
    inside = jpeg(rgb, keep_rgb=True, subsampling=0)
    assert b"Adobe" in inside
    return inside


@pytest.mark.parametrize(
    ("inside", "photometric", "words"),
    [
        (jpeg(RGB), "RGB", "tag says RGB, the JPEG inside says YCbCr"),
        (rgb_jpeg(RGB), "YBR_FULL_422", "tag says YBR_FULL_422, the JPEG inside says RGB"),
        (jpeg(RGB[..., 0]), "RGB", "inside says grey"),
        (jpeg(RGB), "MONOCHROME2", "inside says YCbCr"),
    ],
)
def test_a_jpeg_that_contradicts_its_tag_is_refused(
    inside: bytes, photometric: str, words: str
) -> None:
    result = refused(encapsulated(inside, RGB, photometric))
    assert result.law == "colour_mislabelled"
    assert words in result.reason


def test_a_jpeg_without_a_mark_is_what_its_tag_says() -> None:
    plain = without_marks(jpeg(RGB))
    assert same(decoded(encapsulated(plain, RGB, "YBR_FULL_422")), of_file(jpeg(RGB)))
    marked = rgb_jpeg(RGB)
    assert same(decoded(encapsulated(marked, RGB, "RGB")), of_file(marked))


def test_a_jpeg_without_a_mark_that_looks_like_ycbcr_is_not_taken_for_rgb() -> None:
    result = refused(encapsulated(without_marks(jpeg(RGB, subsampling=0)), RGB, "RGB"))
    assert result.law == "colour_mislabelled"
    assert "as only those of YCbCr do" in result.reason


@pytest.mark.parametrize(
    ("photometric", "transformed"), [("YBR_RCT", False), ("YBR_FULL", True), ("MONOCHROME2", True)]
)
def test_a_jpeg_2000_that_contradicts_its_tag_is_refused(
    photometric: str, transformed: bool
) -> None:
    inside = jpeg_2000(RGB, transformed=transformed)
    result = refused(encapsulated(inside, RGB, photometric, syntax=JPEG_2000_LOSSLESS))
    assert result.law == "colour_mislabelled"


@pytest.mark.parametrize("number", range(5))
def test_uncompressed_pixels_that_contradict_their_tag_are_refused(number: int) -> None:
    rgb = photograph(number)
    assert "RGB" in refused(native(rgb, "YBR_FULL")).reason
    assert "YCbCr" in refused(native(ycbcr(rgb), "RGB")).reason
    assert {refused(native(rgb, "YBR_FULL")).law} == {"colour_mislabelled"}
    assert same(decoded(native(rgb)), of_array(rgb))


def test_ycbcr_becomes_rgb() -> None:
    found = decoded(native(ycbcr(RGB), "YBR_FULL"))
    assert np.abs(found.pixels.astype(int) - of_array(RGB).pixels).max() <= 3


# Profiles ----------------------------------------------------------------------------------------


def profile(gamma: float = 0.0) -> bytes:
    """sRGB's, or one of its primaries with another curve."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0] if gamma else 0
    for entry in range(count):
        name, start, size = struct.unpack(">4sII", data[132 + 12 * entry : 144 + 12 * entry])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
            data[start : start + size] = curve.ljust(size, b"\0")
    return bytes(data)


@pytest.mark.parametrize("inside", [True, False])
def test_a_profile_that_acts_as_srgb_changes_nothing_and_another_is_applied(inside: bool) -> None:
    def made(**tags: Any) -> bytes:
        return encapsulated(jpeg(RGB), RGB, **tags) if inside else native(RGB, **tags)

    plain = decoded(made())
    assert same(decoded(made(ICCProfile=profile())), plain)
    other = pictures(made(ICCProfile=profile(1.0)))
    (found,) = other.each
    assert isinstance(found, Decoded)
    assert found.pixel_hash == plain.pixel_hash  # of the pixels as stored: a copy is still found
    assert found.pixels.mean() > plain.pixels.mean() + 10
    assert other.tags
    assert other.tags.profile == ""


def test_a_damaged_profile_is_told_and_the_colours_stay() -> None:
    found = pictures(native(RGB, ICCProfile=b"no profile"))
    assert found.tags
    assert "damaged" in found.tags.profile
    assert same(decoded(native(RGB, ICCProfile=b"no profile")), of_array(RGB))
