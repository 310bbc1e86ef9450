"""An erasure on every store: by patient, after a kill at any write, and what comes back."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.engine.erasures import OPEN, erasures_in
from tasks.engine.person import Person
from tasks.engine.run import Run
from tasks.engine.store import Entry, Store, read_many
from tasks.erasure.erase import Outcome, erase
from tasks.erasure.objects import INDEXES
from tasks.errors import BadInput, Corrupt, Momentary
from tasks.intake.deliver import deliver
from tasks.intake.manifest import read_parquet
from tasks.records.ingested import Ingested
from tasks.records.record import sha256
from tasks.records.validated import Validated
from tests.support.deliveries import do, picture, run_of
from tests.support.stores import keys, on_a_directory

ANNA = Person(name="anna", how="command line", authenticated=False)
REASON = "consent withdrawn"
SIDE = 48


def again(number: int) -> bytes:
    """The picture of `tests.support.deliveries.picture` in a file with other bytes."""
    with Image.open(io.BytesIO(picture(number)), formats=["PNG"]) as image:
        buffer = io.BytesIO()
        image.save(buffer, "BMP")
    return buffer.getvalue()


def clinic(folder: Path) -> Path:
    """Five patients with two images each, a copy of one image under another name, and a table."""
    rows = []
    for number in range(10):
        name = "melanoma" if number % 3 == 0 else "nevus"
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"IMG_{number}.png").write_bytes(picture(number))
        rows.append(
            (f"IMG_{number}", name, f"L{number}", f"P{number // 2}", 40 + number, "left arm")
        )
    (folder / "nevus/holiday.bmp").write_bytes(again(4))
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image_id", "diagnosis", "lesion_id", "patient_id", "age", "site"))
        writer.writerows(rows)
    return folder


@pytest.fixture
def begun(store: Store, tmp_path: Path) -> Run:
    """A run that has read a delivery; `validate` would refuse so few images."""
    deliver(store, clinic(tmp_path / "clinic"))
    run = run_of(store, "first", packed_size=SIDE)
    do(run, "ingest")
    return run


def erased(store: Store, asked: Any = "patient", name: str = "P2", **more: Any) -> Outcome:
    return erase(store, asked, name, ANNA, REASON, stop_runs=True, **more)


def held(store: Store, *numbers: int) -> set[str]:
    """The objects that hold the file or the packed pixels of one of these pictures."""
    wanted = [each for number in numbers for each in (picture(number), again(number))]
    for number in numbers:
        with Image.open(io.BytesIO(picture(number)), formats=["PNG"]) as image:
            wanted.append(np.asarray(image.convert("RGB")).tobytes())  # as large as it is packed
    there = keys(store)
    contents = zip(there, read_many(store, there), strict=True)
    return {key for key, data in contents if any(each in data for each in wanted)}


def test_all_images_of_a_patient_are_gone_under_all_names(begun: Run) -> None:
    store = begun.store
    then = held(store, 4, 5)
    assert {key.split("/")[0] for key in then} == {"raw", "shared"}
    assert any(key.endswith("holiday.bmp") for key in then)
    others = held(store, 0, 1, 2, 3, 6, 7, 8, 9)

    outcome = erased(store)

    assert outcome.images == 3  # two of the patient, and the copy, which has a name of its own
    assert held(store, 4, 5) == set()
    assert held(store, 0, 1, 2, 3, 6, 7, 8, 9) == others
    assert keys(store, OPEN) == []


def test_the_rows_of_a_delivered_table_go_and_no_others(begun: Run) -> None:
    (table,) = [key for key in keys(begun.store, "raw/") if key.endswith("table.csv")]
    then = begun.store.read(table).decode().splitlines()

    erased(begun.store)

    now = begun.store.read(table).decode().splitlines()
    assert now == [line for line in then if ",P2," not in line]
    assert len(now) == len(then) - 2


@on_a_directory
def test_the_next_run_sees_neither_the_image_nor_its_facts(begun: Run) -> None:
    erased(begun.store)
    second = run_of(begun.store, "second", packed_size=SIDE)
    ingested = do(second, "ingest")

    manifest = read_parquet(second, ingested.manifest)
    assert sorted(manifest["image_id"]) == [f"IMG_{n}" for n in (0, 1, 2, 3, 6, 7, 8, 9)]
    assert ingested.fetched == 0  # the others are known
    assert ingested.rows_without_image == 0
    assert "P2" not in set(manifest["patient_id"])


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("IMG_4.png", picture(77), "an image of this id"),
        ("other.png", picture(4), "this very file"),
        ("other.tif", "as TIFF", "this very picture"),
    ],
)
@on_a_directory
def test_what_is_delivered_again_is_not_taken_in(
    begun: Run, name: str, data: Any, words: str, tmp_path: Path
) -> None:
    erased(begun.store)
    folder = tmp_path / "again/nevus"
    folder.mkdir(parents=True)
    if data == "as TIFF":
        with Image.open(io.BytesIO(picture(4)), formats=["PNG"]) as image:
            image.save(folder / name)
    else:
        (folder / name).write_bytes(data)
    deliver(begun.store, tmp_path / "again")
    second = run_of(begun.store, "second", packed_size=SIDE)

    ingested = do(second, "ingest")

    manifest = read_parquet(second, ingested.manifest).set_index("key")
    (row,) = [row for key, row in manifest.iterrows() if str(key).endswith(f"again/nevus/{name}")]
    assert row["law"] == "erased"
    assert words in row["reason"]
    assert manifest["law"].notna().sum() == 1
    assert not any(key.startswith("shared/") for key in held(begun.store, 4))


@on_a_directory
def test_what_was_delivered_again_is_erased_again(begun: Run, tmp_path: Path) -> None:
    erased(begun.store, "image", "IMG_4")
    assert erased(begun.store, "image", "IMG_4").objects == 0
    folder = tmp_path / "again/nevus"
    folder.mkdir(parents=True)
    (folder / "IMG_4.png").write_bytes(picture(4))
    deliver(begun.store, tmp_path / "again")

    assert erased(begun.store, "image", "IMG_4").objects > 0
    assert held(begun.store, 4) == set()


# Kills --------------------------------------------------------------------------------------------


@dataclass
class Mortal:
    """A store whose writer dies before its n-th write.

    Attributes:
        store: The store.
        writes: Writes that still succeed.
    """

    store: Store
    writes: int
    uri: str = field(init=False)

    def __post_init__(self) -> None:
        self.uri = self.store.uri

    def _die(self) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise Momentary("killed")

    def list(self, prefix: str) -> Iterator[Entry]:
        return self.store.list(prefix)

    def read(self, key: str) -> bytes:
        return self.store.read(key)

    def create(self, key: str, data: bytes) -> None:
        self._die()
        self.store.create(key, data)

    def replace(self, key: str, data: bytes) -> None:
        self._die()
        self.store.replace(key, data)

    def delete(self, key: str) -> None:
        self._die()
        self.store.delete(key)

    def sweep(self, folder: str) -> None:
        self.store.sweep(folder)


def contents(store: Store) -> dict[str, str]:
    """Every object but the ledger of erasures, whose entries hold times. Indexes are named by their
    hash, and hold ETags, which no two stores share: they are only counted."""
    found = {key: sha256(store.read(key)) for key in keys(store) if "erasures" not in key}
    indexes = [key for key in found if key.startswith(INDEXES)]
    return {key: found[key] for key in found.keys() - indexes} | {"indexes": f"{len(indexes)}"}


@on_a_directory
def test_after_a_kill_at_any_write_the_same_command_completes(
    begun: Run, copied: Callable[[Store, str], Store]
) -> None:
    whole = copied(begun.store, "whole")
    erased(whole)
    wanted, writes = contents(whole), 0
    while True:
        store = copied(begun.store, f"killed-{writes}")
        try:
            erased(Mortal(store, writes))
        except Momentary:
            assert erased(store).images == 3
        else:
            break
        assert contents(store) == wanted, f"after {writes} writes"
        assert held(store, 4, 5) == set()
        assert keys(store, OPEN) == []
        assert erasures_in(store).open_of("patient", sha256(b"P2")) is None
        writes += 1
    assert writes > 10


@on_a_directory
def test_between_the_writes_every_artifact_can_be_read(
    begun: Run, copied: Callable[[Store, str], Store]
) -> None:
    for writes in range(3, 12):
        store = copied(begun.store, f"half-{writes}")
        run = run_of(store, "first", packed_size=SIDE)
        with pytest.raises(Momentary):
            erased(Mortal(store, writes))
        record = run.record("ingest")
        assert isinstance(record, Ingested)
        read_parquet(run, record.manifest)
        assert len(list(run.fetch_many(record.shards))) == len(record.shards)


@on_a_directory
def test_other_bytes_than_the_ledger_says_are_refused(begun: Run) -> None:
    erased(begun.store)
    record = begun.record("ingest")
    assert isinstance(record, Ingested)
    read_parquet(begun, record.manifest)
    begun.store.replace(record.manifest.key, b"something else")

    with pytest.raises(Corrupt, match="does not match its record"):
        read_parquet(begun, record.manifest)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Store, str], Store]:
    import shutil

    from tasks.engine.storage import open_store

    def copy(store: Store, name: str) -> Store:
        return open_store(str(shutil.copytree(store.uri, tmp_path / "copies" / name)))

    return copy


# Runs ---------------------------------------------------------------------------------------------


@on_a_directory
def test_a_run_at_work_is_neither_broken_nor_stopped_in_silence(begun: Run) -> None:
    then = contents(begun.store)
    with pytest.raises(BadInput, match="runs that hold it are not finished"):
        erase(begun.store, "image", "IMG_4", ANNA, REASON)
    assert contents(begun.store) == then

    erased(begun.store, "image", "IMG_4")
    with pytest.raises(BadInput, match="does not go on with validate"):
        do(begun, "validate")
    assert isinstance(do(begun, "ingest"), Ingested)  # committed before; nothing to do


@on_a_directory
def test_a_run_that_does_not_hold_it_goes_on(begun: Run, tmp_path: Path) -> None:
    folder = tmp_path / "later/nevus"
    folder.mkdir(parents=True)
    (folder / "IMG_50.png").write_bytes(picture(50))
    deliver(begun.store, tmp_path / "later")
    do(run_of(begun.store, "later", packed_size=SIDE), "ingest")

    erased(begun.store, "image", "IMG_50")

    assert isinstance(do(begun, "validate"), Validated)
