"""Read the table of a set's labels, as the tables of a delivery are read."""

import errno
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput
from tasks.figures import plural
from tasks.intake.guide import NAME as READING
from tasks.intake.guide import Guide, guide_of
from tasks.intake.joining import Joined, join_tables
from tasks.intake.matching import Names
from tasks.intake.tables import Row

IDENTITY = ("lesion_id", "patient_id")


@dataclass(frozen=True)
class Labels:
    """What a table says about images.

    Attributes:
        name: Name of the file.
        rows: Number of its rows.
        facts: What the rows say about each image id that they name, under the manifest's column
            names.
        guide: What a person says about it, in a ``reading.yaml`` beside it.
        notes: What was linked or kept apart, in words.
    """

    name: str
    rows: int
    facts: dict[str, Row]
    guide: Guide
    notes: tuple[str, ...]


def labels_in(path: Path, names: Names, *, accept_unread: bool = False) -> Labels:
    """Read a table of labels.

    Args:
        path: A table of any kind that a delivery may have, such as CSV or Excel.
        names: The images.
        accept_unread: Go on without what of the table is not understood.

    Raises:
        BadInput: It cannot be read; or it is no table of images with diagnoses; or something in it
            is not understood; or its rows contradict each other about a lesion or patient.
    """
    guide = _guide_beside(path)
    joined = join_tables([(f"raw/metadata/{path.name}", _content(path))], names, guide)
    facts = joined.facts
    if not any("archive_diagnosis" in row for row in facts.values()):
        raise _not_recognized(path, joined)
    problems = [problem for each in joined.tables for problem in each.problems]
    if problems and not accept_unread:
        raise BadInput(
            "Something in the table of labels is not understood, and would not be used.",
            expected="columns and rows that `python -m tasks inspect` understands",
            received=f"{path.name}: {'; '.join(problems[:5])}",
            do=f"correct the table, say what its columns hold in {READING} beside it, or go on "
            "without with --accept-unread",
        )
    _check_identities(path.name, facts)
    rows = sum(each.rows for each in joined.tables)
    return Labels(path.name, rows, facts, guide, tuple(joined.notes))


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # reading a pipe might never end
            raise OSError(errno.EINVAL, "not a file")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            "The labels cannot be read.",
            expected="a table, such as a CSV file",
            received=f"{error.strerror}: {str(path)!a}",
            do=f"correct --labels, or {READING} beside it",
        ) from error


def _guide_beside(path: Path) -> Guide:
    beside = path.parent / READING
    return guide_of([(f"raw/metadata/{READING}", _content(beside))]) if beside.exists() else Guide()


def _not_recognized(path: Path, joined: Joined) -> BadInput:
    reasons = [*joined.unread.values()] or ["no such columns" if joined.texts else "no diagnosis"]
    return BadInput(
        "The table of labels is not recognized.",
        expected="a table with a column image_id (or image, isic_id) and a diagnosis",
        received=f"{path.name}: {'; '.join(reasons)}",
        do="name the columns image_id and diagnosis",
    )


def _check_identities(name: str, facts: dict[str, Row]) -> None:
    """Raise `BadInput` if rows contradict each other about whose image it is: images of one lesion
    count once, and are left out together."""
    torn = {
        image_id: each
        for image_id, row in facts.items()
        for each in row.get("contradiction", ())
        if each.about in IDENTITY
    }
    if torn:
        some = "; ".join(f"{image_id}: {each}" for image_id, each in list(torn.items())[:3])
        raise BadInput(
            "Rows of the labels contradict each other about a lesion or patient.",
            expected="one lesion and one patient for each image",
            received=f"{name}, {plural(len(torn), 'image')}: {some}",
            do="correct the table",
        )
