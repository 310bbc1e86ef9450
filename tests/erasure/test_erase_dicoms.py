"""A patient of DICOMs is erased by the clinic's own number, which is written nowhere."""

from pathlib import Path
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.person import Person
from tasks.engine.storage import open_store
from tasks.erasure.erase import erase
from tasks.errors import BadInput
from tasks.intake.deliver import deliver
from tasks.intake.manifest import read_parquet
from tests.support.deliveries import do, run_of
from tests.support.dicoms import encapsulated, jpeg, native, photograph

NUMBER = "QXP-471155"
WHO = Person(name="Ada", how="command line", authenticated=False)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """Two DICOMs of a patient, one of three frames, and one of another patient; ingested."""
    folder = tmp_path / "clinic" / "nevus"
    folder.mkdir(parents=True)
    issued: dict[str, Any] = {"PatientID": NUMBER, "IssuerOfPatientID": "SONNENHUEGEL"}
    (folder / "one.dcm").write_bytes(encapsulated(jpeg(photograph(1)), photograph(1), **issued))
    frames = [photograph(number) for number in (2, 3, 4)]
    (folder / "three.dcm").write_bytes(native(frames, number=2, **issued))
    other = native(photograph(5), number=3, PatientID="QXP-999999")
    (folder / "other.dcm").write_bytes(other)
    found = open_store(str(tmp_path / "store"))
    assert isinstance(found, DirectoryStore)
    deliver(found, tmp_path / "clinic")
    do(run_of(found), "ingest")
    return found


def everything(store: DirectoryStore) -> dict[str, bytes]:
    return {entry.key: store.read(entry.key) for entry in store.list("")}


def test_a_number_in_a_tag_erases_its_patient_with_all_frames(store: DirectoryStore) -> None:
    before = read_parquet(run_of(store), do(run_of(store), "ingest").manifest)
    mine = before[before["patient_id"] != before.set_index("image_id").loc["other", "patient_id"]]
    assert len(mine) == 4

    outcome = erase(store, "patient", NUMBER, WHO, "consent withdrawn", stop_runs=True)
    assert outcome.images == 4
    left = everything(store)
    assert sorted(key for key in left if key.startswith("raw/")) == ["raw/clinic/nevus/other.dcm"]
    assert not [key for key, data in left.items() if NUMBER.encode() in data]
    names = [name.encode() for name in mine["patient_id"]]
    assert not [key for key, data in left.items() if any(name in data for name in names)]

    (name,) = set(mine["patient_id"])
    again = erase(store, "patient", name, WHO, "once more", stop_runs=True)
    assert again.objects == 0
    with pytest.raises(BadInput, match="Nothing of this patient"):  # nothing knows the number now
        erase(store, "patient", NUMBER, WHO, "once more", stop_runs=True)


def test_an_erasure_that_was_killed_is_completed_by_the_number(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tasks.erasure.erase._complete", killed)
        patch.setattr("tasks.erasure.erase.renew_pages", killed)
        with pytest.raises(KeyboardInterrupt):
            erase(store, "patient", NUMBER, WHO, "consent withdrawn", stop_runs=True)
    assert erase(store, "patient", NUMBER, WHO, "consent withdrawn").images == 4
    assert not [key for key in everything(store) if key.startswith("erasing/")]


def test_an_unknown_number_erases_nothing(store: DirectoryStore) -> None:
    before = everything(store)
    with pytest.raises(BadInput, match="Nothing of this patient"):
        erase(store, "patient", "QXP-1", WHO, "consent withdrawn", stop_runs=True)
    assert everything(store) == before


def test_a_name_by_which_a_table_calls_a_patient_erases_the_patient(tmp_path: Path) -> None:
    folder, tables = tmp_path / "clinic" / "nevus", tmp_path / "tables"
    folder.mkdir(parents=True)
    tables.mkdir()
    for number, name in enumerate(("one", "two", "other")):
        (folder / f"{name}.jpg").write_bytes(jpeg(photograph(number)))
    rows = (
        'image_id,patient,age\none,Kunigunde Meier,50\ntwo,"Meier, Kunigunde",51\nother,Ute Huber,5'
    )
    (tables / "table.csv").write_text(rows)
    store = open_store(str(tmp_path / "store"))
    assert isinstance(store, DirectoryStore)
    deliver(store, tmp_path / "clinic", tables)
    do(run_of(store), "ingest")
    with pytest.raises(BadInput, match="Nothing of this patient"):
        erase(store, "patient", "Kunigunde Huber", WHO, "consent withdrawn", stop_runs=True)
    found = erase(store, "patient", "Kunigunde Meier", WHO, "consent withdrawn", stop_runs=True)
    assert found.images == 2
    left = everything(store)
    assert not [key for key, data in left.items() if b"Kunigunde" in data]
    assert [key for key, data in left.items() if b"Ute Huber" in data] == ["raw/metadata/table.csv"]
