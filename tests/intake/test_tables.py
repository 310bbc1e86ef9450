"""tables: what metadata tables say, however they are spelled, separated and encoded."""

import json

import pytest

from tasks.intake.contradictions import Contradiction
from tasks.intake.joining import join_tables
from tasks.intake.matching import Names
from tasks.lesions import Code
from tests.support.tables import rows_of

HEADER = "image_id,diagnosis,lesion_id,patient_id,age,sex,site"
ROW = "ISIC_0000001,melanoma,L1,P1,55,female,back"
SAID = {
    "image_id": "ISIC_0000001",
    "archive_diagnosis": (Code("labels", ("melanoma",)),),
    "lesion_id": "L1",
    "patient_id": "P1",
    "age_years": 55.0,
    "sex": "female",
    "site": "back",
}


@pytest.mark.parametrize(
    "data",
    [
        f"{HEADER}\n{ROW}\n".encode(),
        f"{HEADER}\r\n{ROW}\r\n".encode("utf-8-sig"),
        f"{HEADER}\n{ROW}\n".encode("utf-16"),
        f"{HEADER}\n{ROW}\n".replace(",", ";").encode(),
        f"{HEADER}\n{ROW}\n".replace(",", "\t").encode(),
        f"{HEADER.upper()}\n{ROW}\n".encode(),
        f"{HEADER.replace('_', ' ').title()}\n{ROW}\n".encode(),
        f"{HEADER}\n{ROW.replace('female', 'F').replace(',', ', ')}\n".encode(),
        f'{HEADER}\n"{ROW.replace(",", chr(34) + "," + chr(34))}"\n'.encode(),
        f"{HEADER}\n{ROW}\n,,,,,,\n".encode(),
        f"{HEADER}\n{ROW.replace('0001', '0001_downsampled.jpg')}\n".encode(),
    ],
    ids=[
        "plain",
        "bom",
        "utf-16",
        "semicolons",
        "tabs",
        "upper",
        "words",
        "blanks",
        "quoted",
        "empty-row",
        "file-name",
    ],
)
def test_a_table_says_the_same_in_any_dress(data: bytes) -> None:
    assert rows_of(data) == [SAID]


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b"image_id\nISIC_0000001\n", b'"', b"\x00\x01\x02"],
    ids=["empty", "half utf-16", "other columns", "ids only", "quote", "binary"],
)
def test_what_is_no_table_of_images_is_not_taken_for_one(data: bytes) -> None:
    assert rows_of(data) is None
    joined = join_tables([("x.csv", data)], Names())
    assert (joined.facts, joined.tables, list(joined.unread)) == ({}, [], ["x.csv"])


def test_what_says_that_it_does_not_know_links_no_images() -> None:
    text = f"{HEADER}\nA,unknown,unknown,-,unknown,Unknown,\nB,?,NA,?,85+,n/a,\n"
    assert rows_of(text.encode()) == [{"image_id": "A"}, {"image_id": "B", "age_years": 85.0}]


def test_a_ground_truth_that_answers_twice_is_kept_with_both_answers() -> None:
    mel, nv = Code("ISIC 2019", ("MEL",)), Code("ISIC 2019", ("NV",))
    rows = rows_of(b"image,MEL,NV,UNK\nA,1.0,1.0,0.0\nB,0,1,0\nC,0,0,0\n")
    assert rows == [
        {"image_id": "A", "archive_diagnosis": (mel, nv)},
        {"image_id": "B", "archive_diagnosis": (nv,)},
        {"image_id": "C"},
    ]


def test_columns_that_are_not_known_are_kept_from_every_table() -> None:
    tables = [
        ("a.csv", b"image_id,age,dx_type\nA,5,histo\n"),
        ("b.csv", b"image_id,age,camera\nA,5,X1\n"),
    ]
    joined = join_tables(tables, Names())
    assert json.loads(joined.facts["A"]["other_metadata"]) == {"dx_type": "histo", "camera": "X1"}
    assert [(each.key, each.rows) for each in joined.tables] == [("a.csv", 1), ("b.csv", 1)]
    assert joined.unread == {}


@pytest.mark.parametrize(
    ("second", "note"),
    [
        ("A,L1,P1,50,male", None),
        ("A,,,,", None),
        ("A,L2,P1,50,male", (Contradiction("lesion_id", "L1", "L2"),)),
        (
            "A,L1,P2,50,female",
            (Contradiction("patient_id", "P1", "P2"), Contradiction("sex", "male", "female")),
        ),
        ("A,L1,P1,51,male", (Contradiction("age_years", "50", "51"),)),
    ],
)
def test_tables_that_contradict_each_other_are_noted_and_repeated_rows_are_not(
    second: str, note: tuple[Contradiction, ...] | None
) -> None:
    header = "image_id,lesion_id,patient_id,age,sex\n"
    first = f"{header}A,L1,P1,50,male\n"
    for tables in (
        [("a.csv", first.encode()), ("b.csv", f"{header}{second}\n".encode())],
        [("a.csv", f"{first}{second}\n".encode())],
    ):
        facts = join_tables(tables, Names()).facts
        assert facts["A"].get("contradiction") == note
        assert facts["A"]["lesion_id"] == "L1"  # the first word stands
