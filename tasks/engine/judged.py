"""A judged image: the facts that an entry of the ledger keeps about an image of a test part."""

from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass
from typing import Any

import pandas as pd

DIGITS = 12  # digits of a hash: 48 bits tell a million images apart


@dataclass(frozen=True)
class Judged:
    """One image of a test part, as it was when a model was judged on it.

    Attributes:
        image_id: Id of the image; empty in an old entry that holds only pixels.
        pixels: First digits of the SHA-256 over the decoded pixels.
        file: First digits of the SHA-256 of the file.
        lesion_id, patient_id: Lesion and patient by the tables of that time; None if unknown.
        label: The label under which the image was judged.
        likeness: Perceptual hash of the picture, 16 hexadecimal digits, see
            `tasks.intake.likeness`; empty for an image of a test part, and in old entries.
    """

    image_id: str
    pixels: str
    file: str
    lesion_id: str | None
    patient_id: str | None
    label: str
    likeness: str = ""

    @property
    def lesion(self) -> str:
        """The lesion that the image counts as; the image itself if its lesion is not known."""
        return self.lesion_id or self.image_id

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self)


def judged_of(test: pd.DataFrame, *, by_likeness: bool = False) -> list[Judged]:
    """The images of a test part, in the order of their ids.

    Args:
        test: Rows with ``image_id``, ``pixel_hash``, ``label``, and ``sha256``, ``lesion_id``,
            ``patient_id`` and ``perceptual_hash`` as far as they are known.
        by_likeness: Whether to keep the perceptual hash, so that a copy that is coded anew is
            recognized.
    """
    rows = test.sort_values("image_id")
    return [
        Judged(
            image_id=str(row["image_id"]),
            pixels=str(row["pixel_hash"])[:DIGITS],
            file=(_known(row.get("sha256")) or "")[:DIGITS],
            lesion_id=_known(row.get("lesion_id")),
            patient_id=_known(row.get("patient_id")),
            label=str(row["label"]),
            likeness=(_known(row.get("perceptual_hash")) or "") if by_likeness else "",
        )
        for row in rows.to_dict("records")
    ]


def as_lists(images: Iterable[Judged]) -> list[list[str | None]]:
    """The images in the form in which an entry holds them."""
    return [list(astuple(each))[: None if each.likeness else -1] for each in images]


def from_lists(rows: list[list[Any]]) -> list[Judged]:
    return [Judged(*row) for row in rows]


def _known(value: Any) -> str | None:
    return None if value is None or pd.isna(value) else str(value)
