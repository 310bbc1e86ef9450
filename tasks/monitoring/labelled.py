"""Bring the images of a folder and the rows of a table together, with every row accounted for."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput
from tasks.figures import listed, plural
from tasks.intake.cells import archive_of
from tasks.intake.folder import PlainFile, files_in
from tasks.intake.matching import Names
from tasks.intake.tables import Row
from tasks.intake.truths import Kind, Truth, truths_of
from tasks.lesions import DIAGNOSES, IMAGE_SUFFIXES, MELANOMA, Diagnosis, image_id_from, is_image
from tasks.monitoring.labels import Labels, labels_in
from tasks.monitoring.scored import LeftOut, Missing

log = logging.getLogger(__name__)

SOME = 5  # names in a message


@dataclass(frozen=True)
class Labelled:
    """A set: its images, and what the labels say about each.

    Attributes:
        rows: A row for each image that counts, under the manifest's column names, with ``file``,
            ``label`` as `Truth.counted` gives it, and ``told``, the codes in words.
        left: The images that do not count.
        missing: The images that the labels name and that are not there.
        labels: The table.
        images: Number of images in the folder.
    """

    rows: list[Row]
    left: list[LeftOut]
    missing: tuple[Missing, ...]
    labels: Labels
    images: int


def labelled(
    folder: Path,
    labels: Path,
    coarse: Mapping[str, Diagnosis] | None = None,
    *,
    accept_unread: bool = False,
    accept_missing: bool = False,
) -> Labelled:
    """The images with a label that counts, and an account of all others. Nothing is decoded.

    Args:
        folder: The images, at any depth.
        labels: The table.
        coarse: The class to take for each code that is coarser than a class, or not understood.
        accept_unread: Leave out what is not understood.
        accept_missing: Go on without melanomas whose images are not there.

    Raises:
        BadInput: There is no image; or the table cannot be used, see `labels_in`; or rows
            contradict each other; or a label may be melanoma or not; or a melanoma has no image.
    """
    files = _images_in(folder)
    ids = _ids_of(files)
    told = labels_in(labels, Names(ids.items()), accept_unread=accept_unread)
    truths = _truths(told.facts, coarse)
    here = set(ids.values())
    _check({name: truth for name, truth in truths.items() if name in here}, told, accept_unread)
    missing = tuple(
        Missing(image_id=name, label=truth.counted, kind=truth.kind)
        for name, truth in truths.items()
        if name not in here
    )
    _check_missing(missing, told, accept_missing)
    rows, left = list[Row](), list[LeftOut]()
    for file in files:
        name = ids[file.within]
        truth = truths.get(name)
        why = f"no row in {told.name}" if truth is None else truth.why
        if truth is None or truth.counted is None:
            left.append(LeftOut(image_id=name, reason=why, file=file.within))
            continue
        words = "; ".join(map(str, told.facts[name]["archive_diagnosis"]))
        row = told.facts[name] | {"label": truth.counted, "told": words, "why_no_class": why}
        rows.append(row | {"image_id": name, "file": file})
    found = Labelled(rows, left, missing, told, len(files))
    if not rows:
        raise nothing_left(left)
    _tell(found)
    return found


def _images_in(folder: Path) -> list[PlainFile]:
    files = files_in(folder, "images")
    found = [file for file in files if is_image(file.within)]
    if not found:
        raise BadInput(
            "There are no images.",
            expected="a folder with images: " + ", ".join(IMAGE_SUFFIXES),
            received=f"{len(files)} other files in {folder}",
            do="correct --images",
        )
    if len(files) > len(found):
        log.info("%d files in %s are not images, by their names.", len(files) - len(found), folder)
    return found


def _ids_of(files: list[PlainFile]) -> dict[str, str]:
    """The id of each image, by path. A name that stands in several folders, and is none of an
    archive, counts within its folder."""
    ids = {file.within: image_id_from(file.within) for file in files}
    places: dict[str, set[str]] = {}
    for path, name in ids.items():
        places.setdefault(name, set()).add(path.rpartition("/")[0])
    local = {name for name, at in places.items() if len(at) > 1 and archive_of(name) is None}
    return {
        path: f"{path.rpartition('/')[0]}/{name}".lstrip("/") if name in local else name
        for path, name in ids.items()
    }


def _truths(facts: dict[str, Row], coarse: Mapping[str, Diagnosis] | None) -> dict[str, Truth]:
    found = truths_of(
        [row.get("archive_diagnosis", ()) for row in facts.values()],
        [row.get("lesion_id") for row in facts.values()],
        coarse,
    )
    return dict(zip(facts, found, strict=True))


def _check(truths: dict[str, Truth], told: Labels, accept_unread: bool) -> None:
    torn = _of_kind(truths, "contradiction")
    if torn:
        raise BadInput(
            "Rows of the labels contradict each other.",
            expected="one diagnosis of each image, and of all images of a lesion",
            received=f"{told.name}: {_some(torn, lambda truth: truth.why)}",
            do="correct the table: which row is true cannot be known here",
        )
    unknown = {} if accept_unread else _of_kind(truths, "not understood")
    open_ones = unknown | _of_kind(truths, "undecided")
    if open_ones:
        codes = Counter(code for truth in open_ones.values() for code in truth.codes)
        why = "not understood" if unknown else "coarser than melanoma or not"
        raise BadInput(
            f"A label is {why}.",
            expected="labels that each say whether a lesion is melanoma, or which class it is",
            received="; ".join(
                f"{code} ({plural(count, 'image')}, such as {_first(open_ones, code)})"
                for code, count in codes.items()
            ),
            do="name the class for each code, such as "
            f"--coarse '{json.dumps(dict.fromkeys(codes, _suggested(open_ones)))}'"
            + (", or leave these images out with --accept-unread" if unknown else ""),
        )


def _of_kind(truths: dict[str, Truth], kind: Kind) -> dict[str, Truth]:
    return {name: truth for name, truth in truths.items() if truth.kind == kind}


def _first(truths: dict[str, Truth], code: str) -> str:
    return next(name for name, truth in truths.items() if code in truth.codes)


def _suggested(truths: dict[str, Truth]) -> Diagnosis:
    """A class for the example of a command: melanoma alone would often be believed."""
    undecided = any(truth.kind == "undecided" for truth in truths.values())
    return MELANOMA if undecided else DIAGNOSES[4]


def _some(truths: dict[str, Truth], said: Callable[[Truth], str]) -> str:
    each = [f"{name}: {said(truth)}" for name, truth in truths.items()]
    return f"{plural(len(each), 'image')}; {'; '.join(each[:SOME])}"


def _check_missing(missing: tuple[Missing, ...], told: Labels, accept_missing: bool) -> None:
    """Raise `BadInput` if a melanoma, or what may be one, has no image: sensitivity would not count
    it, and nobody could tell whether the model finds it."""
    gone = [each.image_id for each in missing if each.may_be_melanoma]
    if gone and not accept_missing:
        raise BadInput(
            "Melanomas of the labels have no image.",
            expected="an image for each row that names a melanoma, or may",
            received=f"{len(gone)} of {told.rows} rows of {told.name} without: "
            f"{listed(gone, SOME)}",
            do="give their images, correct the table, or go on without them with --accept-missing",
        )


def _tell(found: Labelled) -> None:
    for note in found.labels.notes:
        log.info("%s.", note)
    doubted = [
        f"{row['image_id']}: {each}" for row in found.rows for each in row.get("contradiction", ())
    ]
    if doubted:
        log.warning(
            "Rows of the labels contradict each other; the first counts: %s.", listed(doubted, SOME)
        )
    log.info(
        "%d images, %d rows of labels: %d images count, %d do not, %d rows have no image.",
        found.images, found.labels.rows, len(found.rows), len(found.left), len(found.missing),
    )  # fmt: skip


def nothing_left(left: list[LeftOut]) -> BadInput:
    return BadInput(
        "There is nothing to score.",
        expected="images with a label that the model has not learned from",
        received=f"{len(left)} images, none of them such"
        + (f"; {left[0].image_id}: {left[0].reason}" if left else ""),
        do="give other images, or a table with a row for each",
    )
