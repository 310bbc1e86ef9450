"""Encoding: how a file was made, by its head."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from tasks.intake.encoding import encoding_and_camera


def saved(kind: str = "JPEG", make: str = "", model: str = "", **options: Any) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = make, model
    pixels = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind, exif=exif if make or model else b"", **options)
    return file.getvalue()


@given(st.integers(1, 100))
def test_the_quality_that_a_jpeg_was_saved_with_is_read(quality: int) -> None:
    assert encoding_and_camera(saved(quality=quality))[0] == f"quality {quality}, 4:2:0"


@pytest.mark.parametrize(("sampling", "words"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_how_colours_were_sampled_is_read(sampling: int, words: str) -> None:
    assert encoding_and_camera(saved(quality=90, subsampling=sampling))[0] == f"quality 90, {words}"


def test_another_table_than_the_standards_has_a_name_of_its_own() -> None:
    ones = saved(qtables=[[7] * 64, [9] * 64], subsampling=0)
    others = saved(qtables=[[8] * 64, [9] * 64], subsampling=0)
    first, second = (encoding_and_camera(each)[0] for each in (ones, others))
    assert first.startswith("tables ")
    assert second.startswith("tables ")
    assert first != second
    assert encoding_and_camera(ones)[0] == first


def test_a_progressive_jpeg_is_told_from_a_plain_one() -> None:
    assert encoding_and_camera(saved(quality=80, progressive=True))[0].endswith("progressive")
    assert "progressive" not in encoding_and_camera(saved(quality=80))[0]


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("NIKON   ", "E995", "NIKON E995"),
        ("Canon", "Canon PowerShot G7", "Canon PowerShot G7"),
        ("", "iPhone 15", "iPhone 15"),
        ("A\x00\x07B", "\n", "A B"),
        ("x" * 500, "y", "x" * 60),
    ],
)
def test_the_camera_is_read_without_what_is_no_word(make: str, model: str, camera: str) -> None:
    assert encoding_and_camera(saved(make=make, model=model))[1] == camera


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_what_is_no_jpeg_has_no_quality(kind: str) -> None:
    assert encoding_and_camera(saved(kind))[0] == ""


def test_what_cannot_be_read_is_told_by_nothing() -> None:
    assert encoding_and_camera(b"") == ("", "")
    assert encoding_and_camera(saved()[:30]) == ("", "")
