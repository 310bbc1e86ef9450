"""Take out of a table that was read what tells who a patient is, before anything is kept of it.

An id becomes a keyed hash, so it still links. Any other cell is left out, and counted. What is told
names columns, and never a value.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from tasks.figures import plural
from tasks.intake.matching import Names
from tasks.intake.tables import Read, Row
from tasks.intake.tagged import Tagged
from tasks.intake.telling import Telling

Near = list[Collection[str]]  # of each row, what tells who its patient is beside its image

WITHOUT = "something that was not understood, which tells who a patient is"
UNSHOWN = "(not shown)"


def hidden(read: Read, names: Names, tagged: Tagged) -> tuple[Read, list[str]]:
    """A table without what tells who a patient is, and what was done, in words.

    Args:
        read: The table; its rows are changed in place.
        names: The delivered images. An id of one of them is kept: its file's name was looked at.
        tagged: What the tags of DICOMs say.
    """
    notes = []
    if count := tagged.hide_patients(read.rows):
        notes.append(f"patients are called by name or number: keyed hashes stand for {count} ids")
    telling, near = tagged.telling, tagged.near(read.rows, names)
    if telling.is_silent and not any(near):
        return read, notes
    lesions = _hide_ids(read.rows, "lesion_id", near, tagged)
    if lesions:
        notes.append(
            f"lesion ids hold what tells who a patient is: keyed hashes stand for {lesions} of them"
        )
    for column, count in _left_out(read.rows, near, telling).items():
        rows = plural(count, "row")
        notes.append(f"the column {column!r} tells in {rows} who a patient is: not kept there")
    _hide_ids(read.rows, "image_id", near, tagged, names)
    told = {problem: WITHOUT if telling.tells(problem) else problem for problem in read.problems}
    codes = Counter[str]()
    for code, count in read.codes.items():
        codes[UNSHOWN if telling.tells(code) else code] += count
    if UNSHOWN in codes:
        for row in read.rows:
            said = row.get("archive_diagnosis", ())
            row |= {"archive_diagnosis": tuple(c for c in said if not telling.tells(c.text))}
    return replace(read, problems=tuple(told.values()), codes=dict(codes)), notes


def _hide_ids(
    rows: list[Row], name: str, near: Near, tagged: Tagged, names: Names | None = None
) -> int:
    """Put keyed hashes for the ids that tell who a patient is, in place; the number of such ids."""
    tells, kind = tagged.telling.tells, name.removesuffix("_id")
    said = {
        row[name]
        for row, own in zip(rows, near, strict=True)
        if name in row and tells(row[name], own)
    }
    if names:
        said = {each for each in said if names.find(each) not in names.ids}
    if said:
        hashed = {each: tagged.pseudonyms.of(kind, each, prefix=f"{kind}-") for each in said}
        for row in rows:
            if row.get(name) in said:
                row[name] = hashed[row[name]]
    return len(said)


def _left_out(rows: list[Row], near: Near, telling: Telling) -> Counter[str]:
    """Leave out the other cells that tell who a patient is, in place; their number by column."""
    found = Counter[str]()
    for row, own in zip(rows, near, strict=True):
        if "site" in row and telling.tells(row["site"], own):
            del row["site"]
            found["site"] += 1
        others = row.get("other_metadata", {})
        telltale = [name for name, cell in others.items() if telling.tells(cell, own)]
        if telltale:
            found.update(telltale)
            left = {name: cell for name, cell in others.items() if name not in telltale}
            row |= {"other_metadata": left}
    return found
