"""A file whose name holds the id of another is tied to it, and no other file is."""

import pandas as pd
import pytest

from tasks.intake.derived_names import derived_from, in_words
from tasks.lesions import image_id_from

UUID = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
HASH = "0123456789abcdef0123456789abcdef"


def tied(*names: str) -> list[tuple[str, str]]:
    rows = pd.DataFrame({"key": names, "image_id": [image_id_from(name) for name in names]})
    return list(derived_from(rows).itertuples(index=False, name=None))


@pytest.mark.parametrize(
    "name",
    [
        *(f"nevus_original_m7.jpg_{UUID}.jpg", f"m7_jpg.rf.{HASH}.jpg", "m7_0_1234.jpg"),
        *("m7_aug_3.png", "m7_flip.jpg", "m7_rot90.jpg", "m7-hflip_rot180.jpg", "M7_FLIP_LR.JPG"),
        *("m7-edited.jpg", "m7_resized.png", "m7_greyscale.png"),
        *("m7 copy.jpg", "m7 copy 2.jpg", "m7_copy.jpg", "m7 - Copy (2).jpg", "m7 - Kopie.jpg"),
    ],
)
def test_a_copy_is_tied_to_its_original(name: str) -> None:
    assert tied(name, "m7.jpg", "m8.jpg") == [(name, "m7.jpg")]


@pytest.mark.parametrize(
    "name",
    [
        "m7b.jpg",
        "m77.jpg",
        "original_of_m7.jpg",
        "m8_0_1234.jpg",
        "flip.jpg",
        "m7_1.jpg",
        "m7copy.jpg",
    ],
)
def test_a_name_that_only_resembles_another_is_not(name: str) -> None:
    assert tied(name, "m7.jpg") == []


def test_copies_without_their_original_are_tied_to_each_other_if_their_names_are_clear() -> None:
    assert tied("x_aug_1.jpg", "x_aug_2.jpg", "y_aug_1.jpg") == [("x_aug_2.jpg", "x_aug_1.jpg")]
    assert tied("x_1_10.jpg", "x_1_11.jpg") == []


def test_no_files_have_no_copies() -> None:
    assert derived_from(pd.DataFrame({"key": [], "image_id": []})).empty


def test_a_reading_tells_of_copies_and_of_nothing_else() -> None:
    names = ["m7.jpg", "m8.jpg", "m7_aug_1.jpg", f"nevus_original_m8.jpg_{UUID}.jpg"]
    rows = pd.DataFrame({"key": names, "image_id": [image_id_from(name) for name in names]})
    assert in_words(rows).startswith(
        "2 images are named as copies that a program made, such as m7_aug_1 of m7"
    )
    assert in_words(rows[:3]).startswith("1 image is named as a copy")
    assert in_words(rows[:2]) == ""


def test_an_original_that_was_delivered_before_is_known_too() -> None:
    rows, before = (
        pd.DataFrame({"key": [name], "image_id": [image_id_from(name)]})
        for name in ("m7_0_1234.jpg", "m7.jpg")
    )
    assert in_words(rows) == ""
    assert in_words(rows, before).startswith("1 image is named as a copy")
    assert in_words(before, rows) == ""
