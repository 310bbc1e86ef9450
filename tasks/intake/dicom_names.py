"""Whether the name of a file tells who the patient is.

Names of files stand in records, logs and reports, and a DICOM's tags say what they must not hold.
"""

import re
import unicodedata
from datetime import date

from tasks.intake.cells import UNKNOWN
from tasks.intake.dicom_file import DicomFile
from tasks.intake.dicom_tags import NOBODY, day_of

PUBLIC = re.compile(r"(ISIC|IP|IL|HAM|BCN)_\d{4,}")  # pseudonyms that archives have published
# Family names that a path holds for another reason, and words that replace a removed name.
COMMON = {
    *("anonymous", "anonymized", "anonymised", "anon", "patient", "unknown", "test", "train"),
    *("image", "dicom", "isic", "melanoma", "nevus", "naevus", "lesion", "clinic", "raw", "none"),
}
LETTERS = re.compile(r"[^\W\d_]+")
NO_LETTERS = r"[\W\d_]*"  # between the words of a name
ALONE = r"(?<![^\W\d_]){}(?![^\W\d_])"  # a word that is no part of a longer one


def names_patient(path: str, file: DicomFile) -> bool:
    """Whether a path holds the patient's number, family name or date of birth.

    A number of fewer than four signs counts as none: it names nobody outside, and stands in every
    other path. If the tags say that who the patient is was removed, the number is a pseudonym.
    """
    if file.text("PatientIdentityRemoved").upper() == "YES":
        return False
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path)
    texts = {form for text in (path, spaced) for form in _forms(text)}
    patterns = [*_numbers(file), *_names(file), *_dates(file)]
    return any(re.search(pattern, text) for pattern in patterns for text in texts)


def _forms(text: str) -> set[str]:
    """A text in small letters, without accents: ``ä`` as ``a`` and as ``ae``."""
    small = unicodedata.normalize("NFC", text).casefold()
    german = small.translate({ord("ä"): "ae", ord("ö"): "oe", ord("ü"): "ue"})
    decomposed = (unicodedata.normalize("NFKD", each) for each in (small, german))
    return {"".join(s for s in each if not unicodedata.combining(s)) for each in decomposed}


def _numbers(file: DicomFile) -> list[str]:
    said = [file.text("PatientID"), *re.split(r"[\\',\[\]]+", file.text("OtherPatientIDs"))]
    found = []
    for number in said:
        if number.casefold() in UNKNOWN or NOBODY.fullmatch(number) or PUBLIC.fullmatch(number):
            continue
        for form in _forms(number):
            parts = re.findall(r"[^\W\d_]+|\d+", form)
            if sum(map(len, parts)) >= 4:
                found.append(_bounded(r"[\W_]*".join(map(re.escape, parts)), form))
    return found


def _bounded(pattern: str, text: str) -> str:
    """A pattern that does not match within a longer number or word."""
    kinds = [r"\d" if end.isdigit() else r"[^\W\d_]" for end in (text[0], text[-1])]
    return f"(?<!{kinds[0]}){pattern}(?!{kinds[1]})"


def _names(file: DicomFile) -> list[str]:
    """Patterns of family names, and of family and first name in any order, glued too."""
    found = []
    for keyword in ("PatientName", "OtherPatientNames", "PatientBirthName"):
        for group in re.split(r"[=\\\[\],']+", file.text(keyword)):
            family, _, given = group.partition("^")
            for form in _forms(family):
                found += _patterns(LETTERS.findall(form), _forms(given))
    return found


def _patterns(family: list[str], given: set[str]) -> list[str]:
    found = []
    if len("".join(family)) >= 3 and not COMMON & set(family):
        found.append(ALONE.format(NO_LETTERS.join(family)))
    for form in given:
        first = LETTERS.findall(form)[:1]
        both = "".join((*family, *first))
        long_enough = len(both) >= (4 if both.isascii() else 3)
        if family and first and long_enough and not {*family, *first} <= COMMON:
            orders = ((*family, *first), (*first, *family))
            found += [NO_LETTERS.join(each) for each in orders]
    return found


def _dates(file: DicomFile) -> list[str]:
    born = day_of(file.text("PatientBirthDate"))
    if born is None:
        return []
    year, month, day = f"{born.year}", f"0?{born.month}", f"0?{born.day}"
    orders = [(year, month, day), (day, month, year), (month, day, year)]
    found = [r"[\W_]+".join(order) for order in orders]
    glued = [(f"{born.year}", f"{born.month:02}", f"{born.day:02}"), *_reversed(born)]
    found += ["".join(order) for order in glued]
    short = (f"{born.year % 100:02}", f"{born.month:02}", f"{born.day:02}")
    found += ["".join(short), "".join((short[2], short[1], short[0]))]
    return [rf"(?<!\d){each}(?!\d)" for each in found]


def _reversed(born: date) -> list[tuple[str, str, str]]:
    year, month, day = f"{born.year}", f"{born.month:02}", f"{born.day:02}"
    return [(day, month, year), (month, day, year)]
