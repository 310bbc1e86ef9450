"""ingest: everything under raw/ is described, once."""

from pathlib import Path

import pandas as pd
import pytest

from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput, Momentary
from tasks.intake import contents, images
from tasks.intake import ingest as ingesting
from tasks.intake.images import Decoded, Refused
from tasks.intake.manifest import pixels_of
from tasks.lesions import Code
from tests.support.deliveries import do, picture, put_lesions, run_of, table_of
from tests.support.servers import S3Server


def test_every_file_is_described_and_its_pixels_packed(store: Store) -> None:
    put_lesions(store, "melanoma", range(3))
    put_lesions(store, "nevus", range(3, 5), part="Test")
    store.create("raw/first/Train/nevus/ISIC_0000009.jpg", b"no image")
    store.create("raw/first/readme.txt", b"hello")
    run = run_of(store)
    record = do(run, "ingest")
    manifest = table_of(run, record.manifest)
    assert (record.files, record.decoded, record.fetched) == (6, 5, 6)
    assert record.ignored == ("raw/first/readme.txt",)
    assert list(manifest["label"]) == ["nevus"] * 2 + ["melanoma"] * 3 + ["nevus"]
    assert list(manifest["part"]) == ["Test"] * 2 + ["Train"] * 4
    assert list(manifest["law"].dropna()) == ["undecodable"]
    assert manifest["pixel_hash"].nunique() == 5
    packed = manifest.dropna(subset=["shard"])
    assert pixels_of(run, packed).shape == (5, 48, 48, 3)


def test_pixels_come_back_in_the_order_of_the_rows(store: Store) -> None:
    import io

    import numpy as np
    from PIL import Image

    put_lesions(store, "melanoma", range(6))
    run = run_of(store)
    manifest = table_of(run, do(run, "ingest").manifest)
    shuffled = manifest.iloc[[4, 0, 5, 2]]
    expected = [np.asarray(Image.open(io.BytesIO(picture(number)))) for number in (4, 0, 5, 2)]
    assert (pixels_of(run, shuffled) == np.stack(expected)).all()


def test_a_second_delivery_fetches_only_what_is_new(store: Store) -> None:
    put_lesions(store, "melanoma", range(4))
    do(run_of(store, "first"), "ingest")
    put_lesions(store, "nevus", range(10, 13))
    run = run_of(store, "second")
    record = do(run, "ingest")
    assert (record.files, record.decoded, record.fetched) == (7, 7, 3)
    assert pixels_of(run, table_of(run, record.manifest)).shape[0] == 7


def test_an_image_that_was_replaced_is_fetched_again(store: Store) -> None:
    put_lesions(store, "melanoma", range(4))
    before = do(run_of(store, "first"), "ingest")
    store.replace("raw/first/Train/melanoma/ISIC_0000002.png", picture(99))
    run = run_of(store, "second")
    after = do(run, "ingest")
    assert after.fetched == 1
    assert after.manifest.sha256 != before.manifest.sha256


def test_a_damaged_memory_of_earlier_runs_is_not_trusted(store: Store) -> None:
    put_lesions(store, "melanoma", range(4))
    before = run_of(store, "first")
    manifest = table_of(before, do(before, "ingest").manifest)
    store.replace(manifest["shard"][0], b"damaged")
    lost = int((manifest["shard"] == manifest["shard"][0]).sum())
    put_lesions(store, "nevus", range(10, 12))
    run = run_of(store, "second")
    record = do(run, "ingest")
    assert record.fetched == 2 + lost  # what the other shards hold is still known
    assert pixels_of(run, table_of(run, record.manifest)).shape[0] == 6


def test_a_damaged_table_of_what_is_known_is_not_believed(store: Store) -> None:
    put_lesions(store, "melanoma", range(4))
    do(run_of(store, "first"), "ingest")
    (told,) = store.list("shared/decoded/")
    store.replace(told.key, store.read(told.key)[:-1])
    put_lesions(store, "nevus", range(10, 12))
    assert do(run_of(store, "second"), "ingest").fetched == 6


