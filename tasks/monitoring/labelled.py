"""Read a labelled folder: images, each with the diagnosis that a table names."""

import errno
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Retraining
from tasks.errors import BadInput
from tasks.intake.contents import pictures_of
from tasks.intake.folder import PlainFile, files_in
from tasks.intake.images import Decoded
from tasks.intake.matching import Names
from tasks.intake.pseudonyms import for_now
from tasks.intake.tables import read_table
from tasks.lesions import (
    DIAGNOSES,
    IMAGE_SUFFIXES,
    Code,
    Diagnosis,
    image_id_from,
    is_image,
    source_of,
)
from tasks.monitoring.scored import LeftOut
from tasks.monitoring.subject import Subject
from tasks.terms import archive_says, exact_class

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

COLUMNS = ("image_id", "label", "lesion_id", "patient_id", "age_years", "sex", "site")


def labelled(
    folder: Path, labels: Path, coarse: dict[str, Diagnosis], subject: Subject
) -> tuple[pd.DataFrame, Array, list[LeftOut]]:
    """Rows with a label, their pixels, and the images that were left out."""
    files = _images_in(folder)
    ids = {file.within: image_id_from(file.within) for file in files}
    told, left = _told(labels, Names(ids.items())), list[LeftOut]()
    unclear: dict[str, list[str]] = {}
    rows: list[dict[str, Any]] = []
    for file in files:
        path = file.path
        row = told.get(ids[file.within])
        if row is None:
            left.append(LeftOut(image_id=path.name, reason=f"no row in {labels.name}"))
            continue
        label, code = meaning(row.get("archive_diagnosis", ()), coarse)
        if label is None and code:
            unclear.setdefault(code, []).append(path.name)
        elif label not in subject.classes:
            left.append(
                LeftOut(
                    image_id=path.name,
                    reason=f"the model does not know {label}" if label else "no usable diagnosis",
                )
            )
        else:
            rows.append(row | {"file": file, "label": label})
    _check_codes(unclear)
    decoded = list(_decoded(rows, subject.packed_px, left))
    if not decoded:
        raise nothing_left(left)
    frame = pd.DataFrame([row for row, _ in decoded])
    for name in COLUMNS:
        frame[name] = frame.get(name)
    frame = frame.astype(dict.fromkeys(("image_id", "lesion_id", "patient_id"), "str"))
    return frame, np.stack([pixels for _, pixels in decoded]), left


def _told(labels: Path, names: Names) -> dict[str, dict[str, Any]]:
    """The row of each image, matched as `tasks.intake.ingest` matches them."""
    try:
        if labels.exists() and not labels.is_file():  # reading a pipe might never end
            raise OSError(errno.EINVAL, "not a file")
        rows = read_table(labels.read_bytes(), names)
    except OSError as error:
        raise BadInput(
            "The labels cannot be read.",
            expected="a CSV file",
            received=f"{error.strerror}: {str(labels)!a}",
            do="correct --labels",
        ) from error
    if not rows or not any("archive_diagnosis" in row for row in rows):
        raise BadInput(
            "The table of labels is not recognized.",
            expected="a table with a column image_id (or image, isic_id) and a diagnosis",
            received=f"{labels.name}: {'no such columns' if not rows else 'no diagnosis'}",
            do="name the columns image_id and diagnosis",
        )
    return {row["image_id"]: row for row in rows}


def _images_in(folder: Path) -> list[PlainFile]:
    files = files_in(folder, "images")
    found = [file for file in files if is_image(file.within)]
    if len(found) < len(files):
        log.info("%d files are not images, by their names.", len(files) - len(found))
    if not found:
        raise BadInput(
            "There are no images.",
            expected="a folder with images: " + ", ".join(IMAGE_SUFFIXES),
            received=f"{len(files)} other files in {folder}",
            do="correct --images",
        )
    if len(files) > len(found):
        log.info("%d files in %s are not images.", len(files) - len(found), folder)
    return found


def meaning(told: tuple[Code, ...], coarse: dict[str, Diagnosis]) -> tuple[Diagnosis | None, str]:
    """The class of a table's diagnosis, and the code if the code is coarser than a class.

    Args:
        told: The diagnosis of each archive.
        coarse: The class to take for each coarser code.

    >>> meaning((Code("HAM10000", ("bkl",)),), {})
    (None, 'bkl')
    >>> meaning((Code("HAM10000", ("bkl",)),), {"bkl": "pigmented benign keratosis"})
    ('pigmented benign keratosis', '')
    """
    said = archive_says(told) or ()
    exact = exact_class(said)
    if exact:
        return exact, ""
    meant = next((coarse[code.text] for code in told if code.text in coarse), None)
    return meant, "" if meant or not said else told[0].text


def _check_codes(unclear: dict[str, list[str]]) -> None:
    if not unclear:
        return
    raise BadInput(
        "A label is coarser than the classes of the model.",
        expected="labels that each mean one class",
        received="; ".join(
            f"{code} ({len(names)} images, such as {names[0]})" for code, names in unclear.items()
        ),
        do="name the class for each code, such as "
        f"--coarse '{json.dumps(dict.fromkeys(unclear, DIAGNOSES[5]))}'",
    )


def _decoded(
    rows: list[dict[str, Any]], packed_px: int, left: list[LeftOut]
) -> Iterator[tuple[dict[str, Any], Array]]:
    """Rows with the columns from decoding, and their pixels. Undecodable images join `left`."""

    config = Retraining(packed_size=packed_px, image_size=min(packed_px, Retraining().image_size))
    nobody = for_now()  # only the table's patients are compared with those of the training

    def read(row: dict[str, Any]) -> Any:
        return pictures_of(row["file"].read(), config, nobody)

    with ThreadPoolExecutor() as threads:
        for row, result in zip(rows, threads.map(read, rows), strict=True):
            path = row.pop("file").path
            first, *others = result.each
            if others or not isinstance(first, Decoded):
                several = f"the file holds {len(others) + 1} frames, and the table one row"
                reason = several if others else first.reason
                left.append(LeftOut(image_id=path.name, reason=reason))
                continue
            facts = {"pixel_hash": first.pixel_hash, "thumbnail": first.thumbnail}
            source = source_of(row["image_id"], result.tags.device if result.tags else "")
            yield row | facts | {"source": source}, first.pixels


def nothing_left(left: list[LeftOut]) -> BadInput:
    return BadInput(
        "There is nothing to score.",
        expected="images with a label that the model has not learned from",
        received=f"{len(left)} images, none of them such"
        + (f"; {left[0].image_id}: {left[0].reason}" if left else ""),
        do="give other images, or a table with a row for each",
    )
