"""The tables inside a delivered file: cells as text, whatever the encoding, separator or program.

A file is recognized by its content. Lines above the header, an Excel line ``sep=;``, a mark of the
byte order or its absence make no difference. A row with more or fewer cells than the header is not
guessed at: it is left out and named.
"""

import csv
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

MAYBE_TABLES = (".txt",)  # a table or any other text
TEXT_SUFFIXES = (".csv", ".tsv", ".tab", *MAYBE_TABLES)
WORKBOOK_SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
TABLE_SUFFIXES = (*TEXT_SUFFIXES, *WORKBOOK_SUFFIXES)
SEPARATORS = ",;\t|"
HEADER_WITHIN = 10  # rows; titles of exports above the header are fewer
UNSEEN = dict.fromkeys(map(ord, "\u200b\u200e\u200f\u2060\ufeff"))  # of no width
LFS = b"version https://git-lfs.github.com/spec/"
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")

IsHeader = Callable[[list[str]], bool]


class NoTable(ValueError):
    """A file that holds no table; the message says why, for a person."""


@dataclass(frozen=True)
class Sheet:
    """One table.

    Attributes:
        title: Name of the sheet in a workbook; empty for a text file.
        frame: Cells as text, stripped; an empty cell is missing. The header gives the columns.
        bad: Line number, from 1, and number of cells of each row that does not fit the header.
        open_quote: Line of the first such row in which a quote is not closed; 0 without one.
        repeated: Columns whose name stands before them already, and that hold something else.
        has_header: False if no row within the first is a header; then the columns are numbered.
    """

    title: str
    frame: pd.DataFrame
    bad: tuple[tuple[int, int], ...]
    has_header: bool
    open_quote: int = 0
    repeated: tuple[str, ...] = ()


def sheets_of(data: bytes, is_header: IsHeader) -> list[Sheet]:
    """The tables of a file.

    Args:
        data: Content of the file.
        is_header: Whether a row of cells is the header of a table that is known.

    Raises:
        NoTable: The file holds none.
    """
    if data.startswith(LFS):
        raise NoTable("a pointer of Git LFS instead of the table: fetch it with `git lfs pull`")
    if data.startswith(WORKBOOKS):
        return [_sheet(title, rows, is_header, bare) for title, rows in _workbook(data)]
    text = _text(data)
    first = re.match(r'"?sep=(.)"?\r?\n', text)
    separator = first[1] if first else separator_of(text)
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True
        )
        rows, line = [], 1
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise NoTable(f"no table: {error}") from error
    plain = text.isascii() and '="' not in text  # then blanks are all that may stand around a cell
    return [_sheet("", rows[1:] if first else rows, is_header, str.strip if plain else bare)]


def _text(data: bytes) -> str:
    """The text of a file. Without a mark, UTF-16 shows by its zeros."""
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    start = data[:2000]
    if encoding == "utf-8-sig" and start.count(0) > len(start) / 4:
        encoding = "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    for each in (encoding, "cp1252") if encoding == "utf-8-sig" else (encoding,):
        try:
            text = data.decode(each)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text
    raise NoTable("no text, and no workbook")


def separator_of(text: str) -> str:
    """The separator that stands most often in the first lines; a comma if none stands there."""
    start = "\n".join(text.splitlines()[:HEADER_WITHIN])
    return max(SEPARATORS, key=start.count)


def _workbook(data: bytes) -> list[tuple[str, list[tuple[int, list[str]]]]]:
    """The sheets of a workbook of Excel or LibreOffice that hold anything."""
    import python_calamine  # only who delivers a workbook needs the library

    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        found = []
        for name in book.sheet_names:
            rows = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
            numbered = [(n, [_cell(cell) for cell in row]) for n, row in enumerate(rows, start=1)]
            if any(any(row) for _, row in numbered):
                found.append((name, numbered))
    except (python_calamine.CalamineError, zipfile.BadZipFile, ValueError) as error:
        raise NoTable(f"no workbook that can be read: {error}") from error
    if not found:
        raise NoTable("a workbook without a cell")
    return found


def _cell(cell: object) -> str:
    """A cell of a workbook as text: a whole number without its ``.0``, a truth value as 1 or 0."""
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _sheet(
    title: str,
    rows: list[tuple[int, list[str]]],
    is_header: IsHeader,
    clean: Callable[[str], str],
) -> Sheet:
    told = [(line, list(map(clean, row))) for line, row in rows]
    told = [(line, row) for line, row in told if any(row)]
    if not told:
        raise NoTable("an empty table")
    above = next((n for n, (_, row) in enumerate(told[:HEADER_WITHIN]) if is_header(row)), None)
    while above is not None and above + 1 < len(told) and is_header(told[above + 1][1]):
        above += 1  # a header of two levels, of which both tell
    if above is None:
        names = [str(number) for number in range(1, len(told[0][1]) + 1)]
        body = told
    else:
        names, body = _without_empty_end(told[above][1]), told[above + 1 :]
        if above:
            names = _with_level_above(names, told[above - 1][1])
    width = len(names)
    fitting, bad, open_quote = [], [], 0
    for line, row in body:
        if len(row) == width:
            fitting.append(row)
        elif len(row) > width and not any(row[width:]):
            fitting.append(row[:width])
        else:
            bad.append((line, len(row)))
            if any("\n" in cell for cell in row):
                open_quote = open_quote or line
    frame = pd.DataFrame(fitting, columns=pd.RangeIndex(width), dtype="object")
    frame = frame.mask(frame == "")
    named = _distinct(names)
    return Sheet(
        title,
        frame.set_axis(named, axis=1),
        tuple(bad),
        above is not None,
        open_quote,
        _repeated(frame, names),
    )


def _with_level_above(names: list[str], upper: list[str]) -> list[str]:
    """The names of a header of two levels: a name that stands twice gets what stands above it."""
    filled, last = [], ""
    for cell in [*upper, *[""] * len(names)][: len(names)]:
        last = cell or last
        filled.append(last)
    if len(set(filter(None, filled))) < 2:  # one title above the table
        return names
    return [
        f"{above} {name}" if names.count(name) > 1 and above else name
        for above, name in zip(filled, names, strict=True)
    ]


def _repeated(frame: pd.DataFrame, names: list[str]) -> tuple[str, ...]:
    """The names that stand several times over columns of different cells."""
    first: dict[str, int] = {}
    found = []
    for number, name in enumerate(names):
        before = first.setdefault(name, number)
        if name and before != number and not frame[before].equals(frame[number]):
            found.append(name)
    return tuple(dict.fromkeys(found))


def bare(cell: str) -> str:
    """A cell without blanks, without signs that nobody sees, and without the formula by which
    Excel keeps a text from becoming a number.

    >>> bare(' ="0012" '), bare("\\u200bm01")
    ('0012', 'm01')
    """
    text = cell.strip()
    if not text.isascii():
        text = text.translate(UNSEEN).strip()
    return text[2:-1] if text[:2] == '="' and text[-1] == '"' and len(text) > 2 else text


def _without_empty_end(names: list[str]) -> list[str]:
    while names and not names[-1]:
        names = names[:-1]
    return names


def _distinct(names: list[str]) -> list[str]:
    """Names of columns; one that stands twice, or is empty, gets its number."""
    found: list[str] = []
    for number, name in enumerate(names, start=1):
        if not name:
            name = f"(column {number})"
        elif name in found:
            name = f"{name} (again, column {number})"
        found.append(name)
    return found
