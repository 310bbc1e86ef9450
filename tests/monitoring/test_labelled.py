"""A labelled folder: its rows find their images as those of a delivery do."""

from pathlib import Path

import pytest

from tasks.errors import BadInput
from tasks.lesions import DIAGNOSES
from tasks.monitoring.labelled import labelled
from tasks.monitoring.subject import Subject
from tests.support.deliveries import picture

MODEL = Subject("m.keras", b"", DIAGNOSES, 0.5, None, None, None, 48, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(("m00a", "m00b", "m01.a")):
        (folder / f"{name}.png").write_bytes(picture(number))
    return folder


@pytest.mark.parametrize("form", ["{}", "{}.png", "C:\\scans\\{}.PNG", "https://h.example/{}.png"])
def test_a_row_finds_its_image_by_path_address_or_case(form: str, folder: Path) -> None:
    rows = [f"{form.format(name)},nevus" for name in ("M00A", "m00b", "m01.a")]
    labels = folder.parent / "labels.csv"
    labels.write_text("\n".join(["image_id,diagnosis", *rows]))
    frame, pixels, left = labelled(folder, labels, {}, MODEL)
    assert sorted(frame["image_id"]) == ["m00a", "m00b", "m01.a"]
    assert (len(pixels), left) == (3, [])


def test_an_image_without_a_row_is_left_out_and_named(folder: Path) -> None:
    labels = folder.parent / "labels.csv"
    labels.write_text("image_id,diagnosis\nm00a,nevus\nelsewhere,nevus\n")
    frame, _, left = labelled(folder, labels, {}, MODEL)
    assert list(frame["image_id"]) == ["m00a"]
    assert sorted(each.image_id for each in left) == ["m00b.png", "m01.a.png"]
    labels.write_text("image_id,diagnosis\nelsewhere,nevus\n")
    with pytest.raises(BadInput, match="nothing to score"):
        labelled(folder, labels, {}, MODEL)
