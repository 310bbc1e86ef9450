"""What the tags of DICOMs say about images, as one more table beside those that were delivered."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tasks.intake.pseudonyms import Pseudonyms

Row = dict[str, Any]

# Columns of the manifest that a tag fills <- the tag's name in `tasks.intake.dicom_tags.Tags`.
FACTS = {"patient_id": "patient", "age_years": "age_years", "sex": "sex", "site": "site"}
OTHERS = ("laterality", "study")  # kept as unknown columns of tables are


@dataclass(frozen=True)
class TaggedFile:
    """A DICOM.

    Attributes:
        image_id: Id of its image.
        tags: What its tags say, see `tasks.intake.dicom_tags.Tags.told`.
        frames: Number of its pictures.
    """

    image_id: str
    tags: dict[str, Any]
    frames: int = 1


class Tagged:
    """What the tags of DICOMs say.

    Args:
        files: The DICOMs.
        pseudonyms: The names that their patients have.
    """

    def __init__(self, files: Iterable[TaggedFile], pseudonyms: Pseudonyms) -> None:
        self.files = list(files)
        self._pseudonyms = pseudonyms
        self._patients = {
            each.tags["number"]: each.tags["patient"]
            for each in self.files
            if "number" in each.tags
        }

    def rows(self) -> list[Row]:
        """A row for each file, under the manifest's column names, with ``image_id``."""
        found = []
        for each in self.files:
            row: Row = {of: each.tags[name] for of, name in FACTS.items() if name in each.tags}
            others = {name: each.tags[name] for name in OTHERS if name in each.tags}
            row |= {"other_metadata": others} if others else {}
            found.append(row | {"image_id": each.image_id})
        return found

    def hide_patients(self, rows: list[Row]) -> None:
        """Name the patients of a table as the DICOMs do, in place, if the table calls any of them
        by the number in a tag. Then all its numbers may be such."""
        if not self._patients:
            return
        said = {row["patient_id"] for row in rows if "patient_id" in row}
        hashed = {number: self._pseudonyms.of("patient", number, "") for number in said}
        if not self._patients.keys() & hashed.values():
            return
        for row in rows:
            if "patient_id" in row:
                name = hashed[row["patient_id"]]
                row["patient_id"] = self._patients.get(name, name)

    def add_lesions(self, facts: dict[str, Row]) -> None:
        """Say that the frames of a file show one lesion, in place, where no table names one."""
        for each in self.files:
            if each.frames > 1 and "instance" in each.tags:
                facts.setdefault(each.image_id, {}).setdefault("lesion_id", each.tags["instance"])
