"""No patient of a DICOM stands in clear in anything that is written outside ``raw/``.

The DICOMs are full of distinctive values. Every object of the store, also within Parquet, every log
and every output is searched for each value, in several spellings, orders and encodings.
"""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.intake.deliver import deliver
from tasks.intake.pseudonyms import KEY, KEY_BYTES
from tasks.reporting.report import report
from tests.support import dicoms
from tests.support.deliveries import do, run_of
from tests.support.dicoms import encapsulated, jpeg, native, photograph
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

PERSONS: dict[str, Any] = {
    "PatientName": "Zwetschkenböck^Aurelia^Quirina^Freifrau",
    "OtherPatientNames": "Quittenbaum^Aurelia",
    "PatientBirthName": "Holunder^Aurelia",
    "PatientMotherBirthName": "Schlehdorn^Isolde",
    "IssuerOfPatientID": "SONNENHUEGEL-MPI",
    "OtherPatientIDs": ["ALTQX-90210", "ALTQX-90211"],
    "PatientBirthDate": "19521107",
    "PatientAddress": "Rosenquarzgasse 12",
    "PatientTelephoneNumbers": "+43 555 8877123",
    "PatientComments": "Nachbarin von Blaubeerwirt",
    "AccessionNumber": "ACCXY-665544",
    "InstitutionName": "Klinikum Sonnenhuegel",
    "InstitutionAddress": "Kieselsteinallee 3",
    "ReferringPhysicianName": "Doktorowitsch^Igorian",
    "PerformingPhysicianName": "Skalpellius^Benedikta",
    "OperatorsName": "Fotografikus^Waldemar",
    "StudyID": "STUDIQ-4433",
    "StudyDescription": "Kontrolle Zwetschkenböck",
    "StationName": "RAUMQZ17",
    "DeviceSerialNumber": "SERQX-12312399",
    "StudyDate": "20190405",
}
PATIENTS = ("QXP-471155", "QXP-471156")
WORDS = (
    *("Zwetschkenböck", "Zwetschkenboeck", "Zwetschkenbock", "Aurelia", "Quirina", "Quittenbaum"),
    *("Holunder", "Schlehdorn", "Isolde", "SONNENHUEGEL", "90210", "90211", "Rosenquarz"),
    *("8877123", "Blaubeerwirt", "665544", "Kieselstein", "Doktorowitsch", "Igorian"),
    *("Skalpellius", "Benedikta", "Fotografikus", "Waldemar", "4433", "RAUMQZ17", "12312399"),
    *("471155", "471156", "1.2.826.0.1.3680043.8.49"),
    *("19521107", "1952-11-07", "1952/11/07", "07.11.1952", "7.11.1952", "11/07/1952"),
    *("07/11/1952", "07111952", "11071952", "1952.11.07", "20190405", "2019-04-05", "05.04.2019"),
)  # fmt: skip
SHORT = ("4433",)  # hexadecimal digits may hold it by chance, so it counts as part of its id only


def whole(word: str) -> str:
    return f"STUDIQ-{word}" if word in SHORT else word


def encoded(word: str) -> Iterator[bytes]:
    """A word in any case, in every encoding that something may be written in; ASCII letters are
    small then."""
    for form in (whole(word).casefold(), whole(word).upper()):
        for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1"):
            yield form.encode(encoding).lower()
        yield json.dumps(form)[1:-1].encode().lower()


def found_in(data: bytes) -> list[str]:
    """The words that stand in bytes, and in the cells of a Parquet file."""
    texts = [data]
    if data.startswith(b"PAR1"):
        frame = pd.read_parquet(io.BytesIO(data))
        cells = (str(cell) for name in frame.columns for cell in frame[name] if cell is not None)
        texts.append("\n".join([*map(str, frame.columns), *cells]).encode())
    small = [text.lower() for text in texts]  # of bytes: ASCII only
    return [w for w in WORDS if any(each in text for each in encoded(w) for text in small)]


