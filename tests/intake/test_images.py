"""From bytes to pixels: every kind of file that a camera, a scanner or an accident leaves."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from cykooz_resizer import CpuExtensions, ResizeOptions, Resizer
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.intake import images
from tasks.intake.images import (
    FORMATS,
    PACKING,
    SHRINKING,
    Decoded,
    Opened,
    Refused,
    _opened_any,
    _opened_plain_jpeg,
    decode,
    described,
    squeezed,
)
from tasks.lesions import IMAGE_SUFFIXES

PACKED = 48


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def half_red_half_blue(width: int = 96, height: int = 64) -> Image.Image:
    """Red above, blue below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, :, 0] = 200
    pixels[height // 2 :, :, 2] = 200
    return Image.fromarray(pixels)


def decoded(data: bytes) -> Decoded:
    result = decode(data, packed_px=PACKED, maximum_megapixels=64)
    assert isinstance(result, Decoded), result
    return result


def refused(data: bytes, megapixels: int = 64) -> Refused:
    result = decode(data, packed_px=PACKED, maximum_megapixels=megapixels)
    assert isinstance(result, Refused)
    return result


def as_opened(found: Opened | Refused | None) -> Decoded:
    assert isinstance(found, Opened)
    return described(found, PACKED)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_an_image_becomes_a_square_of_its_own_colours(kind: str) -> None:
    result = decoded(encoded(half_red_half_blue(), kind))
    assert result.pixels.shape == (PACKED, PACKED, 3)
    assert result.pixels.dtype == np.uint8
    assert (result.width, result.height, result.format) == (96, 64, kind)
    assert result.pixels[4, 24].astype(int) == pytest.approx([200, 0, 0], abs=12)
    assert result.pixels[-4, 24].astype(int) == pytest.approx([0, 0, 200], abs=12)


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGBA", "LA", "1", "LAB"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    if mode == "LA":
        image = half_red_half_blue().convert("L").convert("LA")
    elif mode == "LAB":
        image = Image.new("LAB", (96, 64), (128, 128, 128))
    else:
        image = half_red_half_blue().convert(mode)
    kind = "TIFF" if mode in ("CMYK", "LAB") else "PNG"
    result = decoded(encoded(image, kind))
    assert result.mode in (mode, "RGB")
    assert result.pixels.shape == (PACKED, PACKED, 3)


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    result = decoded(encoded(half_red_half_blue().convert("CMYK"), "JPEG", quality=95))
    assert result.mode == "CMYK"
    assert result.pixels[4, 24].astype(int) == pytest.approx([200, 0, 0], abs=12)


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped() -> None:
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    result = decoded(encoded(Image.fromarray(grey)))
    assert result.mode.startswith("I")
    assert result.pixels.min() < 8
    assert result.pixels.max() > 247
    assert np.median(result.pixels) == pytest.approx(127, abs=3)


def test_a_photograph_taken_sideways_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to show"
    lying = half_red_half_blue().transpose(Image.Transpose.ROTATE_90)
    result = decoded(encoded(lying, "JPEG", exif=exif, quality=95))
    assert (result.width, result.height) == (96, 64)
    assert result.pixels[4, 24].astype(int) == pytest.approx([200, 0, 0], abs=12)


def test_the_same_pixels_have_the_same_hash_in_any_lossless_format() -> None:
    image = half_red_half_blue()
    assert decoded(encoded(image)).pixel_hash == decoded(encoded(image, "BMP")).pixel_hash
    other = image.copy()
    other.putpixel((0, 0), (201, 0, 0))
    assert decoded(encoded(other)).pixel_hash != decoded(encoded(image)).pixel_hash


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(48, 48), (96, 64), (33, 47)])
def test_both_decoders_of_a_jpeg_see_the_same_pixels(
    size: tuple[int, int], progressive: bool, subsampling: int
) -> None:
    options = {"quality": 90, "subsampling": subsampling, "progressive": progressive}
    data = encoded(noise(*size), "JPEG", **options)
    plain, any_kind = as_opened(_opened_plain_jpeg(data, 64)), as_opened(_opened_any(data, 64))
    assert (plain.pixels == any_kind.pixels).all()
    assert plain.pixel_hash == any_kind.pixel_hash
    assert (plain.thumbnail, plain.colour) == (any_kind.thumbnail, any_kind.colour)
    assert (plain.width, plain.height) == (any_kind.width, any_kind.height) == size


def test_a_jpeg_that_is_not_plain_is_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(noise(48, 48), "JPEG")
    for data in (
        encoded(noise(48, 48), "JPEG", exif=exif),
        encoded(noise(48, 48).convert("L"), "JPEG"),
        encoded(noise(48, 48).convert("CMYK"), "JPEG"),
        whole[: len(whole) // 2],
        encoded(noise(48, 48)),
    ):
        assert _opened_plain_jpeg(data, 64) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"Dear colleague,\nplease find the image attached.\n", "not that of an image"),
        (encoded(half_red_half_blue(), "JPEG")[:400], "truncated"),
        (encoded(half_red_half_blue())[:120], "truncated"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), ""),
    ],
    ids=["zero bytes", "a letter", "half a JPEG", "half a PNG", "a PNG of zeros"],
)
def test_what_is_no_whole_image_is_refused_with_a_reason(data: bytes, words: str) -> None:
    result = refused(data)
    assert result.law == "undecodable"
    assert words in result.reason.lower()
    assert "\n" not in result.reason


