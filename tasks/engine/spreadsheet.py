"""Write tables as CSV that is safe to open in a spreadsheet, and read them back.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or ``@``, even behind blanks and
quotes, and the name of a delivered file may begin so. OWASP ("CSV Injection") advises to quote
every cell and to put an apostrophe before such a beginning. It also warns of separators: in a
German spreadsheet, a semicolon inside a cell begins the next cell. So `to_csv` puts an apostrophe
wherever a spreadsheet might see a dangerous cell begin, and `csv_of` takes it away.
"""

import csv
import io
import re

import pandas as pd

from tasks.engine.run import Run
from tasks.records.record import Artifact

# The characters that make a spreadsheet compute, also in full-width and small forms of East Asian
# text, and tab and line break. Quotes, blanks and zero-width characters may precede them.
COMPUTES = r"[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\t\r\n]"
OVERLOOKED = r"""[\s'"\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*"""
BEGINS = rf"(?:^|(?<=[,;|\t\r\n]))(?={OVERLOOKED}{COMPUTES})"
GUARDED = re.compile(BEGINS)
GUARD = re.compile(BEGINS.replace("(?=", "'(?=", 1))
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
QUOTED = b'"'  # first byte of a table with guarded cells; earlier versions quoted no heading


def to_csv(frame: pd.DataFrame) -> bytes:
    """A table as CSV in UTF-8; a missing value is an empty cell."""
    texts = [str(name) for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    shown = frame.assign(**{name: frame[name].map(_guarded, na_action="ignore") for name in texts})
    return bytes(shown.to_csv(index=False, quoting=csv.QUOTE_ALL).encode())


def csv_of(data: bytes) -> pd.DataFrame:
    """Read the CSV that `to_csv`, or an earlier version of the program, wrote.

    Returns:
        The table, all cells as text. An empty cell is missing; "NA" and "None" are ordinary text.

    Raises:
        ValueError: The bytes are not CSV.
    """
    frame = pd.read_csv(
        io.BytesIO(data),
        dtype="str",
        keep_default_na=False,
        na_values=[""],
        lineterminator="\n",  # a carriage return may be part of a name
    )
    if not data.startswith(QUOTED):
        return frame
    cells = {str(name): frame[name].map(_plain, na_action="ignore").astype("str") for name in frame}
    return frame.assign(**cells)


def read_csv(run: Run, artifact: Artifact) -> pd.DataFrame:
    """Fetch a table that `to_csv` wrote; a missing value is an empty text."""
    return csv_of(run.fetch(artifact)).fillna("")


def _guarded(cell: object) -> object:
    if not isinstance(cell, str) or NUMBER.fullmatch(cell):
        return cell
    return GUARDED.sub("'", cell)


def _plain(cell: str) -> str:
    return GUARD.sub("", cell)