def put(folder: Path, label: str, number: int, **more: Any) -> None:
    rgb = photograph(number)
    tags = PERSONS | {"PatientID": PATIENTS[number % 2], "number": number} | more
    tags.setdefault("SpecificCharacterSet", "ISO_IR 192")
    inside = jpeg(rgb, comment="Aurelia Zwetschkenböck".encode())
    data = encapsulated(inside, rgb, **tags) if number % 3 else native(rgb, **tags)
    path = folder / label / f"m{number}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patients of two classes, files that are damaged in several ways, and a table."""
    images = tmp_path / "clinic"
    for number in range(16):
        # Two patients would be two groups: most files name none.
        own = {} if number < 4 else {"PatientID": f"QXP-4711{number:02}55"}
        put(images, "melanoma" if number % 2 else "nevus", number, **own)
    rgb = photograph(50)
    wrong = {
        "class": native(rgb[..., 0], "MONOCHROME2", kind=dicoms.CT, **PERSONS),
        "colour": encapsulated(jpeg(rgb), rgb, "RGB", **PERSONS),
        "rows": encapsulated(jpeg(rgb), rgb, Rows=9999, **PERSONS),
        "profile": native(rgb, ICCProfile=b"Aurelia Zwetschkenb", PatientAge="Aur", **PERSONS),
    }
    wrong["cut"] = wrong["profile"][:-5000]
    wrong["header"] = wrong["profile"][:900]
    wrong["noise"] = wrong["class"][:400] + b"Aurelia Holunder" * 60
    for name, data in wrong.items():
        (images / "nevus" / f"{name}.dcm").write_bytes(data)
    return images


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    """A table that calls patients by their numbers, some of them wrongly, and by name."""
    rows = ["image_id,patient_id,PatientName,lesion_id,age", "m0,QXP-471155,Zwetschkenböck,L0,66"]
    rows += ["m1,QXP-471155,Aurelia Quittenbaum,L1,66", "m9,qxp471156,Holunder,L9,40"]
    remarks = ["image_id,lesion_id,hospital_no,note,geb_am,colour"]
    remarks += ["m2,QXP-471155-1,QXP-471155,saw Aurelia Zwetschkenböck,7.11.1952,brown"]
    remarks += ["m3,M3,471155,ACCXY-665544,07. Nov 1952,brown"]
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "remarks.csv").write_text("\n".join(remarks))
    (folder / "table.csv").write_text("\n".join(rows))
    return folder


def objects(store: Store) -> Iterator[tuple[str, bytes]]:
    for entry in store.list(""):
        if not entry.key.startswith("raw/") and entry.key != KEY:
            yield entry.key, store.read(entry.key)


def test_nothing_that_is_written_names_a_patient(
    folder: Path,
    metadata: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    store = open_store(str(tmp_path / "store"))
    store.create(KEY, b"42" * KEY_BYTES)  # sides depend on names, and each side needs a melanoma
    deliver(store, folder, metadata)
    run = run_of(store, validation_share=0.3, test_share=0.3)
    record = do(run, "ingest", "validate", "split", "check_balance")
    assert record
    page = report(run)
    counts = {each.law: each.count for each in run.record("validate").findings}  # type: ignore[union-attr]  # it ran
    assert counts["undecodable"] >= 3
    assert counts["colour_mislabelled"] == counts["not_a_photograph"] == 1
    assert counts["contradictory_metadata"] >= 2
    written = dict(objects(store))
    assert {page, "runs/test/split/record.json"} <= written.keys()
    assert any(data.startswith(b"PAR1") for data in written.values())
    told = capfd.readouterr()
    written |= {"log": caplog.text.encode(), "out": (told.out + told.err).encode()}
    assert {key: words for key, data in written.items() if (words := found_in(data))} == {}
    assert any(found_in(store.read(each.key)) for each in store.list("raw/"))


def test_what_commands_say_names_no_patient(folder: Path, tmp_path: Path) -> None:
    """Nor a refusal: the last folder is called after the patient."""
    put(folder, "nevus/Aurelia Zwetschkenböck", 60)
    for command in (
        ["inspect", "--images", str(folder)],
        ["inspect", "--json", "--images", str(folder)],
        ["deliver", "--store", str(tmp_path / "store"), "--images", str(folder)],
    ):
        said = subprocess.run(
            [sys.executable, "-m", "tasks", *command], cwd=ROOT, capture_output=True, check=False
        )
        assert said.returncode in (0, 64)
        assert said.stdout + said.stderr
        assert found_in(said.stdout + said.stderr) == []
    assert said.returncode == 64
    with pytest.raises(BadInput):
        deliver(open_store(str(tmp_path / "store")), folder)


@pytest.mark.parametrize("word", WORDS)
def test_the_search_finds_each_word(word: str) -> None:
    said = whole(word)
    table = io.BytesIO()
    pd.DataFrame({"a": [{"b": [said]}], "c": ["x"]}).to_parquet(table, compression="zstd")
    for data in (
        f"... {said.upper()} ...".encode(),
        json.dumps({"name": said}).encode(),
        said.encode("utf-16-le"),
        table.getvalue(),
    ):
        assert word in found_in(data)
    assert found_in(b"a name that is nobody's: dicom-0123456789abcdef") == []
