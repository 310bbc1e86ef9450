"""Read the delivered metadata tables: what they say about each image.

A table is recognized by its columns, whatever their spelling, separator, encoding and program: a
table of the archives that `tasks.intake.columns` lists, or a simple table of your own. Other
columns are kept unchanged. What is not understood is told, see `Read`.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from tasks.figures import plural
from tasks.intake.cells import few, ids, known, mapped, sex, years
from tasks.intake.columns import held_by, is_header, may_name, personal_in
from tasks.intake.diagnoses import diagnoses_in
from tasks.intake.guide import Guide
from tasks.intake.matching import Names
from tasks.intake.sheets import NoTable, Sheet, sheets_of
from tasks.lesions import FILE_SUFFIX
from tasks.terms import term_means

Row = dict[str, Any]

SAMPLE = 200  # rows by which the column of image ids is chosen where the names do not tell
ABOUT = ("image_id", "lesion_id", "patient_id")  # what a row may be about, the first preferred
MATCHED = 0.5  # share of a sample that must name delivered images for a column to be chosen so


@dataclass(frozen=True)
class Read:
    """A table as it was understood.

    Attributes:
        rows: One dictionary for each row, under the manifest's column names, with ``image_id``.
        columns: What each column was taken for; empty for a column that is kept unchanged.
        problems: What was not understood or not used, in words.
        codes: Diagnoses that are not understood, with the number of their rows.
        by: What a row is about: image_id, or lesion_id or patient_id in a table that names no
            images, such as MILK10k's diagnoses.
    """

    rows: list[Row]
    columns: dict[str, str]
    problems: tuple[str, ...]
    codes: dict[str, int]
    by: str = "image_id"


def read_tables(
    data: bytes, names: Names | None = None, guide: Guide | None = None, key: str = ""
) -> list[Read]:
    """The tables of a file that are about images.

    Args:
        data: Content of the file.
        names: The delivered images, where they are known.
        guide: What a person says about columns and codes.
        key: Key of the file, by whose name the guide knows the table.

    Raises:
        NoTable: None of its tables is; the message says why.
    """
    names, guide = names or Names(), guide or Guide()
    told = guide.columns_of(key)
    found, reasons, unread = list[Read](), list[str](), list[str]()
    for sheet in sheets_of(data, lambda cells: bool(set(told) & set(cells)) or is_header(cells)):
        try:
            found.append(_read(sheet, names, guide, told))
        except NoTable as error:
            reasons.append(str(error))
            if sheet.title:
                unread.append(f"the sheet {sheet.title!r} is not used: {error}")
    if not found:
        raise NoTable("; ".join(dict.fromkeys(reasons)))
    return [replace(found[0], problems=(*found[0].problems, *unread)), *found[1:]]


def _read(sheet: Sheet, names: Names, guide: Guide, told: dict[str, str]) -> Read:
    frame = sheet.frame.drop(
        columns=[name for name, of in told.items() if of == "ignore"], errors="ignore"
    ).rename(columns=told)
    columns = held_by(map(str, frame.columns))
    if not sheet.has_header:
        frame, columns = _without_header(sheet, names)
    if "image_id" not in columns or len(frame):
        columns = _image_column(frame, columns, names)
    by = next((each for each in ABOUT if each in columns), None)
    if by is None:
        raise NoTable(
            f"no column of image ids among {few(map(str, frame.columns), 8)}: name it image_id"
        )
    diagnosed = diagnoses_in(frame.drop(columns=list(columns.values())), guide.code)
    if by == "patient_id" and diagnosed.columns:
        raise NoTable(
            f"no column of images or lesions beside {columns[by]!r}: which lesion of a patient has "
            "the diagnosis is not known"
        )
    if len(columns) < 2 and not diagnosed.columns and not diagnosed.problems:
        raise NoTable(
            f"the column {columns[by]!r} names images, and no column says anything about "
            f"them: {few(map(str, frame.columns), 8)}"
        )
    table = frame[list(columns.values())].set_axis(list(columns), axis=1)
    table["archive_diagnosis"] = pd.Series(
        [row or None for row in diagnosed.told], index=frame.index, dtype="object"
    )
    used = [*columns.values(), *diagnosed.columns]
    also = _more_images(frame, used, columns[by], names) if by == "image_id" else []
    used += also
    personal = [name for name in personal_in(map(str, frame.columns)) if name not in used]
    rest = frame.drop(columns=[*used, *personal])
    table["other_metadata"] = _others(rest)
    more = [table.assign(image_id=frame[name]) for name in also]
    table = pd.concat([table, *more], ignore_index=True).dropna(subset=[by])
    told_of = [*used, *personal] if "patient_id" in columns else used
    problems = [*_of_sheet(sheet, used), *diagnosed.problems, *_tidy(table)]
    problems += [
        f"the column {name!r} may name lesions or patients and is not used: name it lesion_id or "
        "patient_id"
        for name in may_name(map(str, frame.columns), told_of)
        if frame[name].notna().any()
    ]
    taken = dict.fromkeys(map(str, frame.columns), "")
    taken |= {of: what for what, of in columns.items()} | dict.fromkeys(also, "image_id")
    taken |= dict.fromkeys(diagnosed.columns, "diagnosis") | dict.fromkeys(personal, "ignore")
    return Read(_rows(table), taken, tuple(problems), dict(diagnosed.unknown), by)


def _rows(table: pd.DataFrame) -> list[Row]:
    """Each row, without its empty cells."""
    names = list(map(str, table.columns))
    cells = zip(*(table[name].astype(object).tolist() for name in names), strict=True)
    return [
        {name: cell for name, cell in zip(names, row, strict=True) if not _is_missing(cell)}
        for row in cells
    ]


def _more_images(frame: pd.DataFrame, used: list[str], first: str, names: Names) -> list[str]:
    """Further columns that name delivered images: a row may be about several, such as Derm7pt's
    clinical and dermoscopic photograph. Their cells are files, or the column is called as the first
    one is but for a number."""
    found = []
    for name in frame.columns.difference(used, sort=False):
        sample = frame[name].dropna().head(SAMPLE)
        numbered = bool(re.search(r"\d", name)) and _unnumbered(name) == _unnumbered(first)
        files = sample[sample.map(lambda cell: bool(FILE_SUFFIX.search(cell)))]
        files = sample if numbered else files
        if len(files) >= MATCHED * len(sample) > 0 and names.share(files) >= MATCHED:
            found.append(str(name))
    return found


def _unnumbered(name: str) -> str:
    return re.sub(r"[\d_ ]+", "", name).casefold()


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value != value


def _without_header(sheet: Sheet, names: Names) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table of ids and diagnoses without a header, as ISIC 2016's is."""
    frame = sheet.frame
    if frame.shape[1] == 2 and len(frame):
        one, other = (frame[name].dropna() for name in frame.columns)
        understood = other.head(SAMPLE).map(lambda word: term_means(word) is not None)
        if len(other) and understood.all() and names.share(one.head(SAMPLE)) >= MATCHED:
            return frame.set_axis(["image_id", "diagnosis"], axis=1), {"image_id": "image_id"}
    if len(frame):  # the first row may be a header that names no column of ours but the images'
        header = [
            str(cell) if isinstance(cell, str) else f"({n})"
            for n, cell in enumerate(frame.iloc[0], start=1)
        ]
        if len(set(header)) == len(header):
            frame = frame.iloc[1:].set_axis(header, axis=1)
    return frame, held_by(map(str, frame.columns))


