"""Take lines out of a delivered text, and leave every other byte as it was delivered."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.intake.sheets import bare, separator_of

# Marks of the byte order, and the encoding of what follows. The longer mark comes first.
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32-le"), (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"),
)  # fmt: skip
PRINTED = {*"\t\n\r\f\v\x1a\x1c\x1d\x1e\x1f"}  # signs below a blank that texts hold


@dataclass(frozen=True)
class Text:
    """A text, and how it was written.

    Attributes:
        text: The text, with its line ends as they are.
        encoding: Its encoding; of bytes in no known encoding, Latin-1, which has a sign for each.
        mark: The mark of the byte order; empty without one.
    """

    text: str
    encoding: str
    mark: bytes

    def bytes_of(self, text: str) -> bytes:
        return self.mark + text.encode(self.encoding)


@dataclass(frozen=True)
class Row:
    """A row of a table, or a line.

    Attributes:
        text: What stands in the file, with the line's end.
        cells: Its cells, without blanks around them.
    """

    text: str
    cells: list[str]


def text_of(data: bytes) -> Text | None:
    """The text in some bytes; None if they are no text."""
    mark, encoding = next(((m, e) for m, e in MARKS if data.startswith(m)), (b"", ""))
    body = data[len(mark) :]
    for each in (encoding,) if encoding else ("utf-8", *_without_mark(body), "cp1252", "latin-1"):
        try:
            text = body.decode(each)
        except UnicodeDecodeError:
            continue
        if all(sign >= " " or sign in PRINTED for sign in set(text)):
            return Text(text, each, mark) if text.encode(each) == body else None
    return None


def _without_mark(body: bytes) -> tuple[str, ...]:
    """UTF-16, if every other byte is a zero."""
    start = body[:2000]
    if len(body) % 2 or start.count(0) <= len(start) / 4:
        return ()
    return ("utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be",)


def is_nested(key: str, text: str) -> bool:
    """Whether a text is JSON, XML, YAML or the like, of which no line can be taken."""
    if key.casefold().endswith((".json", ".geojson", ".xml", ".xmp", ".yaml", ".yml", ".toml")):
        return not is_json_lines(text)
    if text.lstrip().startswith("<"):
        return True
    return text.lstrip().startswith(("{", "[")) and _is_json(text)


def is_json_lines(text: str) -> bool:
    """Whether each of several lines is an object of JSON."""
    lines = [line for line in text.splitlines() if line.strip()]
    return len(lines) > 1 and all(
        line.lstrip().startswith("{") and _is_json(line) for line in lines
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def lines_of(text: str) -> list[Row]:
    """The lines of a text, each of one cell."""
    return [Row(line, [line.strip()]) for line in io.StringIO(text, newline="")]


def rows_of(text: str) -> list[Row]:
    """The rows of a table of text. The texts of all rows, one after the other, are the text.

    A quoted cell may hold line breaks. A quote that nobody closed holds other rows: where the lines
    of a row look like rows themselves, they are taken for rows.
    """
    first, *others = [*io.StringIO(text, newline=""), ""]
    said = first.strip().strip('"')
    is_said = len(said) == 5 and said.startswith("sep=")
    separator = said[4] if is_said else separator_of(text)
    lines = [line for line in (others if is_said else [first, *others]) if line]
    blocks = list(_blocks(lines, separator))
    widths = Counter(len(cells) for block, cells in blocks if len(block) == 1 and any(cells))
    width = max(widths, key=lambda width: (widths[width], width), default=0)
    found = [Row(first, [])] if is_said else []
    for block, cells in blocks:
        if len(block) == 1 or _is_one(block, width, separator):
            found.append(Row("".join(block), cells))
        else:
            found += [Row(line, _cells(line, separator)) for line in block]
    return found


def _blocks(lines: list[str], separator: str) -> Iterator[tuple[list[str], list[str]]]:
    """The lines of each row, with its cells."""
    start, taken = 0, 0

    def counted() -> Iterator[str]:
        nonlocal taken
        for line in lines[start:]:
            taken += 1
            yield line

    while start < len(lines):
        taken = 0
        reader = csv.reader(counted(), delimiter=separator, skipinitialspace=True)
        before = 0
        try:
            for row in reader:
                yield lines[start + before : start + taken], [bare(cell) for cell in row]
                before = taken
            return
        except csv.Error:  # a cell that is too long, behind a quote that nobody closed
            broken = start + before
            yield [lines[broken]], _plain(lines[broken], separator)
            start = broken + 1


def _is_one(block: list[str], width: int, separator: str) -> bool:
    """Whether several lines are one row: its quotes are closed, and no line looks like a row."""
    if "".join(block).count('"') % 2:
        return False
    return width < 2 or all(len(_cells(line, separator)) != width for line in block[1:])


def _cells(line: str, separator: str) -> list[str]:
    """The cells of one line, whatever quotes stand in it."""
    if line.count('"') % 2:
        return _plain(line, separator)
    try:
        rows = list(csv.reader([line], delimiter=separator, skipinitialspace=True))
    except csv.Error:
        return _plain(line, separator)
    return [bare(cell) for row in rows for cell in row]


def _plain(line: str, separator: str) -> list[str]:
    return [bare(cell.strip().strip('"')) for cell in line.split(separator)]
