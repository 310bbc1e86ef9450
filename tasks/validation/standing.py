"""Keep the labels and lesions of judged images, against files and tables that are delivered later.

Suppose that a melanoma that a model missed is delivered again in a folder ``nevus``. Without this
module, the contradiction would take all copies of the image out of the test part, and the same
model would then pass. So the label of a judged image stands. A later file that contradicts it is
quarantined; a later table that contradicts it is not believed. Only a named person can supersede
the label, by an entry in the ledger (`tasks.splitting.looks.supersede`).
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks.engine.judged import DIGITS, Judged
from tasks.splitting.looks import Settled
from tasks.terms import archive_says

IDENTITY = ("lesion_id", "patient_id")  # if in doubt, a lesion could stand on two sides


@dataclass(frozen=True)
class Standing:
    """A manifest in which the facts about judged images stand.

    Attributes:
        frame: The manifest; each judged file has the label and lesion under which it was judged.
        held: Rows of the files that models were judged on.
        opposed: Why a later file cannot be believed, by row of the manifest.
        judged: Key of the judged file that a later file contradicts, by row of the manifest.
        tables: Ids of judged images about which a table now says something else.
    """

    frame: pd.DataFrame
    held: tuple[int, ...]
    opposed: pd.Series
    judged: pd.Series
    tables: tuple[str, ...]


def standing(manifest: pd.DataFrame, settled: Settled) -> Standing:
    """Let the facts about judged images stand.

    Args:
        manifest: Rows with ``key``, ``image_id``, ``pixel_hash``, ``sha256``, ``label`` and the
            columns that metadata tables fill.
        settled: The images that models were judged on.
    """
    held = _files_of(manifest, settled)
    frame, tables = _restored(manifest, held, settled)
    files: dict[str, Any] = {image.image_id: frame.loc[n] for n, image in held.items()}
    pixels = {image.pixels: image for image in settled.images.values()}
    lesions = {image.lesion_id: image for image in settled.images.values() if image.lesion_id}
    alike = (
        frame["image_id"].isin(list(settled.images))
        | frame["pixel_hash"].str[:DIGITS].isin(list(pixels))
        | frame["lesion_id"].isin(list(lesions))
    )
    in_doubt: Any = frame.groupby("image_id")["label"].transform("nunique") > 1
    opposed: dict[int, str] = {}
    judged: dict[int, str] = {}
    for index, row in frame[alike & ~frame.index.isin(list(held))].iterrows():
        of_it = settled.images.get(row["image_id"]) or pixels.get(str(row["pixel_hash"])[:DIGITS])
        # Skip an image that stands under two labels: no judged lesion says which of its files is
        # true, and `contradictory_label` quarantines both.
        of_lesion = None if in_doubt[index] else lesions.get(row["lesion_id"])
        for image in filter(None, (of_it, of_lesion)):
            file = files.get(image.image_id)
            how = _contradiction(row, image, settled.label_of(image), file)
            if how:
                number = int(str(index))
                opposed[number] = f"{how} than {image.image_id}, which a model was judged on"
                judged[number] = "" if file is None else str(file["key"])
                break
    return Standing(
        frame=frame,
        held=tuple(held),
        opposed=pd.Series(opposed, dtype="str"),
        judged=pd.Series(judged, dtype="str"),
        tables=tables,
    )


def _contradiction(row: pd.Series, image: Judged, label: str, file: pd.Series | None) -> str | None:
    """How a later file contradicts a judged image of the same id, pixels or lesion.

    A copy counts only if it would displace the judged `file`: of equal pixels the first file by
    name is kept, of one image the largest file. Other copies may have been there all along.
    """
    if _told(row["label"]) and row["label"] != label:
        return "another label"
    same_pixels = str(row["pixel_hash"])[:DIGITS] == image.pixels
    if row["image_id"] == image.image_id:
        if same_pixels or not _told(row["pixel_hash"]):
            return None
        return "other pixels" if file is None or _rank(row) < _rank(file) else None
    if same_pixels:
        displaces = file is None or row["key"] < file["key"]
        return "another image id for the same pixels" if displaces else None
    if _told(row["patient_id"]) and image.patient_id not in (None, row["patient_id"]):
        return "another patient of the same lesion"
    return None


def _rank(row: Any) -> tuple[int, str]:
    """The order in which files of one image are preferred: the lowest rank is kept."""
    return -int(row["width"]) * int(row["height"]), str(row["key"])


def _files_of(manifest: pd.DataFrame, settled: Settled) -> dict[int, Judged]:
    """The judged image of each row that holds its file. The file has the same bytes or pixels, if
    possible under the label that the image was judged under."""
    known = manifest[manifest["image_id"].isin(list(settled.images))]
    held: dict[str, tuple[bool, int]] = {}
    for index, row in known.sort_values("key").iterrows():
        image = settled.images[row["image_id"]]
        pixels, file = str(row["pixel_hash"])[:DIGITS], str(row["sha256"])[:DIGITS]
        if pixels != image.pixels and (not image.file or file != image.file):
            continue
        agrees = row["label"] in (image.label, settled.label_of(image))
        if image.image_id not in held or (agrees and not held[image.image_id][0]):
            held[image.image_id] = agrees, int(str(index))
    return {index: settled.images[name] for name, (_, index) in held.items()}


def _restored(
    manifest: pd.DataFrame, held: dict[int, Judged], settled: Settled
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The manifest with judged files as they were judged, and the ids of the judged images that a
    folder or table now contradicts."""
    frame, opposed = manifest.copy(), []
    for index, image in held.items():
        row, label = manifest.loc[index], settled.label_of(image)
        codes: Any = row["archive_diagnosis"]
        said = archive_says(codes) if _told(codes) else None
        doubts: Any = row["contradiction"] if _told(row["contradiction"]) else ()
        # Doubt about age or sex does not make another lesion.
        kept: Any = tuple(each for each in doubts if each.about not in IDENTITY)
        against = (
            # If the archive names the judged label, it had already replaced this file's own label.
            (_told(row["label"]) and row["label"] not in (label, image.label) and said != (label,))
            or (said is not None and not {label, image.label} & set(said))
            or len(kept) < len(doubts)
            or any(_told(row[n]) and getattr(image, n) not in (None, row[n]) for n in IDENTITY)
        )
        frame.at[index, "label"] = label
        for name in IDENTITY:
            if getattr(image, name) is not None:
                frame.at[index, name] = getattr(image, name)
        if against or (said is not None and label not in said):
            frame.at[index, "archive_diagnosis"] = None
            frame.at[index, "contradiction"] = kept or None
        if against:
            opposed.append(image.image_id)
    return frame, tuple(sorted(opposed))


def _told(value: Any) -> bool:
    return isinstance(value, tuple) or (value is not None and not pd.isna(value))
