"""Tables that people open in a spreadsheet, as CSV, and that programs read back.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or ``@``, also behind blanks and
quotes, and a file's name may begin so. OWASP ("CSV Injection") advises to quote every cell and to
put an apostrophe before such a beginning, and warns of separators: where a comma separates nothing,
as in a German spreadsheet, a semicolon inside a cell begins the next one. So an apostrophe stands
wherever a spreadsheet might see a cell begin. `csv_of` takes it away again.
"""

import csv
import io
import re

import pandas as pd

from tasks.engine.run import Run
from tasks.records.record import Artifact

# What makes a spreadsheet compute, also in the full-width and small forms of East Asian text, a tab
# or a line break; before it may stand what is overlooked: quotes, blanks, and what has no width.
COMPUTES = r"[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\t\r\n]"
OVERLOOKED = r"""[\s'"\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*"""
BEGINS = rf"(?:^|(?<=[,;|\t\r\n]))(?={OVERLOOKED}{COMPUTES})"
GUARDED = re.compile(BEGINS)
GUARD = re.compile(BEGINS.replace("(?=", "'(?=", 1))
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
QUOTED = b'"'  # how a table begins whose cells are guarded; earlier versions quoted no heading


def to_csv(frame: pd.DataFrame) -> bytes:
    """A table as CSV in UTF-8; what is missing is an empty cell."""
    texts = [str(name) for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    shown = frame.assign(**{name: frame[name].map(_guarded, na_action="ignore") for name in texts})
    return bytes(shown.to_csv(index=False, quoting=csv.QUOTE_ALL).encode())


def csv_of(data: bytes) -> pd.DataFrame:
    """The table that `to_csv`, or an earlier version of the program, made these bytes of.

    Returns:
        All of it as text; an empty cell is missing, and "NA" or "None" is a text like any other.

    Raises:
        ValueError: It is no CSV.
    """
    frame = pd.read_csv(
        io.BytesIO(data),
        dtype="str",
        keep_default_na=False,
        na_values=[""],
        lineterminator="\n",  # a carriage return is part of a name
    )
    if not data.startswith(QUOTED):
        return frame
    cells = {str(name): frame[name].map(_plain, na_action="ignore").astype("str") for name in frame}
    return frame.assign(**cells)


def read_csv(run: Run, artifact: Artifact) -> pd.DataFrame:
    """Fetch a table that `to_csv` wrote; what is missing is an empty text."""
    return csv_of(run.fetch(artifact)).fillna("")


def _guarded(cell: object) -> object:
    if not isinstance(cell, str) or NUMBER.fullmatch(cell):
        return cell
    return GUARDED.sub("'", cell)


def _plain(cell: str) -> str:
    return GUARD.sub("", cell)
