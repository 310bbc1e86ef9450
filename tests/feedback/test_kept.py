"""What is kept of a lesion: whole, found by its number, and gone when it is removed."""

from typing import Any

import pytest

from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt, Momentary, NotFound
from tasks.feedback.kept import FOLDER, image_of, remove, review_of, waiting, waiting_in
from tests.support.feedback import diagnosed, files, kept, number_of
from tests.support.stores import keys, on_a_directory, on_real_stores


@on_real_stores
def test_a_lesion_is_found_with_its_images(store: Store) -> None:
    first, second = kept(store, 2, images=2), kept(store, 1)
    found = waiting(store, first)

    assert [each.kept.lesion for each in waiting_in(store)] == [second, first]  # by their time
    assert [image_of(store, found, each.name) for each in found.kept.images] == [
        each.data for each in files(2, 2)
    ]
    assert found.diagnosed is None
    remove(store, first)
    assert keys(store, f"{FOLDER}{first}") == []
    assert [each.kept.lesion for each in waiting_in(store)] == [second]


@on_real_stores
def test_a_later_diagnosis_counts_and_the_earlier_one_stays(store: Store) -> None:
    lesion = kept(store, 1)
    diagnosed(store, lesion, "nevus", "single image expert consensus")
    diagnosed(store, lesion, "melanoma")
    found = waiting(store, lesion)

    assert [each.diagnosis for each in found.diagnoses] == ["nevus", "melanoma"]
    assert found.diagnosed == found.diagnoses[1]


@on_a_directory
@pytest.mark.parametrize("number", ["", "../../raw", "0" * 16, "A" * 16, "0" * 16 + "/x"])
def test_an_unknown_number_names_nothing(store: Store, number: str) -> None:
    kept(store, 1)
    with pytest.raises(NotFound, match="No images of this lesion"):
        waiting(store, number)


@on_a_directory
@pytest.mark.parametrize("proof", ["single image expert consensus", "histopathology"])
def test_a_melanoma_is_proven_by_histopathology_alone(store: Store, proof: str) -> None:
    lesion = kept(store, 1)
    if proof == "histopathology":
        diagnosed(store, lesion, "melanoma", proof)
        return
    with pytest.raises(BadInput, match="does not prove a melanoma"):
        diagnosed(store, lesion, "melanoma", proof)
    assert waiting(store, lesion).diagnosed is None


@on_a_directory
@pytest.mark.parametrize("name", ["lesion.json", "1.jpg", "diagnosis-01.json"])
def test_a_changed_file_is_found(store: Store, name: str) -> None:
    lesion = kept(store, 1)
    diagnosed(store, lesion)
    key = f"{FOLDER}{lesion}/{name}"
    store.replace(key, store.read(key)[:-3])
    with pytest.raises(Corrupt, match=r"as the app wrote it"):
        image_of(store, waiting(store, lesion), "1.jpg")


@on_a_directory
def test_a_file_about_another_lesion_is_found(store: Store) -> None:
    first, second = kept(store, 1), kept(store, 2)
    told = store.read(f"{FOLDER}{first}/lesion.json")
    store.replace(f"{FOLDER}{second}/lesion.json", told)
    with pytest.raises(Corrupt):
        waiting_in(store)
    assert waiting(store, first).kept.lesion == first
    found = review_of(store)  # the others are not hidden
    assert [each.kept.lesion for each in found.waiting] == [first]
    assert list(found.damaged) == [second]


@on_a_directory
def test_a_diagnosis_that_comes_too_late_is_told_and_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesion = kept(store, 1)
    create = type(store).create

    def late(self: Any, key: str, data: bytes) -> None:
        remove(store, lesion)  # a reviewer is faster
        create(self, key, data)

    monkeypatch.setattr(type(store), "create", late)
    with pytest.raises(NotFound, match="No images of this lesion"):
        diagnosed(store, lesion)
    assert keys(store) == []


@on_a_directory
def test_what_cannot_be_kept_whole_is_not_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = type(store).create

    def full(self: Any, key: str, data: bytes) -> None:
        if key.endswith("2.jpg"):
            raise Momentary("The disk is full.")
        create(self, key, data)

    monkeypatch.setattr(type(store), "create", full)
    with pytest.raises(Momentary):
        kept(store, 1, images=3)
    assert keys(store) == []
    assert kept(store, 2) == number_of(2)
