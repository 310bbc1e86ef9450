"""Deliveries that an attacker thought of: each is read rightly, or what is not read is told."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tasks.engine.deliveries import Withdrawal, note_withdrawal
from tasks.engine.person import Person
from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.intake.cells import spelling
from tasks.intake.deliver import deliver
from tasks.intake.folders import label_of
from tasks.intake.forms import unread_forms
from tasks.intake.images import Refused, decode
from tasks.intake.inspect import inspected_folders
from tasks.intake.joining import Joined, join_tables
from tasks.intake.manifest import read_parquet
from tasks.intake.matching import Names
from tasks.lesions import MELANOMA, image_id_from, is_image
from tasks.terms import term_means
from tests.support.deliveries import do, run_of
from tests.support.dicoms import jpeg, photograph
from tests.support.workbooks import workbook

IDS = [f"m{n:02}" for n in range(12)]
NAMES = Names((f"raw/set/melanoma/{name}.jpg", name) for name in IDS)


def joined(*columns: str, cells: dict[str, list[str]]) -> Joined:
    rows = [",".join(columns)] + [
        ",".join([name, *(cells[column][n % len(cells[column])] for column in columns[1:])])
        for n, name in enumerate(IDS)
    ]
    return join_tables([("raw/metadata/t.csv", "\n".join(rows).encode())], NAMES)


def problems(found: Joined) -> str:
    return "; ".join(problem for each in found.tables for problem in each.problems)


# Diagnoses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["histology", "final_diagnosis", "Befund"])
def test_a_second_column_of_other_diagnoses_is_told_and_one_that_agrees_is_not(name: str) -> None:
    both = {"diagnosis": ["melanoma"], name: ["melanoma", "nevus"]}
    told = problems(joined("image_id", "diagnosis", name, cells=both))
    assert f"{name!r} holds other diagnoses in 6 rows" in told
    agreeing = {"diagnosis": ["melanoma"], name: ["melanoma", "malignant", "MEL"]}
    assert problems(joined("image_id", "diagnosis", name, cells=agreeing)) == ""


def test_one_column_of_truth_says_what_an_image_does_not_show() -> None:
    facts = joined("image_id", "melanoma", cells={"melanoma": ["1", "0"]}).facts
    assert [code.text for code in facts["m00"]["archive_diagnosis"]] == ["melanoma"]
    (denied,) = facts["m01"]["archive_diagnosis"]
    assert MELANOMA not in (term_means(denied.text) or (MELANOMA,))


@pytest.mark.parametrize(
    ("code", "means"),
    [("C43.9", "melanoma"), ("D22.5", "nevus"), ("L57.0", "actinic keratosis"), ("L82", "sebor")],
)
def test_a_code_of_icd_10_is_understood(code: str, means: str) -> None:
    assert str((term_means(code) or ("",))[0]).startswith(means)
    assert term_means("J18.9") is None


@pytest.mark.parametrize(
    "word", ["melanoma?", "? melanoma", "(melanoma)", "!melanoma", "-melanoma"]
)
def test_a_doubted_or_denied_word_is_no_label(word: str) -> None:
    assert term_means(word) is None
    assert label_of(word) is None
    assert term_means("melanoma (in situ)") == ("melanoma",)


def test_dignity_and_the_words_of_other_languages_agree_with_their_branch() -> None:
    facts = joined("image_id", "Dignität", cells={"Dignität": ["maligne", "benigne"]}).facts
    said = [term_means(facts[name]["archive_diagnosis"][0].text) for name in ("m00", "m01")]
    assert [MELANOMA in (each or ()) for each in said] == [True, False]


# Ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("001", "1"), ("L-007", "L7"), ("Na\u0308m1", "N\xe4m1"), ("L\u20131", "L-1")),
        ("\uff17", "7"),
    ],
)
def test_two_ways_of_writing_an_id_name_one_thing(one: str, other: str) -> None:
    assert spelling(one) == spelling(other)
    assert spelling("10") != spelling("1")


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("second", "lesions"), [("image_2", 12), ("refers_to", 6)])
def test_a_second_column_of_images_counts_if_it_is_called_alike(second: str, lesions: int) -> None:
    rows = [f"{one},{other},L{one}" for one, other in zip(IDS[::2], IDS[1::2], strict=True)]
    table = "\n".join([f"image_1,{second},lesion_id", *rows])
    facts = join_tables([("raw/metadata/t.csv", table.encode())], NAMES).facts
    assert sum("lesion_id" in facts.get(name, {}) for name in IDS) == lesions


def test_a_sheet_that_is_not_used_is_told() -> None:
    rows = [["image_id", "diagnosis"], *([name, "melanoma"] for name in IDS)]
    more = [["Foto", "Muttermal"], *([f"x{n}", str(n)] for n in range(4))]
    book = workbook(rows, more)
    found = join_tables([("raw/metadata/t.xlsx", book)], NAMES)
    assert "the sheet 'Sheet 2' is not used" in problems(found)
    assert problems(join_tables([("raw/metadata/t.xlsx", workbook(rows))], NAMES)) == ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, label in enumerate(("melanoma", "nevus") * 2):
        path = tmp_path / "set" / label / f"a{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(photograph(number)))
    (tmp_path / "tables").mkdir()
    return tmp_path


def test_a_text_file_may_be_a_table_and_other_forms_are_refused(folder: Path) -> None:
    (folder / "tables/labels.txt").write_text("image\tlesion_id\na0\tL0\na1\tL1\na2\tL2\na3\tL3\n")
    (folder / "tables/README.txt").write_text("Ask Ada.\n")
    told = inspected_folders(folder / "set", folder / "tables")
    assert told.lesions == (4, 4)
    assert told.unread == []
    assert told.ignored == ["raw/metadata/README.txt"]

    (folder / "tables/more.csv.gz").write_bytes(b"\x1f\x8b")
    (folder / "set/nevus/raw1.CR2").write_bytes(b"II*\0")
    with pytest.raises(BadInput, match=r"more\.csv\.gz: a form of table") as caught:
        inspected_folders(folder / "set", folder / "tables").check()
    assert "raw1.CR2: a camera's raw picture" in str(caught.value)
    assert unread_forms(("raw/a/notes.pdf", "raw/a/x.jpg")) == {}


@pytest.mark.parametrize("name", ["b.jpg?size=large", "b.JPG_large", "b.jpg~", "b.JPEG2", "b.mpo"])
def test_a_picture_is_known_by_what_it_is_called_before(name: str) -> None:
    assert is_image(f"raw/set/{name}")
    assert image_id_from(f"raw/set/{name}") == "b"
    assert not is_image("raw/metadata/labels")


@pytest.mark.parametrize("data", [b"\xff\x0a" + bytes(99), b"8BPS" + bytes(99), b"P6\n2 2\n255\n"])
def test_what_is_not_decoded_here_says_what_would_help(data: bytes) -> None:
    found = decode(data, packed_px=32, maximum_megapixels=10)
    assert isinstance(found, Refused)
    assert "export it" in found.reason or "export its picture" in found.reason


def test_a_reading_that_speaks_of_what_is_not_there_is_told(folder: Path) -> None:
    (folder / "set/reading.yaml").write_text("folders: {Nirgendwo: melanoma, nevus: nevus}\n")
    told = inspected_folders(folder / "set", None)
    assert told.idle == ["Nirgendwo"]
    assert any("Nirgendwo" in sentence for sentence in told.told)


# Several deliveries -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["IMG_{:04}", "case{}left"])
def test_two_clinics_cameras_count_apart_and_a_table_speaks_of_its_own_clinic(
    tmp_path: Path, form: str
) -> None:
    store = open_store(str(tmp_path / "store"))
    for clinic, first in (("clinicA", 0), ("clinicB", 50)):
        for number in range(6):
            label = "melanoma" if number % 2 else "nevus"
            path = tmp_path / clinic / label / f"{form.format(number)}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(photograph(first + number)))
    rows = [f"{form.format(number)},B{number // 2}" for number in range(6)]
    (tmp_path / "clinicB/labels.csv").write_text("\n".join(["image_id,lesion_id", *rows]) + "\n")
    deliver(store, tmp_path / "clinicA")
    deliver(store, tmp_path / "clinicB")
    run = run_of(store)
    manifest = read_parquet(run, do(run, "ingest").manifest)

    assert manifest["image_id"].nunique() == 12
    by_clinic = manifest.groupby(manifest["key"].str.split("/").str[1])["lesion_id"]
    assert by_clinic.nunique().to_dict() == {"clinicA": 0, "clinicB": 3}


def test_a_smaller_copy_keeps_its_id(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    for clinic, width in (("full", 128), ("small", 64)):
        folder = tmp_path / clinic / "nevus"
        folder.mkdir(parents=True)
        with Image.fromarray(photograph(1, 128, 96)) as picture:
            picture.resize((width, width * 3 // 4)).save(folder / "case1left.jpg")
        deliver(store, tmp_path / clinic)
    run = run_of(store)
    manifest = read_parquet(run, do(run, "ingest").manifest)
    assert manifest["image_id"].tolist() == ["case1left"] * 2


def test_withdrawn_bytes_stay_withdrawn_under_another_name(folder: Path) -> None:
    store = open_store(str(folder / "store"))
    deliver(store, folder / "set")
    keys = tuple(sorted(entry.key for entry in store.list("raw/")))
    who = Person(name="Ada", how="command line", authenticated=False)
    note_withdrawal(store, Withdrawal(by=who, keys=keys[:2], reason="consent withdrawn"))
    shutil.copytree(folder / "set", folder / "again")

    deliver(store, folder / "again")
    active = [entry.key for entry in run_of(store).delivered()]
    assert len(active) == 2 + 2
    deliver(store, folder / "again", restore=True)
    run = run_of(store, name="second")
    assert pd.Series([entry.key for entry in run.delivered()]).str.contains("again").sum() == 4
