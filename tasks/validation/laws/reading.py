"""Laws of the reading: every delivered table, row, column and code is used, or counted here."""

import re

import pandas as pd

from tasks.figures import listed, percent
from tasks.intake.folders import suggestion_for
from tasks.intake.guide import NAME as GUIDE
from tasks.validation.laws.law import Breach, Delivered, LawRow

NONE = pd.Series(dtype="str")
ENOUGH = 0.9  # share of a table's rows whose image is there
# Ids of an archive; the table of an archive names more images than one delivery holds.
ARCHIVES = re.compile(r"(ISIC|IL|HAM|BCN)_\d{7}")


def table_not_understood(delivered: Delivered) -> Breach:
    reading = delivered.reading
    if reading is None:
        return Breach(NONE)
    said = {key: f"{key}: {reason}" for key, reason in reading.unread.items()}
    for each in reading.tables:
        if each.problems:
            said[each.key] = f"{each.key}: {'; '.join(each.problems)}"
    return Breach(
        NONE, counted=sorted(said), remark="; ".join(said[key] for key in sorted(said)[:3])
    )


TABLE_NOT_UNDERSTOOD = LawRow(
    "table_not_understood",
    "Every delivered table, row and column is understood. Counts tables.",
    severity="error",
    consequence="what was not understood is not used; where it names lesions or patients, "
    "photographs of one lesion may stand on both sides of the split",
    check=table_not_understood,
)


def table_of_other_images(delivered: Delivered) -> Breach:
    """Tables fewer than nine tenths of whose rows name a delivered image; archives' own may."""
    tables = delivered.reading.tables if delivered.reading else ()
    found = [
        each
        for each in tables
        if each.rows
        and each.matched < ENOUGH * each.rows
        and not (each.matched and all(ARCHIVES.fullmatch(name) for name in each.unmatched))
    ]
    images = listed(sorted(delivered.frame["image_id"])[:3], 3)
    remark = "; ".join(
        f"{each.key}: {percent(each.matched / each.rows)} of {each.rows} rows, not such as "
        f"{listed(list(each.unmatched), 3)}"
        for each in found[:3]
    )
    some = f"{remark}; images are called {images}" if found else ""
    return Breach(NONE, counted=sorted(each.key for each in found), remark=some)


TABLE_OF_OTHER_IMAGES = LawRow(
    "table_of_other_images",
    "At least nine of ten rows of a table name a delivered image, unless the table is an archive's "
    "own. Counts tables.",
    severity="warning",
    consequence="the other rows are not used",
    check=table_of_other_images,
)


def code_not_understood(delivered: Delivered) -> Breach:
    counts: dict[str, int] = {}
    for each in delivered.reading.tables if delivered.reading else ():
        for code, rows in each.codes.items():
            counts[code] = counts.get(code, 0) + rows
    most = sorted(counts, key=lambda code: (-counts[code], code))
    remark = ", ".join(f"{code!r} in {counts[code]} rows{_may_mean(code)}" for code in most[:5])
    return Breach(NONE, counted=sorted(counts), remark=remark)


def _may_mean(code: str) -> str:
    meant = suggestion_for(code)
    return f" ({meant}? Then say so in {GUIDE})" if meant else ""


CODE_NOT_UNDERSTOOD = LawRow(
    "code_not_understood",
    "Every diagnosis in a table is a term of the archives, or reading.yaml names its class. Counts "
    "codes.",
    severity="warning",
    consequence="these diagnoses are not used: they neither label an image nor check a folder",
    check=code_not_understood,
)


def lesion_not_named(delivered: Delivered) -> Breach:
    frame = delivered.frame
    silent = frame[frame["lesion_id"].isna()]
    return Breach(NONE, counted=sorted(silent["image_id"].unique()))


LESION_NOT_NAMED = LawRow(
    "lesion_not_named",
    "A table names the lesion of every image. Counts image ids.",
    severity="information",
    consequence="kept; photographs of one of these lesions may stand on both sides of the split, "
    "unless pixels or the patient tie them together",
    check=lesion_not_named,
)
