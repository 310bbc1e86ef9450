"""Whether a cell, a row, a text or a file's name names what is erased.

Cells are read as ingest reads them. A text of digits alone, or of letters alone, may mean anything
(``55``, ``nevus``): such an id counts only in a column of images or of patients.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from tasks.erasure.scope import Scope
from tasks.intake.cells import spelling
from tasks.intake.matching import Names
from tasks.lesions import ABOUT_AN_IMAGE, FILE_SUFFIX, TEXTS

REMEMBERED = 2**17  # the same cells stand in many rows
LONG_NUMBER = re.compile(r"(?!(19|20)\d{6}$)\d{6,}")  # and no date
BETWEEN_WORDS = re.compile(r"[\s,;|:=<>\"'()\[\]{}]+")
WITHIN_A_CELL = re.compile(r"[|;,\n]")


class Mentions:
    """What is erased, as delivered files may name it.

    Args:
        scope: What is erased.
        names: The images of the store, before anything was erased.
        hashed: The keyed hash of a patient's number, see `tasks.intake.pseudonyms`.
    """

    def __init__(
        self, scope: Scope, names: Names, hashed: Callable[[str], str] | None = None
    ) -> None:
        self.scope = scope
        self.names = names
        self._hashed = hashed if scope.numbers else None
        self._spelled = {spelling(each) for each in scope.images}
        self._patient = spelling(scope.name) if scope.asked == "patient" else None
        self._folders = {each.rpartition("/")[0] for each in scope.keys}
        self.image = lru_cache(REMEMBERED)(self._image)
        self.patient = lru_cache(REMEMBERED)(self._is_patient)

    def _image(self, cell: str) -> bool:
        """Whether a text names an erased image, in any spelling that no other image has."""
        found = self.names.find(cell)
        if found in self.scope.images or found in self.names.ids:
            return found in self.scope.images
        return spelling(found) in self._spelled

    def _is_patient(self, cell: str) -> bool:
        """Whether a text names the erased patient, by id or by the clinic's number."""
        if self._patient is None or not cell.strip():
            return False
        if spelling(cell) == self._patient:
            return True
        return self._hashed is not None and self._hashed(cell) in self.scope.numbers

    def row(self, cells: list[str], roles: dict[int, str]) -> bool:
        """Whether a row of a table names an erased image, or the erased patient, in any cell.

        Args:
            cells: The cells, as ragged as they are.
            roles: What a column holds, by its number from 0: image_id, lesion_id or patient_id.
        """
        for number, cell in enumerate(cells):
            role = roles.get(number)
            for part in _parts(cell):
                sure = is_sure(part)
                images = role == "image_id" or (sure and role not in ("lesion_id", "patient_id"))
                patients = role == "patient_id" or (sure and role not in ("lesion_id", "image_id"))
                if (images and self.image(part)) or (patients and self.patient(part)):
                    return True
        return False

    def others(self, cells: list[str]) -> int:
        """How many cells name images that are not erased."""
        return sum(
            self.names.find(each) in self.names.ids and not self.image(each) for each in cells
        )

    def text(self, text: str) -> bool:
        """Whether a text holds the id as a whole word."""
        words = {word.strip(".!?") for word in BETWEEN_WORDS.split(text)}
        return any(is_sure(word) and (self.image(word) or self.patient(word)) for word in words)

    def file(self, key: str) -> bool:
        """Whether a file is about an erased image or patient, by its name: a thumbnail, a backup, a
        note beside the image. No file is that ingest has taken for an image."""
        folder, _, name = key.rpartition("/")
        if name.casefold().partition(".")[0] in TEXTS:
            return False
        beside = folder in self._folders
        for stem in _stems(name):
            found = self.names.find(f"{folder}/{stem}")
            if found in self.names.ids and found not in self.scope.images:
                return False  # another image's
            if (is_sure(stem) or beside) and self.image(f"{folder}/{stem}"):
                return True
            if is_sure(stem) and self.patient(stem):
                return True
        return False


def is_sure(text: str) -> bool:
    """Whether a text can hardly mean anything but the thing of this id.

    >>> [is_sure(each) for each in ("m00a", "55.jpg", "00471234", "nevus.png")]
    [True, True, True, True]
    >>> [is_sure(each) for each in ("55", "20240131", "nevus", "2024-01-31")]
    [False, False, False, False]
    """
    text = text.strip()
    if FILE_SUFFIX.search(text) or LONG_NUMBER.fullmatch(text):
        return True
    return any(map(str.isalpha, text)) and any(map(str.isdigit, text))


def _parts(cell: str) -> Iterator[str]:
    """A cell, and what it lists."""
    yield cell
    if len(listed := WITHIN_A_CELL.split(cell)) > 1:
        yield from (each.strip() for each in listed)


def _stems(name: str) -> Iterator[str]:
    """A file's name, and what is left of it without one suffix after the other.

    >>> list(_stems("m00a_thumb.jpg.bak"))
    ['m00a_thumb.jpg.bak', 'm00a_thumb.jpg', 'm00a_thumb', 'm00a']
    """
    while name:
        yield name
        about = ABOUT_AN_IMAGE.fullmatch(f"{name}.x")
        shorter = name[: about.start(1) - 1] if about else name.rpartition(".")[0]
        name = shorter
