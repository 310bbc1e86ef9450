"""What the model said of each image, and why others have no answer, as a table."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from tasks.engine.spreadsheet import to_csv
from tasks.errors import BadInput
from tasks.intake.tables import Row
from tasks.lesions import MELANOMA, OTHER, Diagnosis
from tasks.monitoring.scored import LeftOut, Missing

NO_IMAGE = "the labels name it, and there is no such image"
FIRST = ("file", "image_id", "lesion_id", "label", "labels_say", "note")


def check_place(path: Path) -> None:
    """Raise `BadInput` if the table could not be written there later, or would replace a file."""
    why = "there is such a file" if path.exists() else "" if path.parent.is_dir() else "no folder"
    if why:
        raise _not_written(path, why)


def write_each_image(
    path: Path,
    rows: Iterable[Row],
    predictions: pd.DataFrame,
    classes: tuple[Diagnosis, ...],
    threshold: float,
    left: Iterable[LeftOut],
    missing: Iterable[Missing],
) -> None:
    """Write the table as CSV, see `tasks.engine.spreadsheet`.

    Args:
        path: A new file.
        rows: Every image with a label that counts, as `tasks.monitoring.labelled.Labelled.rows`.
        predictions: As `tasks.monitoring.answers.answered`, with ``file``, the path of each image.
        classes: The columns of probabilities.
        threshold: Melanoma probability at or above which the decision is melanoma.
        left: The images without an answer.
        missing: The rows without an image.

    Raises:
        BadInput: The file cannot be written.
    """
    described = pd.DataFrame([_described(row) for row in rows], columns=list(FIRST))
    answers = predictions[["file", *classes]].assign(
        decision=[
            MELANOMA if each >= threshold else f"not {MELANOMA}" for each in predictions[MELANOMA]
        ]
    )
    others = pd.DataFrame(
        [{"file": each.file, "image_id": each.image_id, "left_out": each.reason} for each in left],
        columns=["file", "image_id", "left_out"],
    )
    gone = pd.DataFrame(
        [{"image_id": each.image_id, "left_out": NO_IMAGE} for each in missing],
        columns=["image_id", "left_out"],
    )
    told = described.merge(answers, on="file", how="inner")
    unanswered = others.merge(described.drop(columns="image_id"), on="file", how="left")
    columns = [*FIRST, "decision", *classes, "left_out"]
    table = pd.concat([told, unanswered, gone], ignore_index=True).reindex(columns=columns)
    try:
        with path.open("xb") as file:
            file.write(to_csv(table))
    except OSError as error:
        raise _not_written(path, str(error.strerror)) from error


def _described(row: Row) -> Row:
    label = f"not {MELANOMA}" if row["label"] == OTHER else row["label"]
    return {
        "file": row["file"].within,
        "image_id": row["image_id"],
        "lesion_id": row.get("lesion_id"),
        "label": label,
        "labels_say": row["told"],
        "note": row["why_no_class"],
    }


def _not_written(path: Path, why: str) -> BadInput:
    return BadInput(
        "The predictions cannot be written.",
        expected="the path of a new file in a folder that may be written",
        received=f"{why}: {str(path)!a}",
        do="correct --predictions",
    )
