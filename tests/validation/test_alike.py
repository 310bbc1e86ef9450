"""Files that look alike: copies contradict each other, photographs of one lesion do not."""

import io

import pytest
from PIL import Image

from tasks.engine.deliveries import note_delivery
from tasks.engine.person import person_here
from tasks.engine.store import Store
from tests.support.copies import COPIES
from tests.support.deliveries import table_of
from tests.support.skin import lesion, photographed_again
from tests.support.validated import count, quarantined, validated

pytestmark = pytest.mark.slow

crop = COPIES["cropped"]["8 % a side"]
FILES = ["ISIC_0000700.png", "ISIC_0000701.png"]


def put(store: Store, folder: str, number: int, picture: Image.Image) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    store.create(f"{folder}/ISIC_{number:07d}.png", buffer.getvalue())


@pytest.mark.parametrize("other", ["nevus", "melanoma"])
def test_a_copy_under_another_label_is_quarantined_with_its_original(
    shelf: Store, other: str
) -> None:
    put(shelf, "raw/first/Train/melanoma", 700, lesion(1))
    put(shelf, f"raw/first/Train/{other}", 701, crop(lesion(1)))
    run, record = validated(shelf, packed_size=180)
    torn = other == "nevus"
    assert count(record, "near_duplicate") == 1
    assert count(record, "contradictory_copy") == torn
    if torn:
        assert quarantined(run, record, "contradictory_copy") == FILES
        told = list(table_of(run, record.quarantine)["reason"].str.partition(", but ")[2])
        assert "a copy of ISIC_0000701 under nevus" in told
    else:
        assert record.quarantined == 0


def test_a_second_photograph_is_linked_and_never_quarantined(shelf: Store) -> None:
    put(shelf, "raw/first/Train/melanoma", 700, lesion(1))
    put(shelf, "raw/first/Train/nevus", 701, photographed_again(lesion(1)))
    run, record = validated(shelf, packed_size=180)
    assert count(record, "same_lesion_by_look") == 1
    assert count(record, "near_duplicate") == count(record, "contradictory_copy") == 0
    assert record.quarantined == 0
    rows = table_of(run, record.accepted).set_index("image_id")["near_duplicate"].dropna()
    assert rows["ISIC_0000700"] == rows["ISIC_0000701"]


def test_a_copy_in_an_external_set_leaves_it_and_another_lesion_does_not(shelf: Store) -> None:
    put(shelf, "raw/first/Train/melanoma", 700, lesion(1))
    put(shelf, "external/b/melanoma", 800, crop(lesion(1)))
    put(shelf, "external/b/nevus", 801, lesion(2))
    note_delivery(shelf, person_here(), [entry.key for entry in shelf.list("external/")])
    run, record = validated(shelf, packed_size=180)
    (kept,) = record.external
    assert list(table_of(run, kept.kept)["image_id"]) == ["ISIC_0000801"]
    assert sum(kept.reasons.values()) == 1


def test_a_copy_by_its_name_is_told_and_tied_to_its_original(shelf: Store) -> None:
    put(shelf, "raw/first/Train/nevus", 700, lesion(1))
    put(shelf, "elsewhere", 701, lesion(2))
    data = shelf.read("elsewhere/ISIC_0000701.png")
    shelf.create("raw/first/Train/nevus/ISIC_0000700_flip.png", data)
    run, record = validated(shelf, packed_size=180)
    assert count(record, "derived_copy") == 1
    assert record.quarantined == 0
    rows = table_of(run, record.accepted).set_index("image_id")["near_duplicate"].dropna()
    assert set(rows.index) == {"ISIC_0000700", "ISIC_0000700_flip"}
    assert rows.nunique() == 1
