"""spreadsheet: what people open runs nothing, and programs read back what was written."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.engine.spreadsheet import csv_of, to_csv
from tests.support.paths import ROOT

RUNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
# Any text, and often what a spreadsheet overlooks, what separates, and what it runs.
names = st.text(
    st.sampled_from(RUNS + " '\",;|a1.\u200b\ufeff\u00a0") | st.characters(codec="utf-8"),
    min_size=1,
)
number = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def cells_of(data: bytes, separator: str = ",") -> list[list[str]]:
    text = io.StringIO(data.decode(), newline="")
    return list(csv.reader(text, delimiter=separator))[1:]


def one_column(cells: Sequence[str | None]) -> pd.DataFrame:
    return pd.DataFrame({"key": cells, "beside": cells}, dtype="str")


def runs(cell: str) -> bool:
    """Whether a spreadsheet would compute it, as OWASP describes."""
    return begins(cell, RUNS) and not number.fullmatch(cell)


def begins(cell: str, characters: str) -> bool:
    """Behind what is overlooked, and with no apostrophe as the very first."""
    blanks = "".join({*" \"'\t\r\n\u200b\ufeff\u00a0"} - {*characters})
    text = cell.lstrip(blanks)
    shown = cell[:1] == "'" and begins(cell[1:], characters)
    return text[:1] in {*characters} and text != "" and not shown


@given(st.lists(names | st.none(), min_size=1))
def test_what_is_written_is_read_back_and_nothing_of_it_runs(cells: list[str | None]) -> None:
    data = to_csv(one_column(cells))

    for column in ("key", "beside"):
        read = csv_of(data)[column]
        assert [None if pd.isna(each) else each for each in read] == cells
    assert not [cell for row in cells_of(data) for cell in row if runs(cell)]


@example(["'=1", "a;'=1"])
@given(st.lists(names, min_size=1))
def test_a_table_of_an_earlier_version_is_read_as_it_was_meant(cells: list[str]) -> None:
    """Its cells were not guarded, so that an apostrophe in them is part of a name."""
    data = one_column(cells).to_csv(index=False).encode()

    assert list(csv_of(data)["key"]) == cells


@given(
    st.lists(names.filter(lambda each: not number.fullmatch(each)), min_size=1),
    st.sampled_from(";|\t"),
)
def test_nothing_runs_where_another_character_separates(cells: list[str], separator: str) -> None:
    """Of a line's end, where it tears the quotes apart, a cell may begin with a break."""
    found = [cell for row in cells_of(to_csv(one_column(cells)), separator) for cell in row]

    computed = RUNS.replace("\t\r\n", "")
    assert not [cell for cell in found if begins(cell.lstrip("\n"), computed)]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\uff1d1+1", "'\uff1d1+1"),
        (" '=1", "' '=1"),
        ("\t=1", "'\t'=1"),
        ("a;=1", "a;'=1"),
        ("'=1", "''=1"),
        ("-cmd", "'-cmd"),
        ("-1.5", "-1.5"),
        ("+2e-3", "+2e-3"),
        ("raw/a - b=c.jpg", "raw/a - b=c.jpg"),
        ("'quoted'", "'quoted'"),
        ("NA", "NA"),
    ],
)
def test_an_apostrophe_stands_only_where_a_cell_would_run(cell: str, written: str) -> None:
    data = to_csv(one_column([cell]))

    assert cells_of(data) == [[written, written]]
    assert list(csv_of(data)["key"]) == [cell]


def test_numbers_stay_numbers_and_what_is_missing_is_empty() -> None:
    data = to_csv(pd.DataFrame({"key": ["a", None], "n": [-1.5, -2.0]}))

    assert cells_of(data) == [["a", "-1.5"], ["", "-2.0"]]
    assert csv_of(to_csv(pd.DataFrame({"key": []}))).empty


def test_every_table_for_people_is_written_and_read_in_one_place() -> None:
    """Delivered tables are read by `tasks.intake.sheets`, and lose rows in `tasks.erasure`;
    `synthesize` writes one to deliver."""
    pattern = re.compile(r"\.to_csv\(|pd\.read_csv\(|csv\.(writer|reader|Dict)")
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("tasks", "dags", "demo")
        for path in (ROOT / folder).rglob("*.py")
        if pattern.search(path.read_text())
    }

    assert found == {
        *("tasks/engine/spreadsheet.py", "tasks/intake/sheets.py", "tasks/intake/synthesize.py"),
        *("tasks/erasure/delivered.py", "tasks/erasure/lines.py"),
    }


def test_no_cell_of_the_table_of_drawn_lesions_runs(drawn: Path) -> None:
    tables = [path.read_bytes() for path in drawn.rglob("*.csv")]

    assert tables
    assert not [cell for data in tables for row in cells_of(data) for cell in row if runs(cell)]
