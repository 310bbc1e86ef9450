"""Tables beside DICOMs, and without, of which no cell that tells who a patient is is kept."""

import io
import json
import re
import time
from pathlib import Path

import pandas as pd
import pytest

from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.intake.columns import personal_in
from tasks.intake.deliver import deliver
from tasks.intake.joining import join_tables
from tasks.intake.matching import Names
from tasks.intake.pseudonyms import for_now
from tasks.intake.tagged import Tagged
from tasks.records.ingested import Ingested
from tests.support.dicom_deliveries import ingested, manifest_of, put, table, text_of

NAMES = ("Zwiebelhuber^Kunigunde", "Quastenflosser^Adalbert", "Naevus^Ottilie")
NUMBERS = ("00471234", "00471235", "PAT-88/4712")
CLEAR = ("zwiebelhuber", "kunigunde", "quasten", "adalbert", "ottilie", "47123", "4712", "acc77")


def delivery(tmp_path: Path, header: str, row: str) -> tuple[pd.DataFrame, Ingested]:
    """Two DICOMs of each of three patients, and a table with a row for each."""
    rows = [header]
    for number in range(6):
        which = number // 2
        family, first = NAMES[which].split("^")
        put(
            tmp_path / "set", f"nevus/m{number}q.dcm", number, PatientName=NAMES[which],
            PatientID=NUMBERS[which], PatientBirthDate=f"1961031{which}",
            AccessionNumber=f"ACC7700{number}",
        )  # fmt: skip
        rows.append(
            row.format(
                n=number,
                p=which,
                number=NUMBERS[which],
                family=family,
                first=first,
                bare=NUMBERS[which].lstrip("0"),
                visit=f"ACC7700{number}",
                born=f"1{which}.03.1961",
            )
        )
    meta = table(tmp_path / "meta", "\n".join(rows) + "\n")
    return manifest_of(tmp_path, tmp_path / "set", meta)


def told(record: Ingested) -> str:
    assert record.reading
    return " ".join(record.reading.notes)


def is_clean(manifest: pd.DataFrame, record: Ingested) -> bool:
    # Digests, and measures such as bytes of memory, hold the digits of a number by chance.
    assert record.provenance
    measured = record.provenance.model_copy(update={"peak_memory_bytes": 0, "seconds": 0.0})
    told = text_of(manifest, record.model_copy(update={"provenance": measured})).casefold()
    text = re.sub(r"\b[0-9a-f]{16,}\b", "", told)
    return [word for word in (*CLEAR, "03.1961", "1961-03") if word in text] == []


@pytest.mark.parametrize(
    "cell", ["{first} {family}", "{family}, {first}", "{bare}", "{number} visit 2", "geb. {born}"]
)
def test_patients_who_are_called_by_name_are_linked_by_hashes(cell: str, tmp_path: Path) -> None:
    cell = f'"{cell}"'
    manifest, record = delivery(
        tmp_path, "image_id,lesion_id,patient,geboren", f"m{{n}}q,L{{n}},{cell},{{born}}"
    )
    assert is_clean(manifest, record)
    assert manifest["patient_id"].nunique() == 3
    assert manifest["contradiction"].isna().all()
    assert "keyed hashes stand for 3 ids" in told(record)
    assert "'geboren'" in told(record)


def test_patients_of_another_naming_stay(tmp_path: Path) -> None:
    manifest, record = delivery(tmp_path, "image_id,patient_id,age", "m{n}q,P{p},50")
    assert list(manifest["patient_id"].unique()) == ["P0", "P1", "P2"]
    assert "keyed hashes" not in told(record)


def test_a_lesion_id_that_holds_a_number_is_a_hash_that_links(tmp_path: Path) -> None:
    manifest, record = delivery(tmp_path, "image_id,lesion_id,age", "m{n}q,{number}-0,50")
    assert is_clean(manifest, record)
    assert manifest["lesion_id"].nunique() == 3
    assert manifest["lesion_id"].str.match("lesion-[0-9a-f]{20}$").all()
    assert "lesion ids hold" in told(record)


def test_a_lesion_id_that_looks_alike_stays(tmp_path: Path) -> None:
    manifest, record = delivery(tmp_path, "image_id,lesion_id,age", "m{n}q,9{number}{p}-{n},50")
    assert list(manifest["lesion_id"]) == [f"9{NUMBERS[n // 2]}{n // 2}-{n}" for n in range(6)]
    assert "lesion ids" not in told(record)


