"""What tables and folders mean, and that nothing delivered is ignored in silence."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.intake.cells import ids, spelling, truth, years
from tasks.intake.columns import NAMES, held_by, may_name, plain
from tasks.intake.folders import is_negated, label_of, suggestion_for
from tasks.intake.guide import Guide, parse_guide
from tasks.intake.joining import join_tables
from tasks.intake.matching import Names
from tasks.intake.sheets import NoTable
from tasks.intake.tables import read_tables
from tasks.lesions import DIAGNOSES, OTHER, Code
from tasks.terms import archive_says, exact_class, is_understood, meanings
from tests.support.tables import rows_of
from tests.support.workbooks import workbook

IMAGES = Names(
    (f"raw/set/melanoma/m{n:02d}{view}.jpg", f"m{n:02d}{view}") for n in range(9) for view in "ab"
)
LESIONS = {f"m{n:02d}{view}": f"L{n}" for n in range(9) for view in "ab"}
IMAGES = Names((f"raw/set/melanoma/{name}.jpg", name) for name in LESIONS)
ROWS = [[name, "melanoma", lesion, f"P{lesion}"] for name, lesion in LESIONS.items()]
HEADER = ["image_id", "diagnosis", "lesion_id", "patient_id"]


def csv(header: list[str], rows: list[list[str]], separator: str = ",") -> bytes:
    return "\n".join(separator.join(row) for row in [header, *rows]).encode()


def lesions_in(data: bytes, names: Names = IMAGES) -> dict[str, str]:
    joined = join_tables([("t.csv", data)], names)
    return {name: row["lesion_id"] for name, row in joined.facts.items() if "lesion_id" in row}


# Tables ------------------------------------------------------------------------------------------


@given(
    st.sampled_from(NAMES["image_id"]),
    st.sampled_from(NAMES["lesion_id"]),
    st.sampled_from([str, str.upper, str.title, lambda text: text.replace("_", " ")]),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]),
    st.lists(st.sampled_from(["Export 2026", "Klinik für Haut"]), max_size=2),
)
def test_every_known_name_of_a_column_is_read_in_any_dress(
    image: str, lesion: str, dress: Any, separator: str, encoding: str, titles: list[str]
) -> None:
    header = [dress(image), "diagnosis", dress(lesion), "notes"]
    text = "\n".join([*titles, csv(header, ROWS, separator).decode()])
    assert lesions_in(text.encode(encoding)) == LESIONS


def test_camels_a_workbook_and_a_separator_line_are_read() -> None:
    assert lesions_in(csv(["ImageId", "diagnosis", "lesionId", "PatientID"], ROWS)) == LESIONS
    assert lesions_in(b"sep=;\n" + csv(HEADER, ROWS, ";")) == LESIONS
    assert lesions_in(workbook([["Export 2026"], HEADER, *ROWS])) == LESIONS
    numbers = [[name, "melanoma", n // 2, 1.0] for n, name in enumerate(LESIONS)]
    found = lesions_in(workbook([HEADER, *numbers]))
    assert found == {name: str(n // 2) for n, name in enumerate(LESIONS)}


def test_a_column_is_found_by_the_images_that_its_cells_name() -> None:
    rows = [[str(n), *row] for n, row in enumerate(ROWS)]
    assert lesions_in(csv(["id", "Aufnahme", "diagnosis", "lesion_id", "x"], rows)) == LESIONS


def test_a_row_that_does_not_fit_is_named_and_the_others_are_read() -> None:
    ragged = csv(HEADER, [*ROWS[:4], [*ROWS[4], "one more"], *ROWS[5:]])
    (read,) = read_tables(ragged, IMAGES)
    assert len(read.rows) == len(ROWS) - 1
    assert "line 6 with 5" in read.problems[0]
    (read,) = read_tables(csv(HEADER, [[*row, ""] for row in ROWS]), IMAGES)
    assert (len(read.rows), read.problems) == (len(ROWS), ())  # an empty cell at the end is none


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        (b"a,b\n1,2\n", "no column of image ids"),
        (b"image_id,camera\nm00a,X\n", "no column says anything"),
        (b"PK\x03\x04 no workbook", "no workbook"),
        (b"\x00\x01\x02\x03" * 50, "no text"),
    ],
)
def test_a_file_that_is_no_table_says_why(data: bytes, why: str) -> None:
    with pytest.raises(NoTable, match=why):
        read_tables(data, IMAGES)
    assert why in join_tables([("x.csv", data)], IMAGES).unread["x.csv"]


def test_a_column_that_may_name_lesions_or_patients_is_told() -> None:
    (read,) = read_tables(csv(["image_id", "diagnosis", "fall_nr", "age"], ROWS), IMAGES)
    assert "'fall_nr' may name lesions or patients" in read.problems[-1]
    assert may_name(["lesion_type", "patient_age", "personal_history"], []) == []


# Rows and images ---------------------------------------------------------------------------------


@given(
    st.sampled_from(
        ["{}", "{}.jpg", "{}.JPG", "Train\\melanoma\\{}.jpg", "/data/x/{}.jpeg", "C:\\a b\\{}.png",
         "https://host.example/i/{}.jpg?size=full", " {} "]
    ),
    st.sampled_from([str, str.upper]),
)  # fmt: skip
def test_a_row_finds_its_image_by_path_address_or_case(form: str, case: Any) -> None:
    assert IMAGES.find(form.format(case("m03b"))) == "m03b"
    assert IMAGES.find(form.format("m77x")) not in IMAGES.ids


def test_a_dot_in_an_id_is_no_suffix_and_case_counts_where_it_must() -> None:
    dotted = Names([("raw/s/nevus/m00.a.jpg", "m00.a"), ("raw/s/nevus/m00.b.jpg", "m00.b")])
    assert (dotted.find("m00.a"), dotted.find("m00.b.jpg")) == ("m00.a", "m00.b")
    both = Names([("raw/s/nevus/X1.jpg", "X1"), ("raw/s/nevus/x1.jpg", "x1")])
    assert (both.find("X1"), both.find("x1")) == ("X1", "x1")


# Ids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["-1", "na", "none", "k.A.", "unknown", "N/A", "", "0", "999"])
def test_a_word_for_unknown_links_nothing(word: str) -> None:
    rows = [[name, "melanoma", lesion, word] for name, lesion in LESIONS.items()]
    facts = join_tables([("t.csv", csv(HEADER, rows))], IMAGES).facts
    assert not any("patient_id" in row for row in facts.values())
    assert {name: row["lesion_id"] for name, row in facts.items()} == LESIONS


def test_a_nought_that_stands_as_often_as_other_ids_is_an_id() -> None:
    found, why = ids(pd.Series(["0", "0", "1", "1", "2", "2"]))
    assert (found.tolist(), why) == (["0", "0", "1", "1", "2", "2"], "")
    found, why = ids(pd.Series(["0"] * 12 + ["1", "2", "3"]))
    assert found.notna().sum() == 3
    assert "'0' stands for so many images" in why


def test_ids_that_a_spreadsheet_cut_link_nothing_and_are_told() -> None:
    found, why = ids(pd.Series(["1.23457E+12", "1,2E+9", "E12", "20200000000100"]))
    assert found.notna().tolist() == [False, False, True, True]
    assert "2 ids, such as '1.23457E+12', were cut by a spreadsheet" in why


@given(st.sampled_from(["Q-001", "q001", "Q_001", "Q 001", "q-001"]))
def test_two_spellings_of_one_id_link(other: str) -> None:
    tables = [
        ("a.csv", csv(["image_id", "lesion_id"], [["m00a", "Q001"]])),
        ("b.csv", csv(["image_id", "lesion_id"], [["m00a", other], ["m00b", other]])),
    ]
    facts = join_tables(tables, IMAGES).facts
    assert facts["m00a"]["lesion_id"] == facts["m00b"]["lesion_id"] == "Q001"
    assert "contradiction" not in facts["m00a"]


def test_names_of_two_archives_link_and_two_names_of_one_archive_contradict() -> None:
    first = ("a.csv", csv(["image_id", "lesion_id"], [["m00a", "IL_0000001"]]))
    header = ["image_id", "lesion_id"]
    second = ("b.csv", csv(header, [["m00a", "HAM_0000118"], ["m00b", "HAM_0000118"]]))
    joined = join_tables([first, second], IMAGES)
    assert joined.facts["m00a"]["lesion_id"] == joined.facts["m00b"]["lesion_id"]
    assert "contradiction" not in joined.facts["m00a"]
    assert "count as one" in joined.notes[0]
    third = ("c.csv", csv(header, [["m00a", "IL_0000002"]]))
    assert "contradiction" in join_tables([first, third], IMAGES).facts["m00a"]


def test_lesions_numbered_within_the_patient_are_kept_apart_and_told() -> None:
    names = sorted(IMAGES.ids)
    rows = [[name, "melanoma", str(n % 3), f"P{n // 6}"] for n, name in enumerate(names)]
    joined = join_tables([("t.csv", csv(HEADER, rows))], IMAGES)
    assert {row["lesion_id"] for row in joined.facts.values()} == {
        f"P{n // 6}/{n % 3}" for n in range(len(names))
    }
    assert "count within a patient" in joined.notes[0]


# Codes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "yes", "no"),
    [
        ("MEL,NV,BCC,AKIEC", "1.0", "0.0"),
        ("mel,nv,df,bcc", "1", "0"),
        ("MEL,NV,DF,BCC", "True", "False"),
        ("MEL,NV,DF,BCC", "yes", "no"),
        ("MEL,NV,SCCKA,BEN_OTH", "x", ""),
    ],
)
def test_a_truth_for_each_diagnosis_is_read_in_any_spelling(header: str, yes: str, no: str) -> None:
    rows = [["m00a", yes, no, no, no], ["m01a", no, no, no, yes]]
    read = rows_of(csv(["image", *header.split(",")], rows), IMAGES)
    assert read is not None
    assert archive_says(read[0]["archive_diagnosis"]) == ("melanoma",)
    assert archive_says(read[1]["archive_diagnosis"]) != ("melanoma",)


def test_a_decimal_comma_is_a_truth_value_and_a_prediction_is_none() -> None:
    read = rows_of(b"image;MEL;NV\nm00a;1,0;0,0\n", IMAGES)
    assert read == [{"image_id": "m00a", "archive_diagnosis": (Code("ISIC 2019", ("MEL",)),)}]
    rows = [[name, "0.91", "0.09"] for name in LESIONS]
    (found,) = read_tables(csv(["image", "MEL", "NV"], rows), IMAGES)
    assert "probabilities" in found.problems[0]
    assert not any("archive_diagnosis" in row for row in found.rows)


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("malignant", "melanoma"), ("benign", "nevus"), ("1. melanoma", "melanoma"),
        ("Melanoma metastasis", "melanoma"), ("Melanoma, NOS", "melanoma"),
        ("Benign epidermal proliferations", "seborrheic keratosis"), ("AKIEC", "actinic keratosis"),
        ("Indeterminate", "actinic keratosis"),
    ],
)  # fmt: skip
def test_what_is_coarser_agrees_if_its_branch_holds_the_label(word: str, label: str) -> None:
    said = archive_says((Code("labels", (word,)),))
    assert said is not None
    assert label in said
    assert is_understood(Code("labels", (word,)))


def test_what_is_coarser_is_no_label_and_what_lies_elsewhere_contradicts() -> None:
    benign = archive_says((Code("labels", ("benign",)),))
    assert benign is not None
    assert "melanoma" not in benign
    assert OTHER in benign
    assert exact_class(benign) is None
    assert archive_says((Code("labels", ("Benign melanocytic proliferations",)),)) == (
        "nevus",
        OTHER,
    )
    assert archive_says((Code("labels", ("solar lentigo",)),)) == ()


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=9, max_size=14))
def test_a_word_that_nobody_knows_is_silence_and_is_counted(word: str) -> None:
    code = Code("labels", (f"qx {word}",))
    assert meanings(code) is None
    assert archive_says((code, Code("labels", ("nevus",)))) == ("nevus",)
    (read,) = read_tables(csv(HEADER, [["m00a", code.text, "L1", "P1"]]), IMAGES)
    assert read.codes == {code.text: 1}


def test_a_column_of_diagnoses_under_an_unknown_name_is_told() -> None:
    def problems(name: str, words: list[str]) -> tuple[str, ...]:
        rows = [[image, word] for image, word in zip(LESIONS, words, strict=False)]
        (read,) = read_tables(csv(["image_id", name], rows), IMAGES)
        return read.problems

    assert "'Befund' holds diagnoses" in problems("Befund", ["melanoma", "NV", "bcc"])[0]
    assert problems("iddxfull", ["melanoma", "nevus"]) == ()  # ISIC's own, written together
    for words in (["red", "blue"], ["yes", "no"], ["0.2", "0.7"]):
        with pytest.raises(NoTable, match="no column says anything"):
            problems("Befund", words)


# Folders -----------------------------------------------------------------------------------------


@given(st.sampled_from(DIAGNOSES), st.sampled_from(["Not{}", "non-{}", "no_{}", "not {}", "Non{}"]))
def test_a_folder_that_says_what_its_images_are_not_is_never_the_class(
    name: str, form: str
) -> None:
    folder = form.format(name.title().replace(" ", "") if form[-1] == "}" else name)
    assert is_negated(folder)
    assert label_of(folder) is None
    assert suggestion_for(folder) is None
    assert not is_negated(name)
    assert label_of(name) == name


@pytest.mark.parametrize(
    ("folder", "meant"),
    [
        ("melanomas", "melanoma"), ("03_nevus", "nevus"), ("Mélanome", "melanoma"),
        ("melanma", "melanoma"), ("Basalzellkarzinom", "basal cell carcinoma"),
        ("queratosis seborreica", "seborrheic keratosis"), ("NodularMelanoma", "melanoma"),
        ("ceratose actínica", "actinic keratosis"), ("images", None), ("P0017", None),
    ],
)  # fmt: skip
def test_a_near_miss_is_suggested_and_not_believed(folder: str, meant: str | None) -> None:
    assert suggestion_for(folder) == meant
    assert label_of(folder) is None


# Ages --------------------------------------------------------------------------------------------


@given(
    st.integers(0, 120), st.sampled_from(["{}", "{}.0", "{},0", "{} years", "{} Jahre", "{} ans"])
)
def test_an_age_is_read_in_any_dress(age: int, form: str) -> None:
    assert years(form.format(age)) == age


@pytest.mark.parametrize("word", ["410", "-3", "old", "1950-03-01", "12.05.1961"])
def test_what_is_no_age_counts_as_unknown_and_is_told(word: str) -> None:
    assert years(word) is None
    (read,) = read_tables(csv(["image_id", "age"], [["m00a", word], ["m01a", "50"]]), IMAGES)
    assert repr(word) in read.problems[0]
    assert "age_years" not in read.rows[0]


def test_small_readers_of_cells() -> None:
    assert [truth(word) for word in ("1,0", "Wahr", "0", "0.5")] == [True, True, False, None]
    assert spelling("1.0") == spelling("1") != spelling("10")
    assert plain("Läsion-Nr.") == "lasion_nr"
    assert held_by(["img_id", "lesion_id", "region"])["site"] == "region"


def test_a_guide_says_what_cannot_be_guessed() -> None:
    guide = parse_guide(
        b"columns: {t.csv: {Fall: lesion_id, Aufn: image_id, Datum: ignore}}\n"
        b"codes: {M1: melanoma}\nfolders: {auff: melanoma, NotMelanoma: none}\n",
        "reading.yaml",
    )
    rows = [["m00a", "M1", "7", "2020"], ["m00b", "M1", "7", "2021"]]
    table = csv(["Aufn", "diagnosis", "Fall", "Datum"], rows)
    facts = join_tables([("raw/t.csv", table)], IMAGES, guide).facts
    assert facts["m00a"]["lesion_id"] == "7"
    assert archive_says(facts["m00a"]["archive_diagnosis"]) == ("melanoma",)
    assert guide.folder("AUFF") == "melanoma"
    assert Guide().folder("auff") is None


def test_a_hundred_thousand_rows_of_a_table_are_read() -> None:
    """How fast: tests/benchmarks; here only that size makes no difference."""
    rows = [[f"x{n}", "nevus", f"L{n // 2}", f"P{n // 9}"] for n in range(100_000)]
    found = lesions_in(csv(HEADER, rows), Names((f"raw/a/{row[0]}.jpg", row[0]) for row in rows))
    assert len(found) == 100_000
    assert len(set(found.values())) == 50_000