def _image_column(frame: pd.DataFrame, columns: dict[str, str], names: Names) -> dict[str, str]:
    """The columns, with the one of image ids that names the most delivered images.

    Without delivered images, or if no column names half of a sample, the column's name decides.
    """
    if not names.ids or not len(frame):
        return columns
    now = columns.get("image_id")
    sample = frame.head(SAMPLE)
    if now is not None and names.share(sample[now].dropna()) == 1:
        return columns
    others = set(columns.values()) - {now}
    shares = {
        str(name): names.share(sample[name].dropna())
        for name in frame.columns
        if name not in others and sample[name].notna().any()
    }
    best = max(shares, key=lambda name: (shares[name], name == now), default=None)
    if best is None or best == now or shares[best] < MATCHED:
        return columns
    if now is not None and shares[best] <= shares.get(now, 0):
        return columns
    return {"image_id": best} | {what: of for what, of in columns.items() if what != "image_id"}


def _of_sheet(sheet: Sheet, used: list[str]) -> list[str]:
    """What of a sheet is not used, in words."""
    problems = [
        f"several columns are called {name!r} and differ: the first is used"
        for name in sheet.repeated
        if name in used
    ]
    if sheet.has_header and sheet.frame.empty and not sheet.bad:
        problems.append("no row stands below the header")
    if sheet.open_quote:
        problems.append(f"a quote in line {sheet.open_quote} is not closed, and hides what follows")
    if sheet.bad:
        line, cells = sheet.bad[0]
        width = sheet.frame.shape[1]
        problems.append(
            f"not used: {plural(len(sheet.bad), 'row')} of more or fewer than the header's {width} "
            f"cells, such as line {line} with {cells}"
        )
    return problems


def _tidy(table: pd.DataFrame) -> list[str]:
    """Bring ids, ages and sexes into one form, in place; what was not understood, in words."""
    problems = []
    for name in ("lesion_id", "patient_id"):
        if name in table:
            table[name], why = ids(table[name])
            problems += [f"{name}: {why}"] if why else []
    for name, read in (("age_years", years), ("sex", sex)):
        if name in table:
            table[name], missed = mapped(table[name], read)
            if missed:
                problems.append(
                    f"{name} that are not understood and count as unknown: {few(missed)}"
                )
    if "age_years" in table:
        table["age_years"] = table["age_years"].astype(float)
    if "site" in table:
        table["site"] = known(table["site"])
    return problems


def _others(frame: pd.DataFrame) -> pd.Series:
    """Columns that are kept, as one dictionary per row."""
    rows = frame.to_dict("records")
    told = [{str(n): v for n, v in row.items() if isinstance(v, str)} or None for row in rows]
    return pd.Series(told, index=frame.index, dtype="object")
