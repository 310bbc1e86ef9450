"""From a DICOM to pixels: the same as those of the picture that was put in, or a reason."""

import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.intake.images import Decoded, Refused
from tests.support import dicoms
from tests.support.dicom_pictures import decoded, of_array, of_file, pictures, refused, same
from tests.support.dicoms import (
    DEFLATED,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    encapsulated,
    jpeg,
    jpeg_2000,
    native,
    photograph,
    with_palette,
)
from tests.support.paths import ROOT

RGB = photograph(1)


# A JPEG inside -----------------------------------------------------------------------------------


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_in_a_dicom_has_the_pixels_of_the_jpeg(
    fragments: int, subsampling: int, progressive: bool
) -> None:
    inside = jpeg(RGB, subsampling=subsampling, progressive=progressive)
    found = decoded(encapsulated(inside, RGB, fragments=fragments))
    assert same(found, of_file(inside))
    assert found.format == "DICOM, JPEG"
    assert not same(found, of_file(jpeg(photograph(2))))


def test_a_grey_jpeg_stays_grey_and_is_turned_where_nought_is_white() -> None:
    grey = RGB[..., 1]
    inside = jpeg(grey)
    assert same(decoded(encapsulated(inside, grey, "MONOCHROME2")), of_file(inside))
    turned = decoded(encapsulated(inside, grey, "MONOCHROME1"))
    assert (turned.pixels == 255 - of_file(inside).pixels).mean() > 0.99


@pytest.mark.parametrize(
    ("syntax", "photometric", "transformed", "lossless"),
    [
        (JPEG_2000_LOSSLESS, "YBR_RCT", True, True),
        (JPEG_2000_LOSSLESS, "RGB", False, True),
        (JPEG_2000, "YBR_ICT", True, False),
        (JPEG_2000_LOSSLESS, "RGB", True, True),
    ],
)
def test_a_jpeg_2000_in_a_dicom_has_the_pixels_of_the_jpeg_2000(
    syntax: str, photometric: str, transformed: bool, lossless: bool
) -> None:
    inside = jpeg_2000(RGB, transformed=transformed, lossless=lossless)
    found = decoded(encapsulated(inside, RGB, photometric, syntax=syntax))
    assert same(found, of_file(inside))
    assert same(found, of_array(RGB)) == lossless


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_grey_of_many_bits_in_a_jpeg_2000_is_scaled_by_bits_stored(bits: int) -> None:
    grey = np.linspace(0, (2**bits - 1) // 2, 64 * 48).reshape(48, 64).astype(np.uint16)
    inside = jpeg_2000(grey, transformed=False)
    data = encapsulated(
        inside, grey, "MONOCHROME2", syntax=JPEG_2000_LOSSLESS, BitsStored=bits, HighBit=bits - 1
    )
    assert decoded(data).pixels.max() == pytest.approx(127, abs=2)


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        (JPEG_LS, "pyjpegls"),
        (JPEG_LOSSLESS, "pylibjpeg-libjpeg"),
        ("1.2.840.10008.1.2.4.110", "pillow-jxl-plugin"),
        ("1.2.840.10008.1.2.4.102", "export it as PNG"),
    ],
)
def test_what_cannot_be_decoded_here_says_what_would(syntax: str, package: str) -> None:
    size = b"\x00\x11\x08\x00\x30\x00\x40\x03R\x11\x00G\x11\x00B\x11\x00"
    inside = b"\xff\xd8\xff\xc3" + size + bytes(200)  # the frame of a lossless JPEG, without more
    known = syntax.replace("110", "102")  # pydicom writes none of JPEG XL
    data = encapsulated(inside, RGB, "RGB", syntax=known).replace(known.encode(), syntax.encode())
    result = refused(data)
    assert result.law == "undecodable"
    assert package in result.reason


# Uncompressed ------------------------------------------------------------------------------------


NATIVE = (dicoms.EXPLICIT, dicoms.IMPLICIT, dicoms.BIG_ENDIAN, RLE)


