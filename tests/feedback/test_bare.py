"""The files that are kept of images: the same pixels, and nothing else of the file."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.errors import BadInput
from tasks.feedback.bare import bare, without_segments
from tasks.intake.encoding import encoding_and_camera
from tasks.intake.images import Decoded, decode
from tests.support.dicoms import encapsulated, jpeg, native, photograph

SECRET = b"ANNA MEIER 1957"
DESCRIPTION, MAKE, ORIENTATION = 0x010E, 0x010F, 0x0112


def exif(turned: int = 1) -> bytes:
    told = Image.Exif()
    told[DESCRIPTION] = SECRET.decode()
    told[MAKE] = SECRET.decode()
    told[ORIENTATION] = turned
    told.get_ifd(0x8825)[1] = "N"  # of the place
    return told.tobytes()


def saved(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photograph(1)).save(buffer, kind, **options)
    return buffer.getvalue()


def of_phone() -> bytes:
    """A JPEG with a second picture behind the first, each with EXIF of its own."""
    buffer = io.BytesIO()
    second = Image.fromarray(photograph(2))
    Image.fromarray(photograph(1)).save(
        buffer, "MPO", save_all=True, append_images=[second], exif=exif(6)
    )
    return buffer.getvalue()


def png_with_words() -> bytes:
    from PIL.PngImagePlugin import PngInfo

    words = PngInfo()
    words.add_text("Comment", SECRET.decode())
    words.add_itxt("Title", SECRET.decode())
    return saved("PNG", pnginfo=words, exif=exif(3))


def seen(data: bytes) -> Decoded:
    found = decode(data, packed_px=48, maximum_megapixels=64)
    assert isinstance(found, Decoded), found
    return found


FILES = {
    "JPEG": saved("JPEG", exif=exif(), comment=SECRET),
    "turned JPEG": saved("JPEG", exif=exif(6)),
    "progressive JPEG": saved("JPEG", exif=exif(8), progressive=True),
    "JPEG with a profile": saved("JPEG", icc_profile=SECRET * 20),
    "JPEG with words behind": saved("JPEG") + SECRET,
    "JPEG of a phone": of_phone(),
    "grey JPEG": jpeg(photograph(1)[..., 0]) + SECRET,
    "PNG": png_with_words(),
    "WebP": saved("WEBP", exif=exif(6), lossless=True),
    "TIFF": saved("TIFF", description=SECRET.decode()),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_pixels_stay_and_words_go(kind: str) -> None:
    data = FILES[kind]
    assert SECRET in data
    (kept,) = bare(data, 64)

    assert SECRET not in kept.data
    assert kept.pixel_hash == seen(data).pixel_hash == seen(kept.data).pixel_hash
    assert (seen(kept.data).pixels == seen(data).pixels).all()
    assert kept.suffix == (".jpg" if "JPEG" in kind else ".png")


def test_nothing_of_exif_stays_but_the_orientation() -> None:
    (turned,), (upright,) = bare(FILES["turned JPEG"], 64), bare(FILES["JPEG"], 64)
    with Image.open(io.BytesIO(turned.data), formats=("JPEG",)) as image:
        assert dict(image.getexif()) == {ORIENTATION: 6}
    assert b"Exif" not in upright.data


def test_the_settings_of_the_encoder_stay() -> None:
    data = jpeg(photograph(3), quality=71, exif=exif())
    (kept,) = bare(data, 64)

    assert encoding_and_camera(kept.data) == ("quality 71, 4:2:0", "")
    assert encoding_and_camera(data)[1] != ""  # the camera is a word of EXIF


@pytest.mark.parametrize("frames", [1, 3])
def test_each_frame_of_a_dicom_is_a_png_without_tags(frames: int) -> None:
    shown = [photograph(number) for number in range(frames)]
    inside = [jpeg(each) for each in shown]
    for data in (
        native(shown, PatientName=SECRET.decode()),
        encapsulated(inside, shown[0], PatientName=SECRET.decode()),
    ):
        kept = bare(data, 64)
        assert [each.suffix for each in kept] == [".png"] * frames
        assert not any(SECRET in each.data for each in kept)
    assert [seen(each.data).pixel_hash for each in kept] == [seen(e).pixel_hash for e in inside]


@given(st.integers(4, 96), st.integers(1, 8), st.binary(max_size=60))
@settings(max_examples=40, deadline=None)
def test_any_jpeg_keeps_its_pixels(side: int, turned: int, behind: bytes) -> None:
    shown = np.random.default_rng(side).integers(0, 256, (side, side + 3, 3), np.uint8)
    data = jpeg(shown, exif=exif(turned), comment=SECRET, restart_marker_rows=1) + behind
    (kept,) = bare(data, 64)

    assert kept.pixel_hash == seen(data).pixel_hash
    assert SECRET not in kept.data
    assert kept.data.endswith(b"\xff\xd9")


@pytest.mark.parametrize("cut", [3, 20, 200, -1])
def test_a_jpeg_that_is_cut_is_not_walked_through(cut: int) -> None:
    with pytest.raises((ValueError, OSError)):
        without_segments(FILES["JPEG"][:cut])


def test_what_is_no_image_or_too_large_is_refused() -> None:
    for data, megapixels in ((b"no image", 64), (jpeg(photograph(1, 2000, 1200)), 1)):
        with pytest.raises(BadInput, match="cannot be kept"):
            bare(data, megapixels)
