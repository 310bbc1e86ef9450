"""Tables of every odd form: each is read, or says why not, and none is a traceback."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.intake.folders import suggestion_for
from tasks.intake.joining import Joined, join_tables
from tasks.intake.matching import Names
from tasks.intake.sheets import TABLE_SUFFIXES
from tasks.lesions import is_image
from tests.support.workbooks import workbook

IDS = [f"m{n:02d}" for n in range(12)]
NAMES = Names((f"raw/set/melanoma/{name}.jpg", name) for name in IDS)
HEADER = "image_id,diagnosis,lesion_id,age\n"
ROWS = [f"{name},melanoma,L{n // 2},50" for n, name in enumerate(IDS)]
PLAIN = HEADER + "\n".join(ROWS)
LESIONS = {name: f"L{n // 2}" for n, name in enumerate(IDS)}


def read(data: str | bytes, names: Names = NAMES) -> Joined:
    return join_tables([("raw/t.csv", data.encode() if isinstance(data, str) else data)], names)


def lesions(joined: Joined) -> dict[str, str]:
    return {
        name: row["lesion_id"]
        for name, row in joined.facts.items()
        if "lesion_id" in row and name in NAMES.ids
    }


def said(joined: Joined) -> str:
    """All that is told about a table."""
    problems = (text for each in joined.tables for text in (*each.problems, *each.codes))
    return " | ".join([*joined.unread.values(), *problems])


READ: dict[str, str | bytes] = {
    "carriage returns alone": PLAIN.replace("\n", "\r"),
    "doubled carriage returns": PLAIN.replace("\n", "\r\r\n"),
    "comments above": f"# made by a tool\n# version 2\n{PLAIN}",
    "a title above": f"Export of a clinic,,,\n,,,\n{PLAIN}",
    "blanks about ids": PLAIN.replace("\nm", "\n m").replace(",melanoma", " ,melanoma "),
    "dots after ids": PLAIN.replace(",melanoma", ".,melanoma"),
    "signs of no width": PLAIN.replace("\nm", "\n\u200bm").replace("melanoma", "melanoma\u00a0"),
    "two marks": f"\ufeff\ufeff{PLAIN}",
    "a column of row numbers": "".join(
        f"{n},{line}\n" for n, line in zip(["", *range(12)], PLAIN.split("\n"), strict=True)
    ),
    "formulas about texts": PLAIN.replace("\nm", '\n="m').replace(",melanoma", '",melanoma'),
    "an empty column at the end": PLAIN.replace("\n", ",\n"),
    "a header of two levels": "image,lesion,,patient,\nname,id,dx,id,age\n"
    + "\n".join(f"{name},{of},mel,P1,50" for name, of in LESIONS.items()),
}  # fmt: skip


@pytest.mark.parametrize("form", READ)
def test_a_table_is_read_in_an_odd_form(form: str) -> None:
    joined = read(READ[form])
    assert lesions(joined) == LESIONS
    assert said(joined) == ""


TOLD: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "an empty table"),
    "blank lines": ("\n\n\n", "an empty table"),
    "a header alone": (HEADER, "no row stands below the header"),
    "ids alone": ("image_id\n" + "\n".join(IDS), "no column says anything"),
    "ids alone, without a header": ("\n".join(IDS), "no column says anything"),
    "NUL bytes": (PLAIN.replace("mel", "m\0l"), "no text"),
    "a pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    "a broken workbook": (b"PK\x03\x04" + bytes(99), "no workbook that can be read"),
    "a page": ("<html><table><tr><td>image_id</td></tr></table></html>", "no column of image ids"),
    "JSON": ('[{"image_id": "m00", "diagnosis": "melanoma"}]', "no column of image ids"),
    "turned by 90 degrees": (
        f"image_id,{','.join(IDS)}\ndiagnosis{',melanoma' * 12}", "no column says anything",
    ),
    "predictions": (
        "image,melanoma,nevus\n" + "\n".join(f"{name},0.1{n},0.5" for n, name in enumerate(IDS)),
        "probabilities",
    ),
    "a prediction of one column": (
        "image_name,target\n" + "\n".join(f"{name},0.{n + 10}" for n, name in enumerate(IDS)),
        "a column of probabilities",
    ),
    "names of rows without a name of their own": (
        HEADER + "\n".join(f"{n},{row}" for n, row in enumerate(ROWS)), "12 rows of more or fewer",
    ),
    "an open quote": (
        PLAIN.replace(",melanoma", ',"melanoma', 1), "a quote in line 2 is not closed",
    ),
    "two columns of one name": (
        PLAIN.replace(",age", ",lesion_id"), "several columns are called 'lesion_id' and differ",
    ),
    "a very long cell": (PLAIN.replace("melanoma", "x" * 200_000, 1), "field larger"),
    "diagnoses under a name that nobody knows": (
        PLAIN.replace("diagnosis", "Befund"), "the column 'Befund' holds diagnoses",
    ),
    "lesions under a name that nobody knows": (
        PLAIN.replace("lesion_id", "Läsionskennung"), "'Läsionskennung' may name lesions",
    ),
    "a sum below": (f"{PLAIN}\nTotal,12,,\n", "12"),
    "a legend below": (f"{PLAIN}\n\nLegend\n", "1 row of more or fewer"),
}  # fmt: skip


@pytest.mark.parametrize("form", TOLD)
def test_what_is_not_read_is_told(form: str) -> None:
    data, why = TOLD[form]
    assert why in said(read(data))


def test_two_columns_of_one_name_and_the_same_cells_are_one() -> None:
    twice = "\n".join(f"{line},{line.split(',')[1]}" for line in PLAIN.split("\n"))
    joined = read(twice)
    assert (lesions(joined), said(joined)) == (LESIONS, "")


def test_a_long_code_is_shortened_in_the_record() -> None:
    joined = read(PLAIN.replace("melanoma", "x" * 100_000, 1))
    assert [len(code) for code in joined.tables[0].codes] == [200]


def test_a_very_wide_table_is_read() -> None:
    names = ",".join(f"c{n}" for n in range(2_000))
    cells = ",".join(str(n) for n in range(2_000))
    wide = "\n".join(
        f"{line},{names if number == 0 else cells}" for number, line in enumerate(PLAIN.split("\n"))
    )
    assert lesions(read(wide)) == LESIONS


def test_masks_and_thumbnails_are_no_images_and_a_table_is_a_table() -> None:
    about = ("x_segmentation.png", "x_superpixels.png", "x_thumb.jpg", "x_mask.PNG")
    assert not any(is_image(f"raw/set/{name}") for name in about)
    assert is_image("raw/set/x.png")
    assert not any(is_image(f"raw/set/x{suffix}") for suffix in TABLE_SUFFIXES)


# Laws --------------------------------------------------------------------------------------------

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(st.lists(st.lists(CELLS, max_size=6), max_size=8), st.sampled_from(",;\t|"), st.booleans())
def test_whatever_a_table_holds_it_is_read_or_told(
    rows: list[list[str]], separator: str, header: bool
) -> None:
    lines = [separator.join(row) for row in rows]
    text = "\n".join([HEADER.replace(",", separator).strip(), *lines] if header else lines)
    joined = read(text)
    assert joined.tables or joined.unread
    assert sum(each.rows for each in joined.tables) >= 0


@given(st.binary(max_size=400))
def test_whatever_bytes_a_table_holds_it_is_read_or_told(data: bytes) -> None:
    joined = read(data)
    assert joined.tables or joined.unread


@given(st.randoms(use_true_random=False), st.sampled_from([str, str.upper, str.title]))
def test_the_order_of_rows_and_columns_makes_no_difference(order: random.Random, case: Any) -> None:
    columns = HEADER.strip().split(",")
    places = list(range(4))
    order.shuffle(places)
    rows = [row.split(",") for row in ROWS]
    order.shuffle(rows)
    lines = [[case(columns[place]) for place in places]]
    lines += [[row[place] for place in places] for row in rows]
    joined = read("\n".join(",".join(line) for line in lines))
    assert (lesions(joined), said(joined)) == (LESIONS, "")


@given(
    st.sampled_from(["melanomaa", "melanomas", "Mélanome", "Basaliom", "Naevi", "nevuss"]),
    st.booleans(),
)
def test_a_code_that_is_nearly_one_is_suggested_and_not_believed(code: str, book: bool) -> None:
    rows = [row.replace("melanoma", code) for row in ROWS]
    cells = [HEADER.strip().split(","), *(row.split(",") for row in rows)]
    joined = read(workbook(cells) if book else HEADER + "\n".join(rows))
    assert joined.tables[0].codes == {code: 12}
    assert suggestion_for(code) is not None
    assert suggestion_for("zebra") is None
