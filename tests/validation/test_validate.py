"""The laws of each image and class: what breaks them is quarantined, reported or refused."""

from pathlib import Path

import pytest

from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput
from tests.support.deliveries import picture, put_lesions, run_of, table_of
from tests.support.validated import count, quarantined, validated

pytestmark = pytest.mark.slow


def test_sound_data_break_no_law_and_all_is_accepted(shelf: Store) -> None:
    run, record = validated(shelf)
    broken = [finding.law for finding in record.findings if finding.count]
    assert broken == ["image_without_metadata", "lesion_not_named"]
    assert record.classes == {"dermatofibroma": 6, "melanoma": 6, "nevus": 6}
    assert record.groups == record.classes
    assert record.expectations_met == record.expectations > 5
    assert len(table_of(run, record.accepted)) == 18
    assert record.quarantined == 0


def test_an_image_id_under_two_labels_is_quarantined_wherever_it_stands(shelf: Store) -> None:
    shelf.create("raw/first/Train/nevus/ISIC_0000100.png", picture(999))
    run, record = validated(shelf)
    assert count(record, "contradictory_label") == 1
    assert quarantined(run, record, "contradictory_label") == ["ISIC_0000100.png"] * 2
    reasons = table_of(run, record.quarantine).set_index("label")
    assert "melanoma, nevus" in str(reasons.at["nevus", "reason"])
    assert str(reasons.at["nevus", "counterpart"]).endswith("melanoma/ISIC_0000100.png")


def test_the_same_pixels_under_two_labels_are_quarantined_too(shelf: Store) -> None:
    shelf.create("raw/first/Test/nevus/ISIC_0000999.png", picture(100))
    run, record = validated(shelf)
    assert count(record, "contradictory_label") == 2
    assert quarantined(run, record, "contradictory_label") == [
        "ISIC_0000100.png",
        "ISIC_0000999.png",
    ]


def test_of_two_equal_images_one_is_kept(shelf: Store) -> None:
    shelf.create("raw/first/Test/melanoma/ISIC_0000999.png", picture(100))
    run, record = validated(shelf)
    assert count(record, "duplicate_pixels") == 1
    assert quarantined(run, record, "duplicate_pixels") == ["ISIC_0000100.png"]
    assert record.classes["melanoma"] == 6


def test_undecodable_files_are_quarantined_with_their_reason(shelf: Store) -> None:
    shelf.create("raw/first/Train/melanoma/ISIC_0000001.png", picture(1)[:200])
    shelf.create("raw/first/Train/melanoma/ISIC_0000002.jpg", b"")
    shelf.create("raw/first/Train/melanoma/ISIC_0000003.jpg", b"text")
    run, record = validated(shelf)
    assert count(record, "undecodable") == 3
    table = table_of(run, record.quarantine)
    assert table["reason"].str.contains("truncated|empty|not that of an image").all()
    assert record.classes["melanoma"] == 6


def test_an_image_too_small_to_show_a_lesion_breaks_the_schema(shelf: Store) -> None:
    shelf.create("raw/first/Train/melanoma/ISIC_0000001.png", picture(1, side=20))
    run, record = validated(shelf)
    assert quarantined(run, record, "schema") == ["ISIC_0000001.png"]
    assert record.expectations_met == record.expectations - 2  # its width and its height
    assert "width = 20" in table_of(run, record.quarantine)["reason"].iloc[0]


def test_an_impossible_age_is_reported_and_quarantines_nothing(shelf: Store) -> None:
    shelf.create("raw/m/labels.csv", b"image_id,age\nISIC_0000100,430\nISIC_0000101,43\n")
    _, record = validated(shelf)
    assert count(record, "table_not_understood") == 1
    said = {each.law: each.remark for each in record.findings}
    assert (
        "age_years that are not understood and count as unknown: '430'"
        in (said["table_not_understood"])
    )
    assert record.quarantined == 0


def test_a_folder_that_is_no_class_is_quarantined_by_name(shelf: Store) -> None:
    shelf.create("raw/first/Train/warts & all/ISIC_0000001.png", picture(1))
    run, record = validated(shelf)
    assert count(record, "unknown_label") == 1
    assert "'warts & all'" in table_of(run, record.quarantine)["reason"].iloc[0]


def test_a_class_of_too_few_lesions_is_left_out_and_named(shelf: Store) -> None:
    put_lesions(shelf, "vascular lesion", range(400, 401))
    _, record = validated(shelf, minimum_groups=2)
    assert count(record, "class_not_learnable") == 1
    assert "vascular lesion" not in record.classes
    finding = next(f for f in record.findings if f.law == "class_not_learnable")
    assert finding.remark == "vascular lesion has 1 lesion left"


def test_many_images_of_one_lesion_do_not_make_a_class_learnable(shelf: Store) -> None:
    put_lesions(shelf, "vascular lesion", range(400, 405))
    rows = "".join(f"ISIC_{number:07d},same\n" for number in range(400, 405))
    shelf.create("raw/m/labels.csv", f"image_id,lesion_id\n{rows}".encode())
    _, record = validated(shelf, minimum_groups=2)
    assert "vascular lesion" not in record.classes


@pytest.mark.parametrize("diagnosis", ["melanoma", "nevus"])
def test_one_class_only_is_refused(tmp_path: Path, diagnosis: str) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, diagnosis, range(5))
    with pytest.raises(BadInput, match="Too little is left") as told:
        validated(store)
    assert diagnosis in told.value.received
    assert "at least one other of the nine classes" in told.value.expected
    assert run_of(store).record("validate") is None


def test_a_delivery_without_melanoma_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "nevus", range(5))
    put_lesions(store, "dermatofibroma", range(10, 15))
    with pytest.raises(BadInput, match="Too little is left"):
        validated(store)


def test_the_data_docs_are_kept_with_their_index_first(shelf: Store) -> None:
    run, record = validated(shelf)
    assert record.data_docs[0].key.endswith("data_docs/index.html")
    pages = b"".join(run.fetch_many(record.data_docs)).decode(errors="replace")
    assert "pixel_hash" in pages
    for finding in record.findings:
        assert finding.law in pages


def test_the_same_data_give_the_same_content_on_another_store(tmp_path: Path) -> None:
    hashes = set()
    for place in ("one", "two"):
        store = open_store(str(tmp_path / place))
        put_lesions(store, "melanoma", range(4))
        put_lesions(store, "nevus", range(10, 14))
        _, record = validated(store)
        hashes.add(record.content_hash)
    assert len(hashes) == 1
