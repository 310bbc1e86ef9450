"""What the tags of DICOMs say about images, as one more table beside those that were delivered."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from tasks.intake.matching import Names
from tasks.intake.pseudonyms import Pseudonyms
from tasks.intake.telling import Telling, are_persons

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
        self.pseudonyms = pseudonyms
        self.telling = Telling((each.tags for each in self.files), pseudonyms)
        self._near = {
            each.image_id: each.tags["near"] for each in self.files if "near" in each.tags
        }
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

    def hide_patients(self, rows: list[Row]) -> int:
        """Name the patients of a table as the DICOMs do, in place, if the table calls any of them
        by the number in a tag. Then all its numbers may be such. If it calls any by name, or by an
        id that holds a number, or if its ids look like names of persons, keyed hashes of their own
        stand for those who are not found in the tags.

        Returns:
            Number of ids for which such hashes stand.
        """
        said = {row["patient_id"] for row in rows if "patient_id" in row}
        numbers: dict[str, str] = {}
        if self._patients:
            numbers = {each: self.pseudonyms.of("patient", each, "") for each in said}
        if self._patients.keys() & numbers.values():
            hashed = {
                each: self._patients.get(number) or self.telling.patient(each) or number
                for each, number in numbers.items()
            }
        elif are_persons(said) or any(map(self.telling.tells, said)):
            hashed = {
                each: self.telling.patient(each) or self.pseudonyms.person(each) for each in said
            }
        else:
            return 0
        for row in rows:
            if "patient_id" in row:
                row["patient_id"] = hashed[row["patient_id"]]
        return len(hashed)

    def near(self, rows: list[Row], names: Names) -> list[Collection[str]]:
        """What tells who the patient is beside the image of each row alone."""
        if not self._near:
            return [()] * len(rows)
        found = (names.find(row["image_id"]) if "image_id" in row else "" for row in rows)
        return [self._near.get(image_id, ()) for image_id in found]

    def add_lesions(self, facts: dict[str, Row]) -> None:
        """Say that the frames of a file show one lesion, in place, where no table names one."""
        for each in self.files:
            if each.frames > 1 and "instance" in each.tags:
                facts.setdefault(each.image_id, {}).setdefault("lesion_id", each.tags["instance"])
