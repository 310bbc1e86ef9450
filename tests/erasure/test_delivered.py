"""Whatever was delivered about an erased image or patient goes, or is told; all else stays."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.__main__ import main
from tasks.engine.directory import DirectoryStore
from tasks.engine.erasures import erasures_in
from tasks.engine.person import Person
from tasks.engine.storage import open_store
from tasks.erasure.erase import Outcome, erase, in_words
from tasks.intake.deliver import deliver
from tests.support.deliveries import do, picture, run_of
from tests.support.dicoms import CT, native, photograph

WHO = Person(name="Ada", how="command line", authenticated=False)
IDS = ("m00a", "m00b", "m01a", "m02a", "n00a", "n01a")
PATIENTS = dict(zip(IDS, ("P-100", "P-101", "P-101", "P-102", "P-103", "P-104"), strict=True))
NUMBER, OTHER = "00471234", "00471235"


def clinic(folder: Path) -> Path:
    """Six pictures, and tables of every kind that name them; ``m00a`` is of the patient P-100."""
    (folder / "nevus").mkdir(parents=True)
    for number, name in enumerate(IDS):
        (folder / "nevus" / f"{name}.png").write_bytes(picture(number))
    rows = {
        "labels.csv": ("image_id,diagnosis,patient_id", "{i},nevus,{p}"),
        "patients.csv": ("patient_id,age,sex,remark", "{q},55,m,SECRET {i}!"),
        "intern.csv": ("image_id,photo_file,age,notes", "{n},{i}.png,55,x"),
        "pairs.csv": ("case_num,derm,clinic,notes", "{n},x{n}.png,{i}.png,x"),
        "odd.csv": ("image_id,age,notes", "{i},55,x,more,more"),
        "foreign.csv": ("Bildnummer,Notiz", "{i},x"),
    }
    for name, (header, row) in rows.items():
        told = [
            row.format(i=i, p=PATIENTS[i], q=PATIENTS[i].replace("-", "").lower(), n=90_000 + n)
            for n, i in enumerate(IDS)
        ]
        (folder / name).write_bytes("\r\n".join([header, *told]).encode())
    return folder


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    found = open_store(str(tmp_path / "store"))
    assert isinstance(found, DirectoryStore)
    return found


def taken_in(
    store: DirectoryStore, folder: Path, copied: dict[str, bytes] | None = None
) -> dict[str, bytes]:
    """Deliver, and copy what no delivery lets in; ingest. Returns what is delivered."""
    deliver(store, folder, accept_unread=True)
    put(store, copied or {})
    do(run_of(store), "ingest")
    return raw(store)


def raw(store: DirectoryStore) -> dict[str, bytes]:
    return {entry.key.removeprefix("raw/"): store.read(entry.key) for entry in store.list("raw/")}


def erased(store: DirectoryStore, name: str, asked: Any = "image") -> Outcome:
    return erase(store, asked, name, WHO, "consent withdrawn", stop_runs=True)


def without_lines(data: bytes, *words: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(line for line in lines if not any(word in line for word in words))


def put(store: DirectoryStore, files: dict[str, bytes]) -> None:
    for key, data in files.items():
        store.create(f"raw/{key}", data)


def test_rows_of_the_image_go_from_tables_of_every_kind(
    store: DirectoryStore, tmp_path: Path
) -> None:
    then = taken_in(store, clinic(tmp_path / "clinic"))

    outcome = erased(store, "m00a")

    now = raw(store)
    assert not [key for key in now if "m00a" in key]
    for key, data in now.items():
        if not key.endswith("patients.csv"):
            assert data == without_lines(then[key], b"m00a"), key
    (patients,) = [key for key in now if key.endswith("patients.csv")]
    assert now[patients] == then[patients]  # about the patient; the remark is told
    assert outcome.unseen == (f"raw/{patients}",)


def test_rows_of_the_patient_go_in_every_spelling(store: DirectoryStore, tmp_path: Path) -> None:
    then = taken_in(store, clinic(tmp_path / "clinic"))

    assert erased(store, "P-100", "patient").unseen == ()

    for key, data in raw(store).items():
        assert data == without_lines(then[key], b"m00a", b"p100"), key


ABOUT = (
    *("m00a_thumb.jpg", "m00a_thumbnail.png", "m00a_Segmentation.png", "m00a.dcm.bak", "m00a.json"),
    *("m00a_mask_thumb.png", "m00a.mpo", "m00a.xmp"),
)
OTHERS = ("m00b_thumb.jpg", "m00ab_thumb.jpg", "m01a.dcm.bak", "m00.json", "m00a2.xmp")


def test_files_about_the_image_go_by_their_names(store: DirectoryStore, tmp_path: Path) -> None:
    taken_in(store, clinic(tmp_path / "clinic"))
    put(store, {f"clinic/nevus/{name}": b"\x00" for name in (*ABOUT, *OTHERS)})

    erased(store, "m00a")

    left = {key.rpartition("/")[2] for key in raw(store)}
    assert not set(ABOUT) & left
    assert set(OTHERS) <= left


def test_what_cannot_be_looked_into_is_told_and_counted(
    store: DirectoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken_in(store, clinic(tmp_path / "clinic"))
    sidecar, harmless = b'{"m00a": "Mrs Miller"}', b'{"m00ab": "Mrs Other"}'
    put(
        store,
        {
            "clinic/export.zip": b"PK\x03\x04\x00",
            "clinic/side.json": sidecar,
            "clinic/none.json": harmless,
            "elsewhere/report.pdf": b"%PDF\x00",
            "elsewhere/named.pdf": b"%PDF\x00 m00a",
            "clinic/notes.txt": b"m00a: Mrs Miller\nm00b: Mr Other\n",
        },
    )
    given = ["erase", "--store", store.uri, "--image", "m00a", "--reason", "x", "--stop-runs"]
    assert main([*given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["unseen"]

    (patients,) = [key for key in raw(store) if key.endswith("patients.csv")]
    left = ["clinic/export.zip", "clinic/side.json", "elsewhere/named.pdf", patients]
    assert told == sorted(f"raw/{key}" for key in left)
    assert raw(store)["clinic/side.json"] == sidecar
    assert raw(store)["clinic/notes.txt"] == b"m00b: Mr Other\n"
    _, last = erasures_in(store).entries[-1]
    assert last.model_dump()["unseen"] == len(left)
    assert not [e.key for e in store.list("ledger/erasures/") if b"side" in store.read(e.key)]

    again = erased(store, "m00a")
    assert again.objects == 0
    assert "Look into these yourself: 4 delivered files" in "\n".join(in_words(again, "image"))


def test_without_such_files_nothing_is_told(store: DirectoryStore, tmp_path: Path) -> None:
    taken_in(store, clinic(tmp_path / "clinic"))
    outcome = erased(store, "P-100", "patient")
    assert "Look into" not in "\n".join(in_words(outcome, "patient"))


def test_after_a_kill_before_the_last_entry_the_count_is_said_to_lack(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    taken_in(store, clinic(tmp_path / "clinic"))
    with monkeypatch.context() as patch:
        patch.setattr("tasks.erasure.erase._complete", killed)
        with pytest.raises(KeyboardInterrupt):
            erased(store, "m00a")
    outcome = erased(store, "m00a")
    assert outcome.unseen is None
    assert "were not counted" in "\n".join(in_words(outcome, "image"))
    assert erased(store, "m00a").unseen is not None  # the same command counts them


# Patients of DICOMs -------------------------------------------------------------------------------


def hospital(folder: Path) -> Path:
    """Two DICOMs of a patient, one of another, and what lies beside them."""
    (folder / "nevus").mkdir(parents=True)
    own: dict[str, Any] = {"PatientName": "Zwiebel^Eva", "PatientID": NUMBER}
    other: dict[str, Any] = {"PatientName": "Lauch^Ada", "PatientID": OTHER}
    files = {
        "one.dcm": native(photograph(1), number=1, **own),
        "two.dcm": native(photograph(2), number=2, **own),
        "other.dcm": native(photograph(3), number=3, **other),
        "ct.dcm": native(photograph(5)[..., 0], "MONOCHROME2", kind=CT, number=5, **own),
    }
    for name, data in files.items():
        (folder / "nevus" / name).write_bytes(data)
    table = f"patient_id,patient_name,age,remark\n{NUMBER},Eva Zwiebel,58,x\n{OTHER},Ada L,{{}},x\n"
    (folder / "t.csv").write_text(table.format(59))
    (folder / "h.csv").write_text(f"image_id,hospital_no,age\none,{NUMBER},58\nz,{NUMBER},1\n")
    return folder


def test_the_clinics_number_takes_rows_and_dicoms_of_any_name_along(
    store: DirectoryStore, tmp_path: Path
) -> None:
    own: dict[str, Any] = {"PatientName": "Zwiebel^Eva", "PatientID": NUMBER}
    telling = {f"hospital/nevus/{NUMBER}.dcm": native(photograph(4), number=4, **own)}
    then = taken_in(store, hospital(tmp_path / "hospital"), telling)
    put(
        store,
        {
            "hospital/x.bak": native(photograph(6), number=6, **own),
            "hospital/x_thumb.dcm": native(photograph(7), number=7, **own),
            "hospital/y.bak": native(photograph(8), number=8, PatientID=OTHER),
        },
    )

    erased(store, NUMBER, "patient")

    now = raw(store)
    assert not [key for key, data in now.items() if NUMBER.encode() in data or NUMBER in key]
    assert {key.rpartition("/")[2] for key in now} == {"other.dcm", "y.bak", "t.csv", "h.csv"}
    (table,) = [key for key in now if key.endswith("t.csv")]
    assert now[table] == without_lines(then[table], b"Zwiebel")
    assert b"Ada L,59" in now[table]
