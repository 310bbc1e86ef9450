"""Read the delivered metadata tables: what they say about each image.

A table is recognized by its columns, whatever their spelling, separator and encoding: a table of
HAM10000, of ISIC 2019, an export of the ISIC Archive, or a simple table of your own. Unknown
columns are kept unchanged.
"""

import io
import json
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks.lesions import ARCHIVE_CODES, SEXES, TABLE_COLUMNS, UNKNOWN, Code, image_id_from

Row = dict[str, Any]

# Columns in which tables must not contradict each other. Sites are not among them, because each
# archive has other words for them.
CONTRADICTABLE = ("lesion_id", "patient_id", "age_years", "sex")
SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class Contradiction:
    """Two rows of tables that contradict each other about one image.

    Attributes:
        about: Column of the manifest, one of `CONTRADICTABLE`.
        one: Value of the first row.
        other: Value of a later row.
    """

    about: str
    one: str
    other: str

    def __str__(self) -> str:
        return f"{self.about.removesuffix('_years')} {self.one} or {self.other}"


def join_tables(tables: dict[str, bytes]) -> tuple[dict[str, Row], dict[str, int], tuple[str, ...]]:
    """Join what all tables say about images.

    Args:
        tables: Content of each file, by its key.

    Returns:
        Values of each image id, under the manifest's column names; the number of rows of each
        recognized table; the keys of the tables that were not recognized.
    """
    facts: dict[str, Row] = {}
    recognized: dict[str, int] = {}
    unread = []
    for key, data in tables.items():
        rows = read_table(data)
        if rows is None:
            unread.append(key)
            continue
        recognized[key] = len(rows)
        for row in rows:
            _add(facts.setdefault(row.pop("image_id"), {}), row)
    for row in facts.values():
        if "other_metadata" in row:
            row["other_metadata"] = json.dumps(row["other_metadata"], ensure_ascii=False)
    return facts, recognized, tuple(unread)


def _add(known: Row, row: Row) -> None:
    """Add the values of a row to the known ones. The first value stays; note a contradiction."""
    codes = (*known.get("archive_diagnosis", ()), *row.pop("archive_diagnosis", ()))
    if codes:
        known["archive_diagnosis"] = tuple(dict.fromkeys(codes))
    for name in CONTRADICTABLE:
        if known.get(name, row.get(name)) != row.get(name, known.get(name)):
            one, other = (f"{v:g}" if isinstance(v, float) else v for v in (known[name], row[name]))
            notes = (*known.get("contradiction", ()), Contradiction(name, one, other))
            known["contradiction"] = tuple(dict.fromkeys(notes))
    others = row.pop("other_metadata", {}) | known.get("other_metadata", {})
    if others:
        known["other_metadata"] = others
    for name, value in row.items():
        known.setdefault(name, value)


def read_table(data: bytes) -> list[Row] | None:
    """Rows of a metadata table, under the manifest's column names; None for any other file."""
    frame = _parse(data)
    if frame is None:
        return None
    names = {re.sub(r"[\s-]+", "_", str(name).strip().casefold()): name for name in frame.columns}
    columns = {
        ours: names[theirs]
        for ours, spellings in TABLE_COLUMNS.items()
        for theirs in reversed(spellings)
        if theirs in names
    }
    diagnoses, told_by = _diagnoses(frame, names)
    if "image_id" not in columns or (len(columns) < 2 and diagnoses is None):
        return None
    known = frame[list(columns.values())].set_axis(list(columns), axis=1)
    if diagnoses is not None:
        known["archive_diagnosis"] = diagnoses
    known["other_metadata"] = _others(frame.drop(columns=[*columns.values(), *told_by]))
    known = known.dropna(subset=["image_id"])
    known["image_id"] = known["image_id"].map(image_id_from)
    _tidy(known)
    return [
        {str(name): value for name, value in row.items() if pd.notna(value)}
        for row in known.to_dict("records")
    ]


def _parse(data: bytes) -> pd.DataFrame | None:
    """Read a table of any usual encoding and separator, cells as text; None if it is no table."""
    utf_16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if utf_16 else ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        return None
    header = text.partition("\n")[0]
    separator = max(SEPARATORS, key=header.count)
    try:
        return pd.read_csv(io.StringIO(text), dtype=str, sep=separator, skipinitialspace=True)
    except ValueError:  # base class of pandas' ParserError and EmptyDataError
        return None


def _tidy(known: pd.DataFrame) -> None:
    """Bring ids, ages and sexes into one form, in place. Words for "unknown" become missing."""
    for name in ("lesion_id", "patient_id"):
        if name in known:
            text = known[name].str.strip()
            known[name] = text.mask(text.str.casefold().isin(UNKNOWN))
    if "age_years" in known:
        known["age_years"] = pd.to_numeric(
            known["age_years"].str.replace(",", ".", regex=False), errors="coerce"
        ).astype(float)
    if "sex" in known:
        text = known["sex"].str.strip().str.casefold()
        known["sex"] = text.replace(SEXES).mask(text.isin(UNKNOWN))


def _diagnoses(frame: pd.DataFrame, names: dict[str, str]) -> tuple[pd.Series | None, list[str]]:
    """The diagnosis of each row, a tuple of `Code` or None, and the columns that hold it."""
    codes = [code for code in ARCHIVE_CODES["ISIC 2019"] if code in frame.columns]
    levels = [names[f"diagnosis_{level}"] for level in range(1, 6) if f"diagnosis_{level}" in names]
    if len(codes) >= 2:  # a ground truth of ISIC 2019: one column per code, 1.0 in one of them
        yes = frame[codes].apply(pd.to_numeric, errors="coerce") > 0
        told = [
            [Code("ISIC 2019", (code,)) for code, is_it in zip(codes, row, strict=True) if is_it]
            for row in yes.to_numpy(bool)
        ]
        return _series(told, frame), codes
    if levels:  # an export of the ISIC Archive: from general to special
        rows = frame[levels].to_numpy(object)
        paths = [tuple(term for term in row if isinstance(term, str)) for row in rows]
        told = [[Code("ISIC Archive", path)] if path else [] for path in paths]
        return _series(told, frame), levels
    for column, archive in (("dx", "HAM10000"), ("diagnosis", "labels")):
        if column in names:
            said = frame[names[column]].str.strip()
            known = said.mask(said.str.casefold().isin(UNKNOWN))
            told = [[Code(archive, (each,))] if pd.notna(each) else [] for each in known]
            return _series(told, frame), [names[column]]
    return None, []


def _series(told: list[list[Code]], frame: pd.DataFrame) -> pd.Series:
    """A column for these rows; None for a row without codes."""
    return pd.Series([tuple(each) or None for each in told], index=frame.index, dtype="object")


def _others(frame: pd.DataFrame) -> pd.Series:
    """Unknown columns, as one dictionary per row."""
    rows = frame.to_dict("records")
    told = [{str(n): v for n, v in row.items() if pd.notna(v)} or None for row in rows]
    return pd.Series(told, index=frame.index, dtype="object")
