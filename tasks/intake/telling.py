"""Whether a text tells who a patient is, by the keyed hashes that the tags of DICOMs became.

The tags themselves are seen only when a DICOM is decoded. A table, or a file beside the DICOMs, may
come years later: what it says is glued and hashed as the tags were, and compared.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

from tasks.intake.dicom_names import COMMON, said_by
from tasks.intake.pseudonyms import Pseudonyms

REMEMBERED = 2**20  # words and texts that are looked at once
SAMPLE = 200  # names by which a column of patients is judged
NAMES = 0.5  # share of a sample from which a column holds names of persons
WORD = r"[^\W\d_]+(?:['\u2019.-][^\W\d_]+)*\.?"
PERSON = re.compile(rf"{WORD}(?:(?:,\s*|\s+|\^){WORD}){{1,4}}")


class Telling:
    """Which texts tell who a patient is.

    Args:
        tags: What the tags of each DICOM say, see `tasks.intake.dicom_tags.Tags.told`.
        pseudonyms: The names that their patients have.
    """

    def __init__(self, tags: Iterable[dict[str, Any]], pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._patients: dict[str, set[str]] = {}
        self._marks: set[str] = set()
        for each in tags:
            for mark in each.get("named", ()):
                self._patients.setdefault(mark, set()).add(each.get("patient", ""))
            self._marks.update(each.get("marks", ()))
        self._marks |= self._patients.keys()
        self._hashed: dict[str, bool] = {}
        self._seen: dict[str, bool] = {}

    @property
    def is_silent(self) -> bool:
        """Whether no tag says who any patient is."""
        return not self._marks

    def tells(self, text: str, near: Collection[str] = ()) -> bool:
        """Whether a text holds a number, name or date of birth of any patient; or what is near:
        what counts beside the image that the text is about."""
        if near and any(self._pseudonyms.mark(word) in near for word in said_by(text)):
            return True
        if not self._marks:
            return False
        found = self._seen.get(text)
        if found is None:
            found = any(map(self._is_mark, said_by(text)))
            _remember(self._seen, text, found)
        return found

    def patient(self, text: str) -> str:
        """The patient whose number or whole name a text holds; empty if there is not just one."""
        marks = map(self._pseudonyms.mark, said_by(text)) if self._patients else ()
        found = set().union(*(self._patients.get(mark, set()) for mark in marks))
        return next(iter(found)) if len(found) == 1 else ""

    def _is_mark(self, word: str) -> bool:
        found = self._hashed.get(word)
        if found is None:
            found = self._pseudonyms.mark(word) in self._marks
            _remember(self._hashed, word, found)
        return found


def _remember(among: dict[str, bool], text: str, found: bool) -> None:
    if len(among) >= REMEMBERED:
        among.clear()
    among[text] = found


def are_persons(cells: Iterable[str]) -> bool:
    """Whether ids of patients look like names of persons: two words or more, without a digit.

    >>> are_persons(["Kunigunde Zwiebelhuber", "Quastenflosser, Adalbert"])
    True
    >>> are_persons(["P1", "P2"]) or are_persons(["patient A", "patient B"])
    False
    """
    sample = sorted(set(cells))[:SAMPLE]
    found = [each for each in sample if PERSON.fullmatch(each.strip()) and _is_person(each)]
    return len(found) > NAMES * len(sample)


def _is_person(text: str) -> bool:
    words = [word for word in re.findall(r"[^\W\d_]+", text.casefold()) if len(word) > 1]
    return len(words) > 1 and not COMMON & set(words)
