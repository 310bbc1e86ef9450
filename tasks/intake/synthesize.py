"""synthesize: draw a synthetic set of skin lesions, for people without images.

The set has nine imbalanced classes, several pictures of some lesions, and three kinds of planted
defects. `tasks.intake.drawn_lesions` draws the lesions. The drawings say nothing about patients:
every picture has the word SYNTHETIC in its pixels, in its JPEG comment and in its name.
"""

import csv
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image

from tasks.errors import BadInput
from tasks.intake.drawn_lesions import KINDS, draw
from tasks.lesions import SYNTHETIC_PREFIX, Diagnosis

COMMENT = b"SYNTHETIC: drawn by the program, not a photograph; says nothing about patients."
SITES = ("back", "abdomen", "chest", "face", "lower extremity", "upper extremity", "scalp")
SEVERAL_IMAGES = 0.15  # share of the lesions with two or three images
SMALLEST_CLASS = 4


def synthesize(to: Path, *, seed: int = 20, scale: float = 1.0) -> dict[str, int]:
    """Draw a set into ``<to>/Train/<class>/*.jpg`` and ``<to>/metadata/labels.csv``.

    The same seed and scale give the same files. The directory appears whole or not at all.

    Args:
        to: A directory that does not exist yet or is empty.
        seed: Start of all random numbers, 0 or more.
        scale: 1 draws about 800 images; a class never has fewer than 4.

    Returns:
        Numbers of ``files``, ``images`` (without the planted copies), ``lesions``,
        ``contradictory_labels`` (one file in two class folders), ``exact_duplicates`` (one
        file under two names) and ``truncated_files``.

    Raises:
        BadInput: The directory holds something already or cannot be written; or seed or scale is
            out of range.
    """
    if seed < 0 or not 0 < scale <= 100:
        raise BadInput(
            "The synthetic set cannot be drawn.",
            expected="a seed of 0 or more and a scale above 0, at most 100",
            received=f"seed={seed}, scale={scale}",
            do="correct the value",
        )
    with drawn_whole(to) as made:
        return _draw_set(made, seed, scale)


@contextmanager
def drawn_whole(to: Path) -> Iterator[Path]:
    """A folder to draw into. It becomes `to` when all is drawn, and nothing is left otherwise.

    Raises:
        BadInput: `to` holds something already or cannot be written.
    """
    to = to.absolute()
    try:
        if to.exists() and (not to.is_dir() or any(to.iterdir())):
            raise _occupied(to)
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as partial:
            made = Path(partial, "set")
            yield made
            os.replace(made, to)
    except OSError as error:
        raise BadInput(
            "The synthetic set cannot be written.",
            expected=f"a directory {to} that may be written, with room for 15 MB",
            received=str(error.strerror or error),
            do="free space, or give another directory",
        ) from error


def _occupied(to: Path) -> BadInput:
    return BadInput(
        "The synthetic set would be mixed with other files.",
        expected="a directory that does not exist yet or is empty",
        received=f"{to}, which holds something",
        do="give another directory, or remove this one",
    )


def _draw_set(to: Path, seed: int, scale: float) -> dict[str, int]:
    rng = default_rng(seed)
    lesions: list[tuple[Diagnosis, int]] = []  # class and number of images
    for diagnosis, kind in KINDS.items():
        left = max(SMALLEST_CLASS, round(kind.images * scale))
        while left:
            views = 1 if rng.random() > SEVERAL_IMAGES else int(rng.integers(2, 4))
            lesions.append((diagnosis, min(views, left)))
            left -= min(views, left)
    rows: list[dict[str, str]] = []
    for number in rng.permutation(len(lesions)):  # so that a number does not reveal the class
        diagnosis, views = lesions[number]
        person = _person(rng, int(number), diagnosis)
        for view in range(views):
            row = {"image_id": f"{SYNTHETIC_PREFIX}{len(rows) + 1:07d}", **person}
            rows.append(row)
            pixels = draw(diagnosis, default_rng([seed, number]), default_rng([seed, number, view]))
            save(_path(to, row), pixels)
    counts = {"images": len(rows), "lesions": len(lesions), **_plant_defects(to, rows, rng)}
    counts["files"] = sum(1 for _ in to.glob("Train/*/*.jpg"))
    save_table(to / "metadata" / "labels.csv", rows)
    return counts


def _person(rng: Generator, lesion: int, diagnosis: str) -> dict[str, str]:
    age = int(np.clip(rng.normal(45 if diagnosis == "nevus" else 61, 14), 15, 90))
    return {
        "diagnosis": diagnosis,
        "lesion_id": f"SYNTHETIC_LESION_{lesion:05d}",
        # Archives know the patient of some lesions only.
        "patient_id": f"SYNTHETIC_PATIENT_{lesion:05d}" if rng.random() < 0.7 else "",
        "age": str(5 * round(age / 5)),
        "sex": str(rng.choice(["female", "male"])),
        "site": str(rng.choice(SITES)),
    }


def _path(to: Path, row: dict[str, str]) -> Path:
    return to / "Train" / row["diagnosis"] / f"{row['image_id']}.jpg"


def _plant_defects(to: Path, rows: list[dict[str, str]], rng: Generator) -> dict[str, int]:
    """Copy two images into a second class, copy one to a second name, and truncate one."""

    def any_of(diagnosis: str) -> dict[str, str]:
        return rows[
            int(rng.choice([i for i, row in enumerate(rows) if row["diagnosis"] == diagnosis]))
        ]

    pairs = (("melanoma", "seborrheic keratosis"), ("actinic keratosis", "nevus"))
    for true, other in pairs:
        row = any_of(true)
        shutil.copyfile(_path(to, row), _path(to, {**row, "diagnosis": other}))
    row = any_of("nevus")
    copy = {**row, "image_id": f"{SYNTHETIC_PREFIX}{len(rows) + 1:07d}"}
    shutil.copyfile(_path(to, row), _path(to, copy))
    rows.append(copy)
    cut = _path(to, any_of("pigmented benign keratosis"))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
    return {"contradictory_labels": len(pairs), "exact_duplicates": 1, "truncated_files": 1}


def save_table(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a table, with the keys of the first row as header."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def save(path: Path, pixels: NDArray[np.uint8], quality: int = 90) -> None:
    """Write a picture as JPEG, with the mark that it is drawn in its comment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=quality, comment=COMMENT)
    path.write_bytes(data.getvalue())