def test_a_short_number_counts_beside_an_image_of_its_patient(tmp_path: Path) -> None:
    for number in range(2):
        put(tmp_path / "set", f"nevus/m{number}q.dcm", number, PatientID=f"8127{number}")
    text = "image_id,lesion_id,note\nm0q,81270/1,see 081270\nm1q,81270/2,81270 pixels\n"
    manifest, _ = manifest_of(tmp_path, tmp_path / "set", table(tmp_path / "meta", text))
    assert list(manifest["lesion_id"].str.startswith("lesion-")) == [True, False]
    assert ["note" in str(each) for each in manifest["other_metadata"]] == [False, True]


@pytest.mark.parametrize(
    "cell",
    [
        *("{number}", "{visit}", "spoke to {first} {family}", "Fr. {family}-{first}", "geb {born}"),
        "REMARK-{bare}",
    ],
)
def test_other_cells_that_tell_who_a_patient_is_are_not_kept(cell: str, tmp_path: Path) -> None:
    manifest, record = delivery(
        tmp_path, "image_id,lesion_id,note,colour", f"m{{n}}q,L{{n}},{cell},brown"
    )
    assert is_clean(manifest, record)
    others = [json.loads(each) for each in manifest["other_metadata"]]
    assert [each["colour"] for each in others] == ["brown"] * 6
    assert not any("note" in each for each in others)
    assert "the column 'note' tells in 6 rows who a patient is" in told(record)


def test_ordinary_words_stay(tmp_path: Path) -> None:
    """Also one that is a family name: the third patient is called Naevus."""
    cell = "Naevus of 2019-04-05 with 6 mm and 471236"
    manifest, record = delivery(tmp_path, "image_id,lesion_id,note", f"m{{n}}q,L{{n}},{cell}")
    assert [json.loads(each)["note"] for each in manifest["other_metadata"]] == [cell] * 6
    assert "who a patient is" not in told(record)


@pytest.mark.parametrize("column", ["diagnosis", "age", "sex", "site"])
def test_what_is_not_understood_is_not_repeated(column: str, tmp_path: Path) -> None:
    put(tmp_path / "set", "nevus/m0q.dcm", 1, PatientName=NAMES[0], PatientID=NUMBERS[0])
    text = f"image_id,lesion_id,{column}\nm0q,L1,Zwiebelhuber 471234\n"
    store = open_store(str(tmp_path / "store"))
    deliver(store, tmp_path / "set", table(tmp_path / "meta", text), accept_unread=True)
    manifest, record = ingested(tmp_path)
    assert is_clean(manifest, record)
    assert manifest.loc["m0q", "lesion_id"] == "L1"


def test_a_table_that_comes_later_is_compared_too(tmp_path: Path) -> None:
    put(tmp_path / "set", "nevus/m0q.dcm", 1, PatientName=NAMES[0], PatientID=NUMBERS[0])
    manifest_of(tmp_path, tmp_path / "set", name="first")
    text = "image_id,lesion_id,note\nm0q,471234/1,Kunigunde Zwiebelhuber\n"
    deliver(open_store(str(tmp_path / "store")), None, table(tmp_path / "meta", text))
    manifest, record = ingested(tmp_path, "second")
    assert record.fetched == 0
    assert is_clean(manifest, record)
    assert str(manifest.loc["m0q", "lesion_id"]).startswith("lesion-")


# Without DICOMs ----------------------------------------------------------------------------------


def joined(patients: list[str], column: str = "dx") -> tuple[list[str], str]:
    rows = [f'm{n},"{patient}",nevus' for n, patient in enumerate(patients)]
    data = "\n".join([f"image_id,patient,{column}", *rows]).encode()
    names = Names((f"raw/s/nevus/m{n}.jpg", f"m{n}") for n in range(len(patients)))
    found = join_tables([("t.csv", data)], names, tagged=Tagged((), for_now()))
    return [str(row["patient_id"]) for row in found.facts.values()], " ".join(found.notes)


def test_names_of_persons_become_hashes_without_dicoms_too() -> None:
    found, notes = joined(["Anna Meier", "Meier, Anna", "José García-López", "Ute O'Neill"])
    assert all(each.startswith("person-") for each in found)
    assert [found.index(each) for each in found] == [0, 0, 2, 3]
    assert "keyed hashes stand for 4 ids" in notes


