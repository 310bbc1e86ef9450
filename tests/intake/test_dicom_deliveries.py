"""DICOMs through deliver and ingest: patients, tables, frames, cameras, laws."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.intake import pseudonyms
from tasks.intake.deliver import deliver
from tasks.intake.dicom_file import parsed
from tasks.intake.dicom_tags import tags_of
from tasks.intake.inspect import inspected_folders
from tasks.intake.manifest import BYTES
from tasks.intake.manifest import tags_of as tags_in
from tasks.intake.pseudonyms import KEY, for_now
from tasks.splitting.groups import groups_of
from tests.support import dicoms
from tests.support.deliveries import do, run_of
from tests.support.dicom_deliveries import ingested, manifest_of, put, table, text_of
from tests.support.dicoms import encapsulated, header, jpeg, native, photograph, written

# Tags --------------------------------------------------------------------------------------------


def tags(**said: Any) -> dict[str, Any]:
    data = written(header(**said), dicoms.EXPLICIT)
    return tags_of(parsed(data, 10**6), for_now()).told()


@pytest.mark.parametrize(
    ("said", "years"),
    [
        ({"PatientAge": "054Y"}, 54.0),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "400Y"}, None),
        ({"PatientBirthDate": "19500301", "StudyDate": "20200229"}, 69.0),
        ({"PatientBirthDate": "19500301", "AcquisitionDateTime": "20200301120000"}, 70.0),
        ({"PatientBirthDate": "19500301"}, None),
        ({"PatientBirthDate": "20210101", "StudyDate": "20200101"}, None),
        ({"PatientBirthDate": "", "StudyDate": "20200101"}, None),
        ({}, None),
    ],
)
def test_the_age_is_said_or_follows_from_two_dates(
    said: dict[str, str], years: float | None
) -> None:
    assert tags(**said).get("age_years") == years


@settings(deadline=None)
@given(born=st.dates(date(1900, 1, 1), date(2025, 1, 1)), days=st.integers(0, 40_000))
def test_the_age_is_that_of_the_calendar(born: date, days: int) -> None:
    taken = date.fromordinal(born.toordinal() + days)
    found = tags(PatientBirthDate=f"{born:%Y%m%d}", StudyDate=f"{taken:%Y%m%d}").get("age_years")
    birthdays = taken.year - born.year
    birthdays -= f"{taken:%m%d}" < f"{born:%m%d}"
    assert found == birthdays


def test_what_the_tags_say_is_told_without_dates_and_names() -> None:
    region = Dataset()
    region.CodeMeaning = "Upper arm"
    told = tags(
        PatientSex="F", PatientID="P-17", PatientName="Doe^Jane", PatientBirthDate="19500301",
        StudyDate="20200301", AnatomicRegionSequence=[region], ImageLaterality="L",
        Manufacturer="Canfield", ManufacturerModelName="VEOS SLR", BurnedInAnnotation="YES",
        RecognizableVisualFeatures="NO", AccessionNumber="A99",
    )  # fmt: skip
    assert told.keys() == {
        *("patient", "number", "study", "instance", "age_years", "sex", "site", "laterality"),
        *("device", "burnt_in", "named", "marks"),
    }
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in (*told["named"], *told["marks"]))
    assert (told["sex"], told["site"], told["device"]) == (
        "female",
        "upper arm",
        "Canfield VEOS SLR",
    )
    assert told["patient"].startswith("dicom-")
    assert tags(BodyPartExamined="ARM")["site"] == "arm"


@pytest.mark.parametrize(
    "number", ["", "0", "000000", "ANONYMOUS", "anonymized_17", "unknown", "n/a"]
)
def test_a_removed_number_links_nobody(number: str) -> None:
    assert "patient" not in tags(PatientID=number)
    assert "patient" in tags(PatientID="P17")


# Patients ----------------------------------------------------------------------------------------


def test_one_patient_has_one_name_in_a_store_and_another_elsewhere(tmp_path: Path) -> None:
    for number, patient in enumerate(("P-17", "p17 ", "P-18")):
        put(tmp_path / "set", f"nevus/{number}.dcm", number, PatientID=patient)
    first, _ = manifest_of(tmp_path / "a", tmp_path / "set")
    other, _ = manifest_of(tmp_path / "b", tmp_path / "set")
    assert list(first["patient_id"] == first["patient_id"].iloc[0]) == [True, True, False]
    assert not set(first["patient_id"]) & set(other["patient_id"])
    again, _ = ingested(tmp_path / "a", "again")
    assert list(again["patient_id"]) == list(first["patient_id"])


def test_two_clinics_that_number_from_one_are_told_apart_by_who_issued_the_number(
    tmp_path: Path,
) -> None:
    for number, issuer in enumerate(("North", "South")):
        put(
            tmp_path / "set", f"nevus/{number}.dcm", number, PatientID="1", IssuerOfPatientID=issuer
        )
    manifest, _ = manifest_of(tmp_path, tmp_path / "set")
    assert manifest["patient_id"].nunique() == 2


def test_a_table_that_names_the_patients_of_the_tags_means_the_same(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "set", f"nevus/m{number}.dcm", number, PatientID=f"HOSP-{number // 2}")
    rows = "image_id,patient_id,lesion_id\nm0,HOSP-0,L1\nm1,hosp0,L2\nm2,HOSP-0,L3\n"
    manifest, record = manifest_of(tmp_path, tmp_path / "set", table(tmp_path / "meta", rows))
    one, other, _ = manifest["patient_id"]
    assert one == other
    assert manifest["contradiction"].notna().to_list() == [False, False, True]  # m2 is HOSP-1's
    assert "HOSP" not in text_of(manifest, record).upper()


def test_a_table_of_another_naming_links(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / "set", f"nevus/m{number}.dcm", number, PatientID=f"HOSP-{number // 2}")
    rows = "image_id,patient_id,age\nm0,7,50\nm1,7,51\nm2,8,50\nm3,8,50\n"
    manifest, _ = manifest_of(tmp_path, tmp_path / "set", table(tmp_path / "meta", rows))
    assert manifest["contradiction"].isna().all()
    assert list(groups_of(manifest.reset_index())) == ["m0", "m0", "m2", "m2"]


def test_tags_and_tables_that_contradict_each_other_are_a_contradiction(tmp_path: Path) -> None:
    put(tmp_path / "set", "nevus/m0.dcm", 0, PatientAge="054Y", PatientSex="M")
    put(tmp_path / "set", "nevus/m1.dcm", 1, PatientAge="054Y", PatientSex="M")
    rows = "image_id,age,sex\nm0,54,female\nm1,54,m\n"
    manifest, _ = manifest_of(tmp_path, tmp_path / "set", table(tmp_path / "meta", rows))
    one, other = manifest["contradiction"]
    assert str(one[0]) == "sex female or male"
    assert other is None


# Frames, cameras, files --------------------------------------------------------------------------


def test_each_frame_is_an_image_of_one_lesion_and_is_known_again(tmp_path: Path) -> None:
    shown = [photograph(number) for number in range(3)]
    path = tmp_path / "set/nevus/scan.dcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(encapsulated([jpeg(each) for each in shown], shown[0], PatientID="P17"))
    put(tmp_path / "set", "melanoma/one.dcm", 7)
    (tmp_path / "set/nevus/copy.dcm").write_bytes(path.read_bytes())
    manifest, record = manifest_of(tmp_path, tmp_path / "set")
    ids = ["scan", "scan#2", "scan#3"]
    assert set(manifest.index) == {*ids, "copy", "copy#2", "copy#3", "one"}
    frames = manifest.loc[ids]
    names = list(frames["key"].str.rpartition("/")[2])
    assert names == ["scan.dcm", "scan.dcm#2", "scan.dcm#3"]
    assert frames["pixel_hash"].nunique() == 3
    assert frames["lesion_id"].nunique() == frames["patient_id"].nunique() == 1
    assert list(frames["label"]) == ["nevus"] * 3
    assert list(manifest["lesion_id"].isna()) == [each == "one" for each in manifest.index]
    assert record.reading
    assert "2 files hold several frames" in " ".join(record.reading.notes)
    put(tmp_path / "second", "nevus/two.dcm", 9)
    again, later = manifest_of(tmp_path, tmp_path / "second", name="second")
    assert later.fetched == 1
    same = [name for name in manifest.columns if name not in BYTES]
    assert again.loc[ids, same].astype(str).equals(manifest.loc[ids, same].astype(str))


def test_what_a_table_says_of_a_file_holds_for_each_frame(tmp_path: Path) -> None:
    shown = [photograph(number) for number in range(2)]
    path = tmp_path / "set/nevus/scan.dcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(native(shown))
    rows = "image_id,lesion_id,age\nscan,L9,50\n"
    manifest, record = manifest_of(tmp_path, tmp_path / "set", table(tmp_path / "meta", rows))
    assert list(manifest["lesion_id"]) == ["L9", "L9"]
    assert list(manifest["age_years"]) == [50.0, 50.0]
    assert record.rows_without_image == 0


def test_the_camera_is_a_source(tmp_path: Path) -> None:
    put(
        tmp_path / "set",
        "nevus/a.dcm",
        0,
        Manufacturer="FotoFinder",
        ManufacturerModelName="medicam",
    )
    put(tmp_path / "set", "nevus/ISIC_0000001.dcm", 1, Manufacturer="Canfield")
    put(tmp_path / "set", "nevus/b.dcm", 2)
    manifest, _ = manifest_of(tmp_path, tmp_path / "set")
    assert manifest.loc["a", "source"] == "FotoFinder medicam"
    assert manifest.loc["ISIC_0000001", "source"] == "ISIC, not HAM10000: Canfield"
    assert manifest.loc["b", "source"] == "unknown"


def test_a_dicom_is_known_by_its_content_whatever_it_is_called(tmp_path: Path) -> None:
    for number, name in enumerate(("a.dcm", "b.dicom", "1.2.840.10008.5", "IM0001", "c.jpg")):
        put(tmp_path / "set/nevus", name, number)
    manifest, _ = manifest_of(tmp_path, tmp_path / "set")
    assert len(manifest) == 5
    assert (manifest["format"] == "DICOM, JPEG").all()


def test_laws_count_what_tags_warn_of(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for number in range(12):
        label = "melanoma" if number % 2 else "nevus"
        maker = "Canfield" if number % 2 else "FotoFinder"
        warned = {"BurnedInAnnotation": "YES" if number < 3 else "NO", "Manufacturer": maker}
        put(folder, f"{label}/m{number}.dcm", number, **warned)
    put(folder, "nevus/face.dcm", 20, RecognizableVisualFeatures="YES", ICCProfile=b"no profile")
    rgb = photograph(30)
    (folder / "nevus/wrong.dcm").write_bytes(encapsulated(jpeg(rgb), rgb, "RGB", number=30))
    (folder / "nevus/scan.dcm").write_bytes(native(rgb[..., 0], "MONOCHROME2", kind=dicoms.CT))
    store = open_store(str(tmp_path / "store"))
    deliver(store, folder)
    record = do(run_of(store), "ingest", "validate")
    counts = {each.law: each.count for each in record.findings}
    assert counts["burnt_in_text"] == 3
    assert counts["recognizable_person"] == counts["colour_profile_not_applied"] == 1
    assert counts["colour_mislabelled"] == counts["not_a_photograph"] == 1
    assert counts["name_of_a_patient"] == counts["undecodable"] == 0
    confounded = next(each for each in record.findings if each.law == "source_confounded")
    assert "Canfield" in confounded.remark


def test_a_store_makes_its_key_once_and_only_for_dicoms(tmp_path: Path, images: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    deliver(store, images)
    do(run_of(store, "first"), "ingest")
    assert list(store.list("private/")) == []
    put(tmp_path / "set", "nevus/a.dcm", 1, PatientID="P17")
    deliver(store, tmp_path / "set")
    do(run_of(store, "second"), "ingest")
    key = store.read(KEY)
    assert len(bytes.fromhex(key.decode())) == pseudonyms.KEY_BYTES
    put(tmp_path / "third", "nevus/b.dcm", 2, PatientID="P18")
    deliver(store, tmp_path / "third")
    do(run_of(store, "third"), "ingest")
    assert store.read(KEY) == key
    store.replace(KEY, b"damaged")
    put(tmp_path / "fourth", "nevus/c.dcm", 3, PatientID="P18")
    deliver(store, tmp_path / "fourth")
    with pytest.raises(BadInput, match="key of the patients' names"):
        do(run_of(store, "fourth"), "ingest")


def test_inspect_counts_patients_of_dicoms(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / "set", f"nevus/m{number}.dcm", number, PatientID=f"P{number // 2}")
    told = inspected_folders(tmp_path / "set", None)
    assert (told.dicoms, told.naming) == (4, 0)
    assert told.patients == (2, 4)
    assert told.labels["nevus"] == 4


def test_tags_are_kept_as_json(tmp_path: Path) -> None:
    put(tmp_path / "set", "nevus/a.dcm", 1, PatientID="P17", ImageLaterality="R")
    manifest, _ = manifest_of(tmp_path, tmp_path / "set")
    (told,) = tags_in(manifest)
    others = json.loads(str(manifest.loc["a", "other_metadata"]))
    assert others == {"laterality": "R", "study": told["study"]}
    assert np.isnan(manifest["age_years"].astype(float)).all()
