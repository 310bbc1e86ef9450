"""A labelled folder: its rows find their images as those of a delivery do, and none gets lost."""

from pathlib import Path

import pytest

from tasks.errors import BadInput
from tasks.lesions import MELANOMA, OTHER
from tasks.monitoring.labelled import Labelled, labelled
from tests.support.deliveries import picture
from tests.support.workbooks import workbook


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(("m00a", "m00b", "m01.a")):
        (folder / f"{name}.png").write_bytes(picture(number))
    return folder


def told(
    folder: Path, *rows: str, header: str = "image_id,diagnosis", **options: object
) -> Labelled:
    labels = folder.parent / "labels.csv"
    labels.write_text("\n".join([header, *rows]))
    return labelled(folder, labels, **options)  # type: ignore[arg-type]  # by name


def kept(found: Labelled) -> dict[str, str]:
    return {row["image_id"]: row["label"] for row in found.rows}


def left(found: Labelled) -> dict[str, str]:
    return {each.image_id: each.reason for each in found.left}


# Rows find their images ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "{}.png", "C:\\scans\\{}.PNG", "https://h.example/{}.png"])
def test_a_row_finds_its_image_by_path_address_or_case(form: str, folder: Path) -> None:
    found = told(folder, *[f"{form.format(name)},nevus" for name in ("M00A", "m00b", "m01.a")])
    assert kept(found) == dict.fromkeys(("m00a", "m00b", "m01.a"), "nevus")
    assert (found.left, found.missing) == ([], ())


def test_a_name_in_two_folders_is_two_images_and_an_archives_is_one(folder: Path) -> None:
    for place in ("anna", "berta"):
        (folder / place).mkdir()
        for name in ("1.png", "ISIC_0000007.png"):
            (folder / place / name).write_bytes(picture(len(place)))
    found = told(folder, "anna/1.png,melanoma", "berta/1.png,nevus", "ISIC_0000007,nevus")
    assert kept(found) == {"anna/1": MELANOMA, "berta/1": "nevus", "ISIC_0000007": "nevus"}
    assert len(found.rows) == 4
    with pytest.raises(BadInput, match="Melanomas of the labels have no image"):
        told(folder, "1.png,melanoma", "m00a,nevus")


@pytest.mark.parametrize("kind", ["xlsx", "semicolon", "one column each", "two columns"])
def test_tables_of_all_kinds_of_a_delivery_are_understood(kind: str, folder: Path) -> None:
    cells = (("Bild", "Diagnose"), ("m00a", "melanoma"), ("m00b", "nevus"))
    labels = folder.parent / "labels.csv"
    if kind == "xlsx":
        labels = labels.with_suffix(".xlsx")
        labels.write_bytes(workbook(cells))
    elif kind == "semicolon":
        labels.write_text("\n".join(map(";".join, cells)), encoding="utf-16")
    elif kind == "one column each":
        labels.write_text("image,MEL,NV\nm00a,1.0,0.0\nm00b,0.0,1.0\n")
    else:
        labels.write_text("image,benign_malignant,diagnosis\nm00a,malignant,melanoma\nm00b,,nv\n")
    assert kept(labelled(folder, labels)) == {"m00a": MELANOMA, "m00b": "nevus"}


def test_a_reading_beside_the_table_says_what_cannot_be_guessed(folder: Path) -> None:
    rows = ("m00a,M1", "m00b,N0")
    with pytest.raises(BadInput, match="not understood"):
        told(folder, *rows)
    (folder.parent / "reading.yaml").write_text("codes: {M1: melanoma, N0: none}\n")
    assert kept(told(folder, *rows)) == {"m00a": MELANOMA, "m00b": OTHER}


# Every row is accounted for -----------------------------------------------------------------------


def test_every_row_and_image_stands_in_one_account(folder: Path) -> None:
    rows = ("m00a,nevus", "m00a,nevus", "m00b,unknown", "gone,nevus", "lost,bkl", "off,unknown")
    found = told(folder, *rows)
    assert (found.labels.rows, found.images) == (6, 3)
    assert kept(found) == {"m00a": "nevus"}
    assert left(found) == {
        "m00b": "neither a row nor a folder names its diagnosis",
        "m01.a": "no row in labels.csv",
    }
    assert [each.file for each in found.left] == ["m00b.png", "m01.a.png"]
    assert {each.image_id: each.label for each in found.missing} == {
        "gone": "nevus", "lost": OTHER, "off": None,
    }  # fmt: skip


