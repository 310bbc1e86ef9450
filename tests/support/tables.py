"""What a delivered table says, row by row."""

from tasks.intake.matching import Names
from tasks.intake.sheets import NoTable
from tasks.intake.tables import Row, read_tables


def rows_of(data: bytes, names: Names | None = None) -> list[Row] | None:
    """Rows about images, under the manifest's column names; None for what is no table of them."""
    try:
        reads = [read for read in read_tables(data, names) if read.by == "image_id"]
    except NoTable:
        return None
    find = (names or Names()).find
    return [row | {"image_id": find(row["image_id"])} for read in reads for row in read.rows]