def test_a_shard_that_was_only_written_again_is_still_what_it_was(store: Store) -> None:
    put_lesions(store, "melanoma", range(4))
    for shard in do(run_of(store, "first"), "ingest").shards:
        store.replace(shard.key, store.read(shard.key))
    put_lesions(store, "nevus", range(10, 12))
    assert do(run_of(store, "second"), "ingest").fetched == 2


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every content that is decoded from now on."""
    seen: list[bytes] = []

    def decode(data: bytes, **limits: int) -> Decoded | Refused:
        seen.append(data)
        return images.decode(data, **limits)

    monkeypatch.setattr(contents, "decode", decode)
    return seen


def test_the_same_bytes_are_decoded_once_whatever_they_are_called(
    store: Store, decoded: list[bytes]
) -> None:
    put_lesions(store, "melanoma", range(3))
    store.create("raw/first/melanoma/broken.png", b"no image")
    do(run_of(store, "first"), "ingest")
    assert len(decoded) == 4
    for number in range(3):
        store.create(f"raw/second/Train/nevus/ISIC_{number + 50:07d}.png", picture(number))
    store.create("raw/second/nevus/broken_too.png", b"no image")
    store.create("raw/second/nevus/new.png", picture(77))
    run = run_of(store, "second")
    record = do(run, "ingest")
    assert (record.fetched, decoded[4:]) == (5, [picture(77)])
    manifest = table_of(run, record.manifest).set_index("image_id")
    for number in range(3):
        first, again = (manifest.loc[f"ISIC_{n:07d}"] for n in (number, number + 50))
        assert (first["shard"], first["index"]) == (again["shard"], again["index"])
        assert (first["label"], again["label"]) == ("melanoma", "nevus")
    assert manifest.loc["broken_too", "law"] == "undecodable"


def test_a_file_that_came_back_is_known_still(store: Store, decoded: list[bytes]) -> None:
    """What is known is kept for ever, also of what the delivery in between did not hold."""
    put_lesions(store, "melanoma", range(4))
    do(run_of(store, "first"), "ingest")
    key = "raw/first/Train/melanoma/ISIC_0000001.png"
    store.replace(key, picture(60))
    do(run_of(store, "second"), "ingest")
    store.replace(key, picture(1))
    put_lesions(store, "nevus", range(70, 71))
    do(run_of(store, "third"), "ingest")
    assert decoded[4:] == [picture(60), picture(70)]


def test_metadata_is_joined_from_the_archives_own_tables(store: Store) -> None:
    put_lesions(store, "melanoma", range(1, 4))
    ham = (
        "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
        "HAM_1,ISIC_0000001,mel,histo,80,male,ear\n"
    )
    isic = (
        "image,age_approx,anatom_site_general,lesion_id,sex\n"
        "ISIC_0000002_downsampled,55,torso,L2,female\n"
    )
    truth = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nISIC_0000003,0,0,0,0,1.0,0,0,0,0\n"
    store.create("raw/metadata/HAM10000_metadata.csv", ham.encode())
    store.create("raw/metadata/ISIC_2019_Training_Metadata.csv", isic.encode())
    store.create("raw/metadata/truth.csv", truth.encode())
    store.create("raw/metadata/prices.csv", b"article,price\nsoap,3\n")
    store.create("raw/metadata/broken.csv", b'\xff\xfe"a,b\n')
    run = run_of(store)
    record = do(run, "ingest")
    manifest = table_of(run, record.manifest).set_index("image_id")
    assert list(manifest.loc["ISIC_0000001", ["lesion_id", "site"]]) == ["HAM_1", "ear"]
    assert manifest.loc["ISIC_0000001", "age_years"] == 80
    assert list(manifest.loc["ISIC_0000002", ["lesion_id", "sex"]]) == ["L2", "female"]
    assert manifest.loc["ISIC_0000003", "archive_diagnosis"] == (Code("ISIC 2019", ("BKL",)),)
    assert sorted(record.ignored) == ["raw/metadata/broken.csv", "raw/metadata/prices.csv"]


def test_a_table_names_the_diagnosis_where_the_folder_does_not(store: Store) -> None:
    store.create("raw/flat/images/ISIC_0000001.png", picture(1))
    store.create("raw/flat/images/ISIC_0000002.png", picture(2))
    store.create("raw/flat/labels.csv", b"image_id,diagnosis\nISIC_0000001,Melanoma\n")
    run = run_of(store)
    manifest = table_of(run, do(run, "ingest").manifest).set_index("image_id")
    assert manifest.loc["ISIC_0000001", "label"] == "melanoma"
    assert manifest["label"].isna().sum() == 1


def test_names_with_spaces_accents_and_signs_are_no_obstacle(store: Store) -> None:
    names = ["a b", "Läsion é", "50 % + #1 & more", "日本"]
    for number, name in enumerate(names):
        store.create(f"raw/first/melanoma/{name}.png", picture(number))
    run = run_of(store)
    manifest = table_of(run, do(run, "ingest").manifest)
    assert sorted(manifest["image_id"]) == sorted(names)
    assert manifest["shard"].notna().all()


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
def test_a_key_that_would_leave_the_folder_is_quarantined(s3: S3Server) -> None:
    """S3 takes any key; on a disk this one would leave the folder."""
    store = open_store(f"s3://{s3.new_bucket()}/place")
    put_lesions(store, "melanoma", range(2))
    store.create("raw/first/melanoma/../../evil.png", picture(7))
    run = run_of(store)
    manifest = table_of(run, do(run, "ingest").manifest).set_index("image_id")
    assert manifest["law"].dropna().to_dict() == {"evil": "unsafe_name"}
    assert manifest["shard"].isna().to_dict()["evil"]


@pytest.mark.parametrize("others", [{}, {"raw/notes.txt": b"x", "raw/t.csv": b"a,b\n1,2\n"}])
def test_an_empty_raw_is_refused_with_what_to_do(store: Store, others: dict[str, bytes]) -> None:
    for key, data in others.items():
        store.create(key, data)
    with pytest.raises(BadInput, match="nothing to learn from") as told:
        do(run_of(store), "ingest")
    assert told.value.exit_code == 64
    assert "python -m tasks deliver" in told.value.do
    assert run_of(store).record("ingest") is None


@pytest.mark.parametrize("broken", ["first pack", "last pack"])
def test_a_pack_that_cannot_be_written_ends_ingest_whichever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Packs are written while the next one is decoded, so nobody waits for the last one."""
    store = open_store(str(tmp_path))
    put_lesions(store, "melanoma", range(12))
    monkeypatch.setattr(ingesting, "IMAGES_PER_SHARD", 4)
    done: list[int] = []

    def remember_pack(_run: Run, files: pd.DataFrame, _etags: dict[str, str]) -> None:
        done.append(len(files))
        if broken == "first pack" or sum(done) == 12:
            raise Momentary("The disk is full.")

    monkeypatch.setattr(ingesting, "remember_pack", remember_pack)
    run = run_of(store)
    with pytest.raises(Momentary, match="The disk is full"):
        do(run, "ingest")
    assert run.record("ingest") is None
    assert sum(done) == 12 if broken == "last pack" else len(done) == 1