@pytest.mark.parametrize("ids", [["P1", "P2"], ["patient A", "patient B"], ["7", "8"], ["a", "b"]])
def test_ids_that_are_no_names_stay(ids: list[str]) -> None:
    assert joined(ids) == (ids, "")


@pytest.mark.parametrize(
    "column",
    [
        *("accession", "geboren", "Geburtstag", "birthday", "hospital_no", "Patientenname", "nom"),
        *("Nombre", "nome", "Date de naissance", "fecha de nacimiento", "data de nascimento"),
        *("Data di nascita", "DateOfBirth", "PatientBirthDate", "cognome", "prénom"),
    ],
)
def test_columns_of_persons_are_not_kept(column: str) -> None:
    assert personal_in([column]) == [column]
    assert f"'{column}'" in joined(["P1", "P2"], column)[1]


def test_columns_of_no_persons_are_kept() -> None:
    assert personal_in(["fitzpatrick", "nominal", "age", "site", "camera", "birthmark"]) == []


def test_a_large_table_without_dicoms_costs_no_more() -> None:
    tagged = Tagged((), for_now())
    lesions = [f"L{n} and more words {n}" for n in range(100_000)]
    start = time.perf_counter()
    assert not any(map(tagged.telling.tells, lesions))
    rows = [{"patient_id": f"P{n}"} for n in range(100_000)]
    assert tagged.hide_patients(rows) == 0
    assert time.perf_counter() - start < 1


# Names of files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("nevus/Zwiebelhuber_Kunigunde_overview.jpg", "nevus/Zwiebelhuber.pdf", "471234/x.jpg"),
        *("nevus/471234_overview.jpg", "notes/geb 12.3.1961.txt", "kunigunde zwiebelhuber/t.csv"),
    ],
)
def test_a_file_beside_that_tells_who_a_patient_is_is_refused_and_withheld(
    path: str, tmp_path: Path
) -> None:
    put(
        tmp_path / "set", "nevus/m0q.dcm", 1, PatientName=NAMES[0], PatientID=NUMBERS[0],
        PatientBirthDate="19610312",
    )  # fmt: skip
    data = (tmp_path / "set/nevus/m0q.dcm").read_bytes()
    beside = tmp_path / "set" / path
    beside.parent.mkdir(parents=True, exist_ok=True)
    beside.write_bytes(b"image_id,age\nm0q,50\n")
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(BadInput, match="tell who a patient is") as caught:
        deliver(store, tmp_path / "set")
    assert "0 of 1 DICOM and 1 other file" in caught.value.received
    assert not any(word in str(caught.value).casefold() for word in (*CLEAR, "1961"))
    store.create("raw/set/nevus/m0q.dcm", data)
    store.create(f"raw/set/{path}", beside.read_bytes())
    for run in ("first", "second"):
        manifest, record = ingested(tmp_path, run)
        assert is_clean(manifest, record)
        assert "12.3.1961" not in text_of(manifest, record)
        assert "m0q" not in manifest.index[manifest["law"].notna()]
        if path.endswith(".jpg"):
            assert (manifest["law"] == "name_of_a_patient").sum() == 1
    assert written_in_clear(store, ("zwiebelhuber", "471234_", "471234/", "12.3.1961")) == []


def written_in_clear(store: Store, words: tuple[str, ...]) -> list[str]:
    """The objects that hold a word, but for those under ``raw/`` and the lists of these."""
    found = []
    for entry in store.list(""):
        data = store.read(entry.key)
        if data.startswith(b"PAR1"):
            frame = pd.read_parquet(io.BytesIO(data)).select_dtypes(["str", "object"])
            data = str(frame.to_numpy().tolist()).encode()
        told = any(word.encode() in data.lower() for word in words)
        if told and not entry.key.startswith("raw/") and not entry.key.endswith("/raw.json"):
            found.append(entry.key)
    return found


@pytest.mark.parametrize("path", ["nevus/471239_overview.jpg", "nevus/Zwiebel.jpg", "hub/er.pdf"])
def test_a_file_beside_that_looks_alike_is_delivered(path: str, tmp_path: Path) -> None:
    put(tmp_path / "set", "nevus/m0q.dcm", 1, PatientName=NAMES[0], PatientID=NUMBERS[0])
    beside = tmp_path / "set" / path
    beside.parent.mkdir(parents=True, exist_ok=True)
    beside.write_bytes(b"no image")
    assert deliver(open_store(str(tmp_path / "store")), tmp_path / "set") == 2