def test_a_huge_image_is_refused_by_its_header_and_a_smaller_one_is_not() -> None:
    huge = encoded(Image.new("1", (10_000, 10_001)))  # 100 megapixels in a few kilobytes
    result = refused(huge)
    assert result.law == "too_large"
    assert "100 megapixels" in result.reason
    assert "64" in result.reason
    assert isinstance(decode(huge, packed_px=PACKED, maximum_megapixels=101), Decoded)


@settings(max_examples=200, deadline=None)
@given(
    cut=st.integers(0, 2000), flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 255)))
)
def test_no_damage_to_a_file_ever_escapes_as_an_exception(
    cut: int, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(encoded(half_red_half_blue(), "JPEG"))
    for place, change in flips:
        data[place % len(data)] ^= change
    result = decode(bytes(data[: len(data) - cut]), packed_px=PACKED, maximum_megapixels=64)
    assert isinstance(result, Decoded | Refused)
    if not cut and not flips:  # else all could be refused
        assert isinstance(result, Decoded)


def photograph(width: int, height: int) -> np.ndarray:
    """Smooth colours with some noise, uint8 ``(height, width, 3)``."""
    random = np.random.default_rng(width)
    field = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
    smooth = np.asarray(field.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return (smooth + random.normal(0, 5, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(256, 256), (60, 40), (613, 431), (31, 180)])
def test_an_image_is_squeezed_as_pillow_does_with_lanczos(size: tuple[int, int]) -> None:
    rgb = photograph(*size)
    theirs = Image.fromarray(rgb).resize((PACKED, PACKED), Image.Resampling.LANCZOS)
    apart = np.abs(squeezed(rgb, PACKED, PACKING).astype(int) - np.asarray(theirs))
    assert apart.max() <= 4  # where Lanczos overshoots most
    assert apart.mean() < 0.3
    rough = Image.fromarray(rgb).resize((PACKED, PACKED), Image.Resampling.NEAREST)
    assert np.abs(np.asarray(rough).astype(int) - np.asarray(theirs)).mean() > 1


@pytest.mark.parametrize("options", [PACKING, SHRINKING], ids=["packing", "shrinking"])
def test_a_large_image_is_squeezed_in_strips_to_the_same_bytes(
    options: ResizeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = photograph(251, 173)
    whole = squeezed(rgb, PACKED, options)
    for strip_bytes in (1, 3 * 173 * 7, 3 * 173 * 250):
        monkeypatch.setattr(images, "STRIP_BYTES", strip_bytes)
        assert (squeezed(rgb, PACKED, options) == whole).all()
    # Sideways first would be rounded in another order.
    sideways = images._resized(rgb, PACKED, len(rgb), options)
    assert (images._resized(sideways, PACKED, PACKED, options) != whole).any()


@pytest.mark.parametrize(
    ("orientation", "plain"), [(None, True), (1, True), (6, False), (9, False)]
)
def test_a_camera_that_says_upright_leaves_a_jpeg_plain(
    orientation: int | None, plain: bool
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    if orientation:
        exif[0x0112] = orientation
    data = encoded(noise(60, 40), "JPEG", exif=exif)
    result = _opened_plain_jpeg(data, 64)
    assert (result is not None) == plain
    if plain:
        assert as_opened(result).pixel_hash == as_opened(_opened_any(data, 64)).pixel_hash


def test_the_thumbnail_is_that_of_the_whole_grey_image() -> None:
    rgb = photograph(256, 256)
    grey = Image.fromarray(rgb).convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    result = decode(encoded(Image.fromarray(rgb)), packed_px=180, maximum_megapixels=64)
    assert isinstance(result, Decoded)
    ours = np.frombuffer(result.thumbnail, np.uint8).reshape(32, 32).astype(int)
    assert np.abs(ours - np.asarray(grey)).mean() < 1
    assert result.colour == pytest.approx(rgb.mean(axis=(0, 1)), abs=1)


@pytest.mark.parametrize("options", [PACKING, SHRINKING], ids=["packing", "shrinking"])
def test_any_instructions_of_a_processor_resize_to_the_same_bytes(
    options: ResizeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain(Resizer):
        def __init__(self) -> None:
            super().__init__()
            self.cpu_extensions = CpuExtensions.none

    rgb = photograph(256, 200)
    fast = squeezed(rgb, PACKED, options)
    monkeypatch.setattr(images, "Resizer", Plain)
    assert (squeezed(rgb, PACKED, options) == fast).all()


def test_what_turns_a_jpeg_is_looked_for_in_its_head_alone() -> None:
    plain = encoded(Image.fromarray(photograph(96, 64)), "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.fromarray(photograph(96, 64)), "JPEG", exif=exif)
    assert images._is_marked(turned)
    assert not images._is_marked(plain)
    assert not images._is_marked(plain + b"Exif")
    # A head that is not understood is searched to its end.
    assert images._is_marked(plain[:2] + b"odd" + plain[2:] + b"Exif")
    assert not images._is_marked(plain[:2] + b"odd" + plain[2:])


# Programs that Pillow starts, or has started, for what it finds in a file.
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) show\nshowpage\n%%EOF\n"
OLE = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
FOREIGN = {
    "eps": EPS,
    "eps after a binary head": b"\xc5\xd0\xd3\xc6" + (32).to_bytes(4, "little")
    + len(EPS).to_bytes(4, "little") + bytes(20) + EPS,
    "ps": EPS.replace(b" EPSF-3.0", b""),
    "pdf": b"%PDF-1.4\n%%EOF\n",
    "ole, of FPX and MIC": OLE,
    "wmf": b"\xd7\xcd\xc6\x9a\x00\x00" + bytes(40),
    "emf": b"\x01\x00\x00\x00" + bytes(36) + b" EMF" + bytes(60),
    "ppm": encoded(Image.new("RGB", (8, 8)), "PPM"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_format_is_refused_by_the_formats_that_are_accepted(kind: str) -> None:
    said = refused(FOREIGN[kind]).reason
    known = {"pdf": "a PDF: export its picture", "ppm": "a portable pixmap: export it"}
    told = f"{known[kind]} as PNG" if kind in known else "not that of an image"
    read = "JPEG, PNG, BMP, TIFF, WEBP, GIF, JPEG2000, AVIF, HEIF are read"
    assert said == f"the content is {told} ({read})"


@pytest.mark.parametrize(("kind", "loss"), [("GIF", 6), ("JPEG2000", 0), ("AVIF", 3), ("HEIF", 3)])
def test_what_phones_and_archives_write_is_read_by_content(kind: str, loss: int) -> None:
    pillow_heif.register_heif_opener()
    image = half_red_half_blue()
    result = decoded(encoded(image, kind))
    assert result.format == kind
    packed = decoded(encoded(image, "PNG")).pixels.astype(int)
    assert abs(result.pixels.astype(int) - packed).mean() <= loss
    if kind == "GIF":
        two = encoded(image, "GIF", save_all=True, append_images=[Image.new("RGB", image.size)])
        assert "2 pictures" in refused(two).reason


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [True, False])
def test_a_jpeg_that_was_closed_early_or_holds_zeros_is_refused(
    mode: str, progressive: bool
) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (96, 96, 3), np.uint8)
    whole = encoded(Image.fromarray(noise).convert(mode), "JPEG", progressive=progressive)
    assert decoded(whole).mode == mode
    half = len(whole) // 2
    for damaged in (
        whole[:half] + b"\xff\xd9",
        whole[:half] + bytes(len(whole) - half),
        whole[:half] + bytes(400) + whole[half + 400 :],
    ):
        assert refused(damaged).law == "undecodable"


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_grey_of_few_bits_in_sixteen_is_scaled_by_its_own_range(bits: int) -> None:
    white = 2**bits - 1
    grey = np.full((48, 48), white // 2, np.uint16)
    grey[:24] = white
    result = decoded(encoded(Image.fromarray(grey), "PNG"))
    assert result.pixels[0, 0].tolist() == [255, 255, 255]
    assert result.pixels[-1, 0, 0] in (127, 128)


DECODING = """
import io, sys
from pathlib import Path
from PIL import Image
from tasks.intake.images import decode
for path in sorted(Path(sys.argv[1]).iterdir()):
    if sys.argv[2] == "product":
        print(decode(path.read_bytes(), packed_px=48, maximum_megapixels=64))
    else:
        try:
            Image.open(path).load()
        except Exception as error:
            print(repr(error))
"""


def test_no_file_makes_the_decoder_start_a_program(tmp_path: Path) -> None:
    programs, files, mark = tmp_path / "bin", tmp_path / "files", tmp_path / "started"
    programs.mkdir()
    files.mkdir()
    for name in ("gs", "gswin32c", "gswin64c", "djpeg", "cjpeg"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >>{mark}\nexit 1\n")
        (programs / name).chmod(0o755)
    for kind, data in FOREIGN.items():
        (files / f"{kind}.jpg").write_bytes(data)

    def decode_by(whom: str) -> None:
        subprocess.run(
            [sys.executable, "-c", DECODING, str(files), whom],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            check=True,
            capture_output=True,
        )

    decode_by("product")
    assert not mark.exists()
    decode_by("pillow alone")  # the trap works
    assert "gs" in mark.read_text()


def test_every_suffix_that_is_accepted_is_of_a_format_that_is_opened() -> None:
    Image.init()
    named = {Image.EXTENSION[suffix] for suffix in IMAGE_SUFFIXES if suffix in Image.EXTENSION}
    assert named - {"HEIF"} <= set(FORMATS)
    for kind in FORMATS:
        assert decoded(encoded(half_red_half_blue(), kind)).format == kind
