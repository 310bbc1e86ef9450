"""How many labelled lesions were delivered since a run."""

import json

import pytest

from tasks.engine.person import Person
from tasks.engine.store import Store
from tasks.engine.withdrawals import withdraw
from tasks.monitoring.new_labels import new_labelled_lesions
from tests.support.deliveries import picture

PERSON = Person(name="anna", how="command line", authenticated=False)


def put(store: Store, *keys: str) -> None:
    for number, key in enumerate(keys):
        store.create(f"raw/{key}", picture(number))


@pytest.fixture
def run(store: Store) -> str:
    """A run that had one image."""
    put(store, "first/nevus/ISIC_0000001.jpg")
    listed = [{"key": entry.key} for entry in store.list("raw/")]
    store.create("runs/first/raw.json", json.dumps(listed).encode())
    return "first"


def test_new_images_in_folders_of_a_diagnosis_count(store: Store, run: str) -> None:
    assert new_labelled_lesions(store, run) == 0
    put(store, "second/melanoma/ISIC_0000002.jpg", "second/nevus/ISIC_0000003.jpg")
    put(store, "second/unsorted/ISIC_0000004.jpg")  # nobody says what it is

    assert new_labelled_lesions(store, run) == 2


def test_a_table_gives_labels_and_joins_the_images_of_a_lesion(store: Store, run: str) -> None:
    put(store, *(f"second/images/ISIC_000000{number}.jpg" for number in (2, 3, 4, 5)))
    rows = ["image_id,lesion_id,dx", "ISIC_0000002,L1,mel", "ISIC_0000003,L1,mel"]
    rows += ["ISIC_0000004,L2,nv", "ISIC_0000009,L3,nv"]
    store.create("raw/second/images.csv", "\n".join(rows).encode())

    assert new_labelled_lesions(store, run) == 2  # one image has no row, one row has no image


def test_what_was_withdrawn_does_not_count(store: Store, run: str) -> None:
    put(store, "second/melanoma/ISIC_0000002.jpg", "second/melanoma/ISIC_0000003.jpg")
    withdraw(store, PERSON, "a wrong label", files=["raw/second/melanoma/ISIC_0000002.jpg"])

    assert new_labelled_lesions(store, run) == 1


def test_of_a_run_that_wrote_no_list_it_is_not_known(store: Store) -> None:
    put(store, "second/melanoma/ISIC_0000002.jpg")

    assert new_labelled_lesions(store, "gone") is None
