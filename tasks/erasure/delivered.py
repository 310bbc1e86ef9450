"""What was delivered: the files that go, the rows and lines that go, and what nobody looked into.

Whatever the name of a file or of a column, its content decides. Of a text every other line stays
byte for byte, ragged rows, title lines and encoding too.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.engine.store import Entry, Store
from tasks.erasure.lines import Row, is_json_lines, is_nested, lines_of, rows_of, text_of
from tasks.erasure.mentions import Mentions, is_sure
from tasks.erasure.objects import Work
from tasks.erasure.scope import DELIVERED
from tasks.errors import BadInput
from tasks.intake.columns import held_by, is_header
from tasks.intake.guide import NAME as GUIDE
from tasks.intake.guide import Guide, guide_of
from tasks.intake.sheets import (
    HEADER_WITHIN,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    WORKBOOKS,
    NoTable,
    Sheet,
    sheets_of,
)
from tasks.intake.tables import ABOUT, read_tables
from tasks.lesions import ABOUT_AN_IMAGE, is_image

MOST_BYTES = 2**28  # of a file that is no table; a larger one is not looked into
MOST_IN_A_ROW = 2  # other images that a first row names; one that names more is a header


@dataclass(frozen=True)
class Found:
    """What becomes of the delivered files.

    Attributes:
        work: The files that go or change.
        unseen: Keys of files that may still hold something: archives and others that were not
            looked into, beside what is erased, and files that name it and were left as they are.
    """

    work: list[Work]
    unseen: tuple[str, ...]


@dataclass(frozen=True)
class Known:
    """What is known of the delivered files.

    Attributes:
        keys: Key of each file that a run has read as an image.
        guide: What people say about columns.
    """

    keys: frozenset[str]
    guide: Guide


def guide_in(store: Store) -> Guide:
    """What people say about delivered tables; nothing if it cannot be read."""
    there = [entry.key for prefix in DELIVERED for entry in store.list(prefix)]
    keys = [key for key in there if key.endswith(f"/{GUIDE}")]
    try:
        return guide_of((key, store.read(key)) for key in keys)
    except BadInput:
        return Guide()


def delivered(store: Store, known: Known, mentions: Mentions) -> Found:
    """What becomes of the delivered files."""
    entries = [entry for prefix in DELIVERED for entry in store.list(prefix)]
    keys = mentions.scope.keys
    work: list[Work] = []
    odd: list[str] = []  # of a kind that cannot be looked into
    named: list[str] = []  # they name what is erased, and stay
    for entry in entries:
        if entry.key in keys or _goes(entry, known, mentions):
            work.append(Work(entry.key, store.read(entry.key), None))
        elif _is_picture(entry, known):
            continue
        elif entry.size_bytes > MOST_BYTES and not _is_table(entry.key):
            odd.append(entry.key)
        else:
            was = store.read(entry.key)
            now, looked = without(entry.key, was, mentions, known.guide)
            if now != was:
                work.append(Work(entry.key, was, now))
            if not looked:
                odd.append(entry.key)
            if _still_named(entry.key, now, mentions):
                named.append(entry.key)
    touched = {_delivery(key) for key in (*keys, *(each.key for each in work))}
    beside = {key for key in odd if _delivery(key) in touched}
    return Found(work, tuple(sorted(beside | set(named))))


def _delivery(key: str) -> str:
    return "/".join(key.split("/")[:2])


def _is_table(key: str) -> bool:
    return key.casefold().endswith(TABLE_SUFFIXES)


def _goes(entry: Entry, known: Known, mentions: Mentions) -> bool:
    """Whether a file is about what is erased, by its name. A table loses rows instead."""
    apart = entry.key in known.keys or _is_table(entry.key) or entry.key.endswith(f"/{GUIDE}")
    return not apart and mentions.file(entry.key)


def _is_picture(entry: Entry, known: Known) -> bool:
    """Whether a file is another image, or about one: its name and bytes were compared before."""
    name = entry.key.rpartition("/")[2]
    return entry.key in known.keys or is_image(entry.key) or bool(ABOUT_AN_IMAGE.fullmatch(name))


def _still_named(key: str, data: bytes, mentions: Mentions) -> bool:
    """Whether a file that stays holds an erased id as a whole word, or in its name."""
    if mentions.file(key):
        return True
    found = None if data.startswith(WORKBOOKS) else text_of(data)
    if found:
        return mentions.text(found.text)
    scope = mentions.scope
    ids = {*scope.images, *([scope.name] if scope.asked == "patient" else [])}
    return any(each.encode() in data for each in ids if is_sure(each))


def without(key: str, data: bytes, mentions: Mentions, guide: Guide) -> tuple[bytes, bool]:
    """A delivered file without the rows or lines that name what is erased, and whether the file
    could be looked into.

    A row goes if any of its cells names an erased image or the erased patient; a line of another
    text, if it holds the id as a whole word. A header stays. JSON, XML and YAML stay as they are.

    Raises:
        BadInput: A workbook of several sheets has such a row.
    """
    if data.startswith(WORKBOOKS):
        return _workbook_without(key, data, mentions, guide)
    found = text_of(data)
    if found is None:
        return data, False
    if is_nested(key, found.text):
        return data, True
    roles, header = _roles(key, data, mentions, guide)
    if is_json_lines(found.text) or not (header or key.casefold().endswith(TEXT_SUFFIXES)):
        lines = lines_of(found.text)
        stay = [not mentions.text(line.text) for line in lines]
    else:
        lines = rows_of(found.text)
        top = _top([row.cells for row in lines], mentions, guide.columns_of(key))
        stay = [
            number < top
            or not (
                mentions.row(row.cells, roles) or (len(row.cells) == 1 and mentions.text(row.text))
            )
            for number, row in enumerate(lines)
        ]
    if all(stay):
        return data, True
    left = zip(lines, stay, strict=True)
    return found.bytes_of("".join(line.text for line, stays in left if stays)), True


def _is_named(row: Row, roles: dict[int, str], mentions: Mentions) -> bool:
    if mentions.row(row.cells, roles):
        return True
    return len(row.cells) == 1 and mentions.text(row.text)  # of no separator that is known


def _top(rows: list[list[str]], mentions: Mentions, told: dict[str, str]) -> int:
    """How many rows stand at the top that are no row of an image: titles and a header."""
    full = [number for number, cells in enumerate(rows) if any(cells)][:HEADER_WITHIN]
    above = [number for number in full if _is_header(rows[number], told)]
    if above:
        end = above[0]
        while end + 1 in above:
            end += 1
        return end + 1
    if full and mentions.others(rows[full[0]]) > MOST_IN_A_ROW:  # images as columns
        return full[0] + 1
    return 0


def _is_header(cells: list[str], told: dict[str, str]) -> bool:
    return bool(set(told) & set(cells)) or is_header(cells)


def _roles(key: str, data: bytes, mentions: Mentions, guide: Guide) -> tuple[dict[int, str], bool]:
    """What each column of a table holds, by its number, and whether the table has a header."""
    told = guide.columns_of(key)
    try:
        sheets = sheets_of(data, lambda cells: _is_header(cells, told))
    except NoTable:
        return {}, False
    return _roles_in(sheets[0], key, data, mentions, guide), sheets[0].has_header


def _roles_in(
    sheet: Sheet, key: str, data: bytes, mentions: Mentions, guide: Guide
) -> dict[int, str]:
    """As ingest takes them: images by what the cells name, lesions and patients by the header."""
    told = guide.columns_of(key)
    columns = [str(name) for name in sheet.frame.columns]
    if not sheet.has_header and len(sheet.frame):  # its first row may be one, of few known names
        columns = list(map(str, sheet.frame.iloc[0]))
    meant = [told.get(name, name) for name in columns]
    own = {of: what for what, of in held_by(meant).items() if what in ABOUT}
    roles = {number: own[of] for number, of in enumerate(meant) if of in own}
    try:
        reads = read_tables(data, mentions.names, guide, key)
    except NoTable:
        return roles
    used = [number for number, of in enumerate(meant) if of != "ignore"]
    images = [
        number
        for number, what in zip(used, reads[0].columns.values(), strict=False)
        if what == "image_id"
    ]
    if not images:
        return roles
    stay = {number: what for number, what in roles.items() if what != "image_id"}
    return stay | dict.fromkeys(images, "image_id")


def _workbook_without(
    key: str, data: bytes, mentions: Mentions, guide: Guide
) -> tuple[bytes, bool]:
    """A workbook of one sheet as a table of text, if a row of it goes."""
    told = guide.columns_of(key)
    try:
        sheets = sheets_of(data, lambda cells: _is_header(cells, told))
    except NoTable:
        return data, False
    named = [list(_named(sheet, key, data, mentions, guide)) for sheet in sheets]
    if not any(map(any, named)):
        return data, True
    if len(sheets) > 1:
        raise BadInput(
            "A workbook of several sheets holds rows of what is to be erased.",
            expected="tables of one sheet, or none that name it",
            received=f"{key}, {len(sheets)} sheets",
            do="deliver the sheets as CSV, remove the workbook from the store, and erase again",
        )
    rows = zip(_rows(sheets[0]), named[0], strict=True)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    if sheets[0].has_header:
        writer.writerow(sheets[0].frame.columns)
    writer.writerows(row for row, goes in rows if not goes)
    return buffer.getvalue().encode(), True


def _named(sheet: Sheet, key: str, data: bytes, mentions: Mentions, guide: Guide) -> Iterator[bool]:
    roles = _roles_in(sheet, key, data, mentions, guide)
    yield from (mentions.row(row, roles) for row in _rows(sheet))


def _rows(sheet: Sheet) -> list[list[str]]:
    frame = sheet.frame.astype("object")
    rows: list[list[str]] = frame.where(frame.notna(), "").astype(str).to_numpy().tolist()
    return rows