@pytest.mark.parametrize("label", ["melanoma", "malignant", "pumpkin"])
def test_a_melanoma_without_an_image_is_refused_by_name_unless_accepted(
    label: str, folder: Path
) -> None:
    rows = ("m00a,nevus", f"gone,{label}", "other,nevus")
    with pytest.raises(BadInput, match="Melanomas of the labels have no image") as refused:
        told(folder, *rows)
    assert "1 of 3 rows" in refused.value.received
    assert "gone" in refused.value.received
    assert "other" not in refused.value.received
    found = told(folder, *rows, accept_missing=True)
    assert [each.image_id for each in found.missing if each.may_be_melanoma] == ["gone"]


@pytest.mark.parametrize(
    "rows",
    [
        ["m00a,,nevus", "m00a,,melanoma"],
        ["m00a,,benign", "m00a,,melanoma"],
        ["m00a,L1,nevus", "m00b,L1,melanoma"],
        ["m00a,L1,nevus", "gone,L1,seborrheic keratosis"],
    ],
)
def test_rows_that_contradict_each_other_are_refused_by_name(rows: list[str], folder: Path) -> None:
    header = "image_id,lesion_id,diagnosis"
    with pytest.raises(BadInput, match="contradict each other") as refused:
        told(folder, *rows, header=header)
    assert "m00a: " in refused.value.received
    agreeing = [row.rpartition(",")[0] + ",nevus" for row in rows]
    assert "m00a" in kept(told(folder, *agreeing, header=header))


def test_rows_that_give_an_image_two_lesions_are_refused(folder: Path) -> None:
    header = "image_id,lesion_id,diagnosis"
    with pytest.raises(BadInput, match="about a lesion or patient"):
        told(folder, "m00a,L1,nevus", "m00a,L2,nevus", header=header)
    assert kept(told(folder, "m00a,L1,nevus", "m00a,L1,nevus", header=header))


def test_a_code_that_is_not_understood_is_named_with_what_would_help(folder: Path) -> None:
    rows = ("m00a,pumpkin", "m00b,pumpkin", "m01.a,nevus")
    with pytest.raises(BadInput, match="A label is not understood") as refused:
        told(folder, *rows)
    assert "pumpkin (2 images, such as m00a)" in refused.value.received
    assert '--coarse \'{"pumpkin": ' in refused.value.do
    assert kept(told(folder, *rows, coarse={"pumpkin": "nevus"}))["m00a"] == "nevus"
    assert set(left(told(folder, *rows, accept_unread=True))) == {"m00a", "m00b"}


def test_binary_labels_count_where_they_say_melanoma_or_not(folder: Path) -> None:
    found = told(folder, "m00a,melanoma", "m00b,not melanoma", "m01.a,benign")
    assert kept(found) == {"m00a": MELANOMA, "m00b": OTHER, "m01.a": OTHER}
    with pytest.raises(BadInput, match="coarser than melanoma or not") as refused:
        told(folder, "m00a,malignant", "m00b,benign")
    assert '--coarse \'{"malignant": "melanoma"}\'' in refused.value.do
    found = told(folder, "m00a,malignant", "m00b,benign", coarse={"malignant": MELANOMA})
    assert kept(found) == {"m00a": MELANOMA, "m00b": OTHER}


def test_what_of_a_table_is_not_understood_is_refused_unless_accepted(folder: Path) -> None:
    rows = ("m00a,nevus", "m00b,nevus,too many")
    with pytest.raises(BadInput, match="would not be used") as refused:
        told(folder, *rows)
    assert "line 3" in refused.value.received
    assert list(kept(told(folder, *rows, accept_unread=True))) == ["m00a"]


def test_where_nothing_is_left_it_says_so(folder: Path) -> None:
    with pytest.raises(BadInput, match="nothing to score"):
        told(folder, "elsewhere,nevus")