@pytest.mark.parametrize("syntax", [*NATIVE, DEFLATED])
@pytest.mark.parametrize("planar", [0, 1])
def test_uncompressed_pixels_are_taken_as_stored(syntax: str, planar: int) -> None:
    assert same(decoded(native(RGB, syntax=syntax, planar=planar)), of_array(RGB))


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.IMPLICIT])
def test_a_data_set_without_a_preamble_is_read(syntax: str) -> None:
    data = native(RGB, syntax=syntax, preamble=False)
    assert data[128:132] != b"DICM"
    assert same(decoded(data), of_array(RGB))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4)),
    planar=st.integers(0, 1),
    syntax=st.sampled_from(NATIVE),
    seed=st.integers(0, 10**6),
)
def test_each_frame_of_any_colours_has_the_pixels_of_its_source(
    size: tuple[int, int, int], planar: int, syntax: str, seed: int
) -> None:
    width, height, frames = size
    random = np.random.default_rng(seed)
    shown = [random.integers(0, 256, (height, width, 3), np.uint8) for _ in range(frames)]
    found = pictures(native(shown, planar=planar, syntax=syntax))
    assert len(found.each) == frames
    for one, rgb in zip(found.each, shown, strict=True):
        assert isinstance(one, Decoded), one
        assert same(one, of_array(rgb))


