"""External sets are delivered, corrected and withdrawn like everything else, and lie apart."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tasks.engine.deliveries import Delivery, facts_in
from tasks.engine.person import Person
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.engine.withdrawals import withdraw
from tasks.errors import BadInput
from tasks.intake.cells import spelling
from tasks.intake.deliver import deliver
from tasks.intake.manifest import read_parquet
from tests.support.deliveries import do, picture, put_lesions, run_of

SOMEONE = Person(name="ada", how="command line", authenticated=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "clinic"
    for number, label in enumerate(("melanoma", "nevus", "benign")):
        (images / label).mkdir(parents=True)
        (images / label / f"B{number}.png").write_bytes(picture(500 + number))
    (images / "labels.csv").write_text("image_id,lesion_id\nB0,L0\nB1,L1\nB2,L2\nB9,L9\n")
    return images


def test_a_set_lies_under_its_own_name_and_raw_holds_nothing_of_it(
    store: Store, folder: Path
) -> None:
    put_lesions(store, "melanoma", range(2))
    assert deliver(store, folder, external="clinic-b") == 4
    keys = {entry.key for entry in store.list("external/")}
    assert keys == {
        "external/clinic-b/melanoma/B0.png", "external/clinic-b/nevus/B1.png",
        "external/clinic-b/benign/B2.png", "external/clinic-b/labels.csv",
    }  # fmt: skip
    (fact,) = facts_in(store)
    assert isinstance(fact, Delivery)
    assert set(fact.keys) == keys
    run = run_of(store)
    record = do(run, "ingest")
    assert record.files == 2
    (there,) = record.external
    assert (there.name, there.files, there.decoded) == ("clinic-b", 3, 3)
    assert (there.rows_without_image, there.rows_without_image_examples) == (1, ("B9",))
    manifest = read_parquet(run, there.manifest)
    assert list(manifest["lesion_id"]) == ["L2", "L0", "L1"]
    assert list(manifest["label"].fillna("")) == ["", "melanoma", "nevus"]


def test_a_run_keeps_to_the_sets_of_its_beginning(tmp_path: Path, folder: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(2))
    run = run_of(store)
    assert run.delivered()
    deliver(store, folder, external="late")
    assert do(run, "ingest").external == ()
    assert [each.name for each in do(run_of(store, "next"), "ingest").external] == ["late"]


def test_an_unchanged_set_is_neither_fetched_nor_decoded_again(
    tmp_path: Path, folder: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(2))
    deliver(store, folder, external="clinic-b")
    first = do(run_of(store, "first"), "ingest")
    put_lesions(store, "nevus", range(10, 12))
    second = do(run_of(store, "second"), "ingest")
    assert (first.fetched, second.fetched) == (5, 2)
    assert second.external[0].manifest.sha256 == first.external[0].manifest.sha256


@pytest.mark.parametrize("name", ["", "Clinic B", "../raw", "a/b", "x" * 64, "clinic@2"])
def test_a_name_that_no_key_or_report_could_hold_is_refused(
    name: str, tmp_path: Path, folder: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(BadInput, match="no name for an external set"):
        deliver(store, folder, external=name)
    assert list(store.list("")) == []


def test_a_corrected_table_replaces_and_a_withdrawn_image_is_left_out(
    tmp_path: Path, folder: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(2))
    deliver(store, folder, external="clinic-b")
    (folder / "labels.csv").write_text("image_id,lesion_id\nB0,M0\nB1,L1\nB2,L2\n")
    with pytest.raises(BadInput, match="stands under this name already"):
        deliver(store, folder, external="clinic-b")
    deliver(store, folder, external="clinic-b", replace=True)
    withdraw(store, SOMEONE, "consent", files=["external/clinic-b/nevus/B1.png"])
    run = run_of(store)
    record = do(run, "ingest")
    (there,) = record.external
    assert there.name == "clinic-b"
    manifest = read_parquet(run, there.manifest).set_index("image_id")
    assert manifest["lesion_id"].to_dict() == {"B0": "M0", "B2": "L2"}
    assert [each.files for each in there.reading.withdrawn] == [1, 1]
    listed = json.loads(store.read("runs/test/raw.json"))
    assert "external/clinic-b/nevus/B1.png" not in {each["key"] for each in listed}


def test_what_was_withdrawn_from_raw_may_become_an_external_set(
    tmp_path: Path, folder: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    deliver(store, folder)
    withdraw(store, SOMEONE, "it should judge, not teach", delivery="clinic", files=[])
    assert deliver(store, folder, external="clinic") == 4


def test_a_set_without_an_image_ends_no_run(tmp_path: Path, folder: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(2))
    deliver(store, folder, external="clinic-b")
    images = [e.key for e in store.list("external/") if e.key.endswith(".png")]
    withdraw(store, SOMEONE, "consent", files=images)
    record = do(run_of(store), "ingest")
    assert [(each.files, each.rows_without_image) for each in record.external] == [(0, 4)]


@pytest.mark.parametrize(
    "key", ["external/pic.png", "external/Clinic B/nevus/1.png", "external/@x/nevus/1.png"]
)
def test_a_name_that_came_past_deliver_is_not_used_and_told(key: str, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(2))
    store.create(key, picture(77))
    record = do(run_of(store), "ingest")
    assert record.external == ()
    assert key in record.ignored


def test_a_set_that_is_withdrawn_as_a_whole_is_told(tmp_path: Path, folder: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(2))
    deliver(store, folder, external="clinic-b")
    withdraw(store, SOMEONE, "a bad look", delivery="external/clinic-b", files=[])
    record = do(run_of(store), "ingest")
    assert record.external == ()
    (told,) = record.reading.withdrawn
    assert (told.reason, told.files) == ("a bad look", 4)


@pytest.mark.parametrize("own", [None, "M7"])
def test_a_table_of_a_set_may_name_the_lesion_of_an_image_under_raw(
    own: str | None, tmp_path: Path, folder: Path
) -> None:
    """Both images show one lesion then, whatever name it has under ``raw/``."""
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(2))
    if own:
        store.create("raw/first/own.csv", b"image_id,lesion_id\nISIC_0000001,M7\n")
    (folder / "labels.csv").write_text("image_id,lesion_id\nB0,L0\nisic-0000001,l0\nB1,L1\n")
    deliver(store, folder, external="clinic-b")
    run = run_of(store)
    record = do(run, "ingest")
    raw, there = (
        read_parquet(run, each).set_index("image_id")["lesion_id"].to_dict()
        for each in (record.manifest, record.external[0].manifest)
    )
    assert spelling(raw["ISIC_0000001"]) == spelling(there["B0"]) == spelling(own or "L0")
    assert there["B1"] == "L1"
    assert pd.isna(raw["ISIC_0000000"])


def test_a_name_that_cameras_write_names_no_image_of_another_place(
    tmp_path: Path, folder: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    store.create("raw/first/melanoma/IMG_0001.png", picture(1))
    (folder / "labels.csv").write_text("image_id,lesion_id\nB0,L0\nIMG_0001,L0\n")
    deliver(store, folder, external="clinic-b")
    run = run_of(store)
    assert read_parquet(run, do(run, "ingest").manifest)["lesion_id"].isna().all()


def test_a_table_for_which_nobody_answers_changes_no_label(tmp_path: Path, folder: Path) -> None:
    """Until somebody delivers the table."""
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(2))
    deliver(store, folder, external="clinic-b")
    (folder / "more.csv").write_text("image_id,diagnosis\nB2,melanoma\n")
    key = "external/clinic-b/more.csv"
    store.create(key, (folder / "more.csv").read_bytes())
    said = []
    for name in ("first", "second"):
        run = run_of(store, name)
        (there,) = do(run, "ingest").external
        codes = read_parquet(run, there.manifest).set_index("image_id")["archive_diagnosis"]
        said.append((key in there.ignored, key in there.reading.unread, bool(codes["B2"])))
        deliver(store, folder, external="clinic-b")
    assert said == [(True, True, False), (False, False, True)]
