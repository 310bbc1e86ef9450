"""Names of files that tell who the patient of a DICOM is."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.intake.deliver import deliver
from tasks.intake.dicom_file import parsed
from tasks.intake.dicom_names import names_patient
from tasks.intake.inspect import inspected_folders
from tests.support import dicoms
from tests.support.dicom_deliveries import ingested, put, text_of
from tests.support.dicoms import header, written

# Names of files ----------------------------------------------------------------------------------

NAMED = {
    "PatientID": "QX-4711",
    "PatientName": "Müller-Lüdenscheidt^Ottokar",
    "PatientBirthDate": "19521107",
}


@pytest.mark.parametrize(
    "path",
    [
        *("nevus/QX-4711.dcm", "nevus/qx4711_a.dcm", "QX 4711/nevus/1.dcm"),
        *("nevus/Müller-Lüdenscheidt.dcm", "nevus/MuellerLuedenscheidt01.dcm"),
        *("Muller_Ludenscheidt/nevus/1", "nevus/ottokarmüllerlüdenscheidt.dcm"),
        *(
            "nevus/1952-11-07.dcm",
            "nevus/img_07111952.dcm",
            "nevus/7.11.1952 a.dcm",
            "nevus/521107.dcm",
        ),
    ],
)
def test_a_name_that_tells_who_the_patient_is_is_refused_and_not_repeated(
    path: str, tmp_path: Path
) -> None:
    put(tmp_path / "set", path, 1, **NAMED)
    put(tmp_path / "set", "nevus/m2.dcm", 2)
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(BadInput) as caught:
        deliver(store, tmp_path / "set", accept_unread=True)
    assert "1 of 2 DICOMs" in caught.value.received
    said = str(caught.value).casefold()
    assert not any(part in said for part in ("4711", "denscheid", "1952", "521107", "ottokar"))
    assert list(store.list("")) == []
    told = inspected_folders(tmp_path / "set", None)
    assert told.naming == 1
    assert "rename" in " ".join(told.told)


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("nevus/m1.dcm", {}),
        ("nevus/4712.dcm", {}),
        ("nevus/19521108.dcm", {}),
        ("nevus/QX-47110.dcm", {}),
        ("nevus/17.dcm", {"PatientID": "17"}),
        ("nevus/QX-4711.dcm", {"PatientIdentityRemoved": "YES"}),
        ("nevus/ISIC_0000017.dcm", {"PatientID": "ISIC_0000017", "PatientName": "ISIC_0000017"}),
        ("melanoma/1.dcm", {"PatientName": "Melanoma^Test"}),
        ("nevus/anonymous.dcm", {"PatientName": "Anonymous", "PatientID": "anonymous"}),
    ],
)
def test_other_names_are_delivered(path: str, more: dict[str, str], tmp_path: Path) -> None:
    put(tmp_path / "set", path, 1, **(NAMED | more))
    assert deliver(open_store(str(tmp_path / "store")), tmp_path / "set") == 1


@pytest.mark.parametrize(
    ("path", "tags"),
    [
        ("Hildebrandtx_02", {"PatientName": "Hildebrandtx Kriemhild"}),
        ("Walkuerex_03", {"PatientName": "Walkuerex, Kriemhild"}),
        ("Garciax_Anabelen_04", {"PatientName": "Fernandezx Garciax^Anabelen"}),
        ("Luedenscheidtx_05", {"PatientName": "Muellerx-Luedenscheidtx^Eva"}),
        ("471239_06", {"PatientID": "00471239"}),
        ("00471239_06", {"PatientID": "471239"}),
        ("ACC4711881_10", {"AccessionNumber": "ACC4711881"}),
        ("x_12Mar1961", {"PatientBirthDate": "19610312"}),
        ("x_12-Mär-61", {"PatientBirthDate": "19610312"}),
        ("12 de marzo de 1961", {"PatientBirthDate": "19610312"}),
    ],
)
def test_every_way_of_writing_is_found(path: str, tags: dict[str, Any]) -> None:
    file = parsed(written(header(**tags), dicoms.EXPLICIT), 10**6)
    assert names_patient(f"raw/set/nevus/{path}.dcm", file)
    assert not names_patient("raw/set/nevus/Kriem_471238_ACC4711882_13Mar1961.dcm", file)


def test_a_name_in_utf_8_is_found_where_no_character_set_is_said() -> None:
    data = written(header(PatientName="JXXrgenschlYYfer^Ornulf"), dicoms.EXPLICIT)
    data = data.replace(b"JXXrgenschlYYfer", "Jürgenschläfer".encode())
    file = parsed(data, 10**6)
    for path in ("nevus/Jürgenschläfer_01.dcm", "nevus/juergenschlaefer.dcm"):
        assert names_patient(path, file)
    assert not names_patient("nevus/Jürgen.dcm", file)


TABLE = b"image_id,lesion_id,age\nQX-4711,L1,50\nother name,L2,40\n"


@settings(deadline=None)
@given(
    number=st.from_regex(r"\A[A-Z]{2}[0-9]{4,8}\Z"),
    sign=st.sampled_from(["", "-", "_", " ", "."]),
    before=st.sampled_from(["", "scan ", "a/", "1_"]),
    after=st.sampled_from(["", "_1", " (2)", "a"]),
)
def test_a_number_is_found_in_any_spelling(number: str, sign: str, before: str, after: str) -> None:
    file = parsed(written(header(PatientID=number), dicoms.EXPLICIT), 10**6)
    spelled = f"raw/set/{before}{number[:2].lower()}{sign}{number[2:]}{after}.dcm"
    assert names_patient(spelled, file)
    assert not names_patient(f"raw/set/{before}{number}9{after}.dcm", file)


def test_a_named_file_that_came_past_deliver_is_quarantined_under_another_name(
    tmp_path: Path,
) -> None:
    store = open_store(str(tmp_path / "store"))
    named = put(tmp_path / "set", "nevus/x.dcm", 1, **NAMED).read_bytes()
    store.create("raw/first/nevus/QX-4711.dcm", named)
    store.create("raw/first/nevus/other name.dcm", named)  # the same bytes under a harmless name
    store.create("raw/metadata/t.csv", TABLE)
    for name in ("first", "second"):
        manifest, record = ingested(tmp_path, name)
        assert sorted(manifest["law"].dropna()) == ["name_of_a_patient"]
        assert manifest.loc["other name", "lesion_id"] == "L2"
        assert "4711" not in text_of(manifest, record)
        assert record.rows_without_image == 0