@pytest.mark.parametrize("stored", [8, 10, 12, 16])
def test_grey_is_scaled_by_bits_stored_and_turned_where_nought_is_white(stored: int) -> None:
    kind = np.uint8 if stored == 8 else np.uint16
    grey = np.linspace(0, 2**stored - 1, 64 * 48).reshape(48, 64).astype(kind)
    up = decoded(native(grey, "MONOCHROME2", stored=stored)).pixels
    down = decoded(native(grey, "MONOCHROME1", stored=stored)).pixels
    assert (up.min(), up.max()) == (0, 255)
    assert np.abs(255 - up.astype(int) - down).max() <= 1
    dark = decoded(native(grey // 4, "MONOCHROME2", stored=stored)).pixels
    assert dark.max() == pytest.approx(64, abs=1)  # by its bits, not by its own range


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_colours_are_looked_up(bits: int) -> None:
    image = Image.fromarray(RGB).quantize(64)
    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    found = decoded(with_palette(np.asarray(image), palette, bits=bits))
    assert same(found, of_array(np.asarray(image.convert("RGB"))))


# Frames ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [True, False])
def test_each_frame_of_jpegs_is_a_picture_and_a_damaged_one_spoils_no_other(table: bool) -> None:
    shown = [photograph(number) for number in range(3)]
    inside = [jpeg(each) for each in shown]
    found = pictures(encapsulated(inside, RGB, table=table)).each
    for one, each in zip(found, inside, strict=True):
        assert isinstance(one, Decoded)
        assert same(one, of_file(each))
    broken = [inside[0], inside[1][:300] + b"\xff\xd9", inside[2]]
    kinds = [type(each) for each in pictures(encapsulated(broken, RGB, table=table)).each]
    assert kinds == [Decoded, Refused, Decoded]


def test_a_file_that_holds_fewer_frames_than_it_says_is_refused() -> None:
    data = encapsulated([jpeg(RGB)] * 2, RGB, NumberOfFrames=5)
    assert "5 frames and holds 2" in refused(data).reason


def test_too_many_pixels_or_frames_are_refused_by_the_header() -> None:
    shown = [np.zeros((1000, 1001, 3), np.uint8)]
    result = refused(native(shown, NumberOfFrames=2), megapixels=2)
    assert result.law == "too_large"
    assert isinstance(pictures(native(shown), 2).each[0], Decoded)
    claimed = native(np.zeros((2, 2, 3), np.uint8), Rows=65535, Columns=65535)
    assert refused(claimed).law == "too_large"
    film = native(np.zeros((2, 2, 3), np.uint8), NumberOfFrames=513)
    assert refused(film).law == "too_large"


# No photograph -----------------------------------------------------------------------------------


def test_what_is_no_picture_is_refused_by_its_class() -> None:
    data = dicoms.written(dicoms.header(kind=dicoms.REPORT), dicoms.EXPLICIT)
    assert refused(data).law == "undecodable"
    assert "Basic Text SR" in refused(data).reason


def test_a_slice_of_a_scan_is_no_photograph_and_a_secondary_capture_is() -> None:
    grey = RGB[..., 0]
    result = refused(native(grey, "MONOCHROME2", kind=dicoms.CT))
    assert result.law == "not_a_photograph"
    assert "CT Image" in result.reason
    for kind in (dicoms.PHOTOGRAPH, dicoms.SECONDARY, dicoms.SECONDARY_FRAMES):
        assert decoded(native(RGB, kind=kind))


# Cut, claimed, hostile ---------------------------------------------------------------------------

WHOLE = (
    *(native(RGB), encapsulated(jpeg(RGB), RGB)),
    *(native(RGB, syntax=RLE), native(RGB, syntax=DEFLATED)),
)


@settings(max_examples=200, deadline=None)
@given(
    which=st.integers(0, len(WHOLE) - 1),
    cut=st.integers(0, 9000),
    flips=st.lists(st.tuples(st.integers(132, 1500), st.integers(1, 255)), max_size=5),
)
def test_no_damage_ever_escapes_as_an_exception(
    which: int, cut: int, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(WHOLE[which])
    for place, change in flips:
        data[place % len(data)] ^= change
    found = pictures(bytes(data[: max(140, len(data) - cut)]))
    assert all(isinstance(each, Decoded | Refused) for each in found.each)
    if not cut and not flips:
        assert isinstance(found.each[0], Decoded)


@pytest.mark.parametrize("whole", WHOLE, ids=["native", "JPEG", "RLE", "deflated"])
def test_a_cut_file_is_refused(whole: bytes) -> None:
    assert refused(whole[: len(whole) * 2 // 3]).law == "undecodable"


def run_length_bomb() -> bytes:
    """A frame of 8 x 8 whose run lengths make megabytes."""
    segment = b"\x81\x00" * 500_000
    starts = struct.pack("<16I", 3, 64, 66, 68, *[0] * 12)
    return encapsulated(starts + segment, np.zeros((8, 8, 3), np.uint8), "RGB", syntax=RLE)


def nested(depth: int) -> bytes:
    """Sequences of undefined length within one another."""
    begin = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    data = native(RGB)
    return data[: data.index(b"\xe0\x7f\x10\x00OB")] + begin * depth


def claimed(length: int) -> bytes:
    data = native(RGB)
    at = data.index(b"\xe0\x7f\x10\x00OB") + 8
    return data[:at] + struct.pack("<I", length) + data[at + 4 :]


def crowded() -> bytes:
    """A million elements before the pixels."""
    data = native(RGB)
    at = data.index(b"\xe0\x7f\x10\x00OB")
    return data[:at] + b"\x55\x00\x01\x00LO\x00\x00" * 1_000_000 + data[at:]


@pytest.mark.parametrize(
    "data",
    [
        dicoms.deflated_bomb(800),
        run_length_bomb(),
        nested(5000),
        nested(500_000),
        claimed(0x7FFFFFFE),
        crowded(),
    ],
    ids=["deflated", "run lengths", "deep", "deeper", "length", "elements"],
)
def test_a_file_that_claims_much_is_refused_soon(data: bytes) -> None:
    started = time.monotonic()
    assert refused(data).law == "undecodable"
    assert time.monotonic() - started < 10


def test_pydicom_is_imported_when_the_first_dicom_is_met() -> None:
    code = (
        "import sys, tasks.intake.ingest, tasks.validation.validate, tasks.intake.deliver;"
        "print('pydicom' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "False"
