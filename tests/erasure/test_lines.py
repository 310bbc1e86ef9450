"""Rows and lines of a text are found whatever its form, and no byte of others changes."""

from typing import Any

import pytest

from tasks.erasure.delivered import without
from tasks.erasure.lines import is_nested, rows_of, text_of
from tasks.erasure.mentions import Mentions
from tasks.erasure.scope import Scope
from tasks.intake.guide import Guide
from tasks.intake.matching import Names

IDS = ("m00a", "m00b", "m01a", "m02a", "55", "56")


def left(data: bytes, key: str = "raw/x/t.csv", ids: tuple[str, ...] = IDS, **of: Any) -> bytes:
    """What is left of a file when ``m00a`` is erased, or what `of` says."""
    scope = Scope.model_validate({"asked": "image", "name": "m00a", "images": {"m00a"}} | of)
    names = Names((f"raw/x/{each}.jpg", each) for each in ids)
    return without(key, data, Mentions(scope, names), Guide())[0]


@pytest.mark.parametrize(
    "row",
    [
        *("m00a,55,x", "M00A.JPG,55,x", "C:\\export\\m00a.jpg,55,x", "9,m00a.jpg,x", "m-00a,55,x"),
        *("m00a,55,x,more,more", "m00a", '"m00a",55,"two\nlines"', "9,9,m00b.jpg|m00a.jpg"),
        '="m00a",55,x',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_row_that_names_the_image_in_any_cell_goes_and_no_other_byte(
    row: str, encoding: str, end: str
) -> None:
    above = ["Export, für alle", "", "image_id,age,notes", "m01a,55,é", "m02a,55,x,ragged"]
    below = ['"m00b" ,56,"a ""b""', 'and more"', "m02a", "", "m03a,55"]
    before, after = (end.join(lines) + end for lines in (above, below))
    row = row.replace("\n", end)

    then = (before + row + end + after).encode(encoding)
    assert left(then) == (before + after).encode(encoding)
    assert left(left(then)) == left(then)


@pytest.mark.parametrize(
    "text",
    [
        "image_id,lesion_id,age\nm00b,m00a,55\n",  # another image of a lesion that is called so
        "image_id,note\nm00b,same as m00a\n",
        "what,m00a,m00b,m01a,m02a\nage,50,51,52,53\n",  # the images are columns
        '{"m00a": "Mrs Miller",\n "m00b": 1}',
    ],
)
def test_what_is_about_others_stays(text: str) -> None:
    assert left(text.encode()) == text.encode()


def test_a_number_names_an_image_only_in_a_column_of_images() -> None:
    of: dict[str, Any] = {"name": "55", "images": {"55"}}
    table = b"image_id,age,file\n55,56,x\n56,55,x\n57,1,set/55.jpg\n"

    assert left(table, **of) == b"image_id,age,file\n56,55,x\n"
    by_content = b"image_id,photo_file,age\n55,m00b.jpg,56\n57,55.jpg,30\n58,m01a.jpg,31\n"
    assert left(by_content, **of) == by_content.replace(b"57,55.jpg,30\n", b"")


def test_the_patient_goes_in_any_spelling_and_a_number_only_as_a_patient() -> None:
    table = b"patient_id,age,remark\np100,55,a\nP-101,55,b\nP 100,1,c\nP1-00,2,d\n"
    of: dict[str, Any] = {"asked": "patient", "name": "P-100", "images": set()}
    assert left(table, **of) == b"patient_id,age,remark\nP-101,55,b\nP1-00,2,d\n"

    numbers = b"patient_id,age\n55,30\n30,55\n"
    assert left(numbers, **(of | {"name": "55"})) == b"patient_id,age\n30,55\n"


def test_a_quote_that_nobody_closed_takes_no_other_row_along() -> None:
    rows = ['m01a,"left,1\n', "m00a,x,2\n", "m02a,y,3\n", 'm03a,z,"\n', "m04a,z,4\n"]
    head = "image_id,notes,n\n"

    assert left((head + "".join(rows)).encode()).decode() == head + "".join(
        row for row in rows if "m00a" not in row
    )
    only = head + "m01a,x,1\n" + 'm02a,y,"2\n' + "m00a,x,3\n" + "m03a,x,4\n"
    assert left(only.encode()).decode() == only.replace("m00a,x,3\n", "")
    huge = head + 'm01a,"x,1\n' + "m02a,x,2\n" * 30_000 + "m00a,x,1\n"
    assert left(huge.encode()).decode() == huge.replace("m00a,x,1\n", "")


@pytest.mark.parametrize("key", ["raw/x/notes.txt", "raw/x/log", "raw/x/rows.jsonl"])
def test_a_line_of_another_text_goes_if_it_holds_the_id_as_a_word(key: str) -> None:
    lines = [b"m00a: Mrs Miller\r\n", b"xm00a, m00ab: Mr Other\n", b"saw m00a.\n", b"m01a (m00b)\n"]
    if key.endswith("jsonl"):
        lines = [
            b'{"image": "m00a"}\n',
            b'{"image": "m00ab"}\n',
            b'{"of": ["m00a"]}\n',
            b'{"n":1}\n',
        ]

    assert left(b"".join(lines), key) == lines[1] + lines[3]


def test_what_is_no_text_is_told_and_not_changed() -> None:
    scope = Scope(asked="image", name="m00a", images=frozenset({"m00a"}))
    for data, looked in ((b"%PDF\x00m00a", False), (b"nothing", True)):
        assert without("raw/x/y", data, Mentions(scope, Names()), Guide()) == (data, looked)


def test_the_rows_together_are_the_text() -> None:
    text = 'sep=;\r\na;"b\r\nc"\n\nd;"e\rf;g\n"h'
    assert "".join(row.text for row in rows_of(text)) == text
    for data in (b"\xff\xfea\x00", "ü\n".encode("cp1252"), b"\x81\x8d\n", b"\xef\xbb\xbfa"):
        found = text_of(data)
        assert found
        assert found.bytes_of(found.text) == data
    assert text_of(b"a\x00b") is None
    assert is_nested("x.txt", "[1]")
    assert not is_nested("x.csv", "[1],[2]")
