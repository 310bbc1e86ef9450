"""Whether a text tells who the patient of a DICOM is: the name of a file, the cell of a table.

Names of files and cells stand in records, logs and reports, and a DICOM's tags say what these must
not hold. Texts are taken apart into words and numbers. A few of them in a row, glued, are compared
with what the tags say, glued the same way: so neither signs nor case nor accents hide anything.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from tasks.intake.cells import UNKNOWN
from tasks.intake.dicom_file import DicomFile

# Texts that stand where a patient's number was removed. They name nobody, and link nothing.
NOBODY = re.compile(
    r"0+|(anonym|removed|de-?identified|no ?id|test ?patient|xxx)\w*", re.IGNORECASE
)
PUBLIC = re.compile(r"(ISIC|IP|IL|HAM|BCN)_\d{4,}")  # pseudonyms that archives have published
# Family names that a text holds for another reason, and words that replace a removed name.
COMMON = {
    *("anonymous", "anonymized", "anonymised", "anon", "patient", "unknown", "test", "train"),
    *("image", "dicom", "isic", "melanoma", "nevus", "naevus", "lesion", "clinic", "raw", "none"),
    *("subject", "case", "study", "person", "proband", "name", "metadata", "table"),
}
# Family names, and words of family names, that cells and other files hold for another reason.
ORDINARY = {
    *("keratosis", "benign", "malignant", "follow", "control", "left", "right", "upper", "lower"),
    *("front", "head", "neck", "face", "scalp", "chest", "breast", "trunk", "torso", "back"),
    *("belly", "abdomen", "shoulder", "elbow", "hand", "finger", "palm", "foot", "heel", "sole"),
    *("nose", "cheek", "temple", "kopf", "hals", "bein", "fuss", "bauch", "brust", "black"),
    *("brown", "white", "green", "gray", "grey", "blue", "dark", "light", "schwarz", "braun"),
    *("weiss", "grau", "gross", "klein", "small", "large", "long", "short", "young", "graf"),
    *("della", "saint", "santa", "sankt", "baron", "freifrau", "freiherr", "from", "with"),
    *("dermatology", "dermatologie", "dermatologia", "hospital", "klinik", "clinica", "derm"),
    *("skin", "haut", "photo", "export", "research", "trial", "cohort", "visit", "volunteer"),
}
TOKENS = re.compile(r"[^\W\d_]+|\d+")
LETTERS = re.compile(r"[^\W\d_]+")
MOST_TOKENS = 8  # in a row that count; of a longer number, the first
MONTHS = {
    **dict.fromkeys(("jan", "gen", "ene"), 1),
    **dict.fromkeys(("feb", "fev"), 2),
    **dict.fromkeys(("mar", "mrz", "mae"), 3),
    **dict.fromkeys(("apr", "avr", "abr"), 4),
    **dict.fromkeys(("may", "mai", "mag"), 5),
    **dict.fromkeys(("jun", "juin", "giu"), 6),
    **dict.fromkeys(("jul", "juil", "lug"), 7),
    **dict.fromkeys(("aug", "aou", "ago"), 8),
    **dict.fromkeys(("sep", "set"), 9),
    **dict.fromkeys(("oct", "okt", "out", "ott"), 10),
    "nov": 11,
    **dict.fromkeys(("dec", "dez", "dic"), 12),
}  # in English, German, French, Spanish, Portuguese and Italian, by their first letters
SHORT = "~"  # before a date that six digits may mean, as other numbers may


@dataclass(frozen=True)
class Clear:
    """What the tags say of a patient in clear, glued. It is compared, and never kept.

    Attributes:
        numbers: Numbers of the patient, of at least four signs.
        accessions: Numbers of the study, likewise.
        names: Family and first name, in both orders.
        families: Family names, each alone too.
        born: The date of birth.
    """

    numbers: set[str] = field(default_factory=set)
    accessions: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    families: set[str] = field(default_factory=set)
    born: set[str] = field(default_factory=set)

    @property
    def named(self) -> set[str]:
        """Numbers and names that no text holds by chance."""
        names = {each for each in self.names if len(each) >= 6 or not each.isascii()}
        return names | {each for each in self.numbers if _is_heavy(each)}

    @property
    def others(self) -> set[str]:
        """What else tells of the patient, and stands in no text by chance."""
        families = {each for each in self.families if len(each) >= 4 or not each.isascii()}
        born = {each for each in self.born if not each.startswith(SHORT)}
        return {each for each in self.accessions if _is_heavy(each)} | (families - ORDINARY) | born

    @property
    def near(self) -> set[str]:
        """Numbers so short that they tell something only beside an image of this patient."""
        return {each for each in self.numbers | self.accessions if not _is_heavy(each)}


def _is_heavy(number: str) -> bool:
    """Four or five digits may be any number."""
    return len(number.lstrip("0")) >= (6 if number.isdecimal() else 5)


def names_patient(path: str, file: DicomFile) -> bool:
    """Whether a path holds a number, family name or date of birth of the patient.

    A number of fewer than four signs counts as none: it names nobody outside, and stands in every
    other path. If the tags say that who the patient is was removed, the number is a pseudonym.
    """
    clear = clear_of(file)
    told = clear.numbers | clear.accessions | clear.names | clear.families | clear.born
    if told & said_by(path):
        return True
    glued = ["".join(LETTERS.findall(form)) for form in _forms(path)]
    return any(name in letters for name in clear.names for letters in glued)


def clear_of(file: DicomFile) -> Clear:
    """What the tags say of a patient in clear; nothing if who the patient is was removed."""
    clear = Clear()
    if file.text("PatientIdentityRemoved").upper() == "YES":
        return clear
    said = [file.text("PatientID"), *re.split(r"[\\',\[\]]+", file.text("OtherPatientIDs"))]
    clear.numbers.update(_numbers(said))
    clear.accessions.update(_numbers([file.text("AccessionNumber")]))
    for keyword in ("PatientName", "OtherPatientNames", "PatientBirthName"):
        for text in _readings(file.text(keyword)):
            for group in re.split(r"[=\\\[\]']+", text):
                _add_name(clear, group.strip(" ,"))
    born = day_of(file.text("PatientBirthDate"))
    if born:
        clear.born.update((born.isoformat(), SHORT + born.isoformat()))
    return clear


def said_by(text: str) -> set[str]:
    """The words and numbers of a text, a few in a row glued, and its dates.

    >>> sorted(said_by("QX-0471"))
    ['0471', '471', 'qx0471']
    >>> "1961-03-12" in said_by("x_12Mar1961") & said_by("12.3.61") & said_by("19610312")
    True
    """
    found: set[str] = set()
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    for form in {form for each in {text, spaced} for form in _forms(each)}:
        tokens = TOKENS.findall(form)
        for start in range(len(tokens)):
            glued = ""
            for token in tokens[start : start + MOST_TOKENS]:
                glued += token
                if len(glued) >= 3:
                    found.add(glued)
                    found.add(glued.lstrip("0"))
        found.update(_dates(tokens))
    return found


def _forms(text: str) -> set[str]:
    """A text in small letters, without accents: ``ä`` as ``a`` and as ``ae``."""
    if text.isascii():
        return {text.casefold()}
    small = unicodedata.normalize("NFC", text).casefold()
    german = small.translate({ord("ä"): "ae", ord("ö"): "oe", ord("ü"): "ue"})
    decomposed = (unicodedata.normalize("NFKD", each) for each in (small, german))
    return {"".join(s for s in each if not unicodedata.combining(s)) for each in decomposed}


def _readings(text: str) -> Iterator[str]:
    """A text, also as UTF-8 if a file holds UTF-8 without saying so."""
    yield text
    if not text.isascii():
        try:
            yield text.encode("latin-1").decode()
        except UnicodeError:
            return


def _numbers(said: Iterable[str]) -> Iterator[str]:
    for number in said:
        if number.casefold() in UNKNOWN or NOBODY.fullmatch(number) or PUBLIC.fullmatch(number):
            continue
        for form in _forms(number):
            glued = "".join(TOKENS.findall(form)[:MOST_TOKENS])
            yield from (each for each in (glued, glued.lstrip("0")) if len(each) >= 4)


def _add_name(clear: Clear, group: str) -> None:
    """Add a name as DICOM writes it, ``family^first``; or with a comma, or a blank, for the ``^``.
    Without either, each word may be the family name. What holds digits instead of a first name is
    rather a number."""
    if "^" in group:
        family, _, given = group.partition("^")
    else:
        family, _, given = group.partition(",")
    if not given and re.search(r"\d", family):
        clear.numbers.update(_numbers([family]))
        return
    for form in _forms(family):
        words = LETTERS.findall(form)
        if len("".join(words)) >= 3 and not COMMON & set(words):
            clear.families.add("".join(words))
        alone = (word for word in words if len(word) >= 4 or not word.isascii())
        clear.families.update(word for word in alone if word not in COMMON and len(word) >= 2)
        if not given and len(words) > 1:
            clear.names.update(_both(words[1:], words[:1]))
        for first in _forms(given):
            clear.names.update(_both(words, LETTERS.findall(first)[:1]))


def _both(family: list[str], first: list[str]) -> Iterator[str]:
    """Family and first name in both orders; with each longer word of the family alone too."""
    alone = ((word,) for word in family if len(word) >= 4)
    for words in {tuple(family), *alone}:
        both = "".join((*words, *first))
        enough = len(both) >= (4 if both.isascii() else 3)
        if words and first and enough and not {*words, *first} <= COMMON:
            yield both
            yield "".join((*first, *words))


def _dates(tokens: list[str]) -> Iterator[str]:
    for token in tokens:
        if token[0].isdecimal() and len(token) == 8:
            orders = ((token[:4], token[4:6], token[6:]), (token[4:], token[2:4], token[:2]))
            yield from _days((*orders, (token[4:], token[:2], token[2:4])))
        elif token[0].isdecimal() and len(token) == 6:
            orders = ((token[:2], token[2:4], token[4:]), (token[4:], token[2:4], token[:2]))
            yield from (SHORT + day for day in _days(orders))
    parts = [_part(token) for token in tokens if token not in ("de", "of", "di")]
    for one, two, three in zip(parts, parts[1:], parts[2:], strict=False):
        if one and two and three:
            yield from _days(((one, two, three), (three, two, one), (three, one, two)))


def _part(token: str) -> str:
    """A number that may be a year, month or day, of a month's name too; else nothing."""
    if token[0].isdecimal():
        return token if len(token) in (1, 2, 4) else ""
    month = MONTHS.get(token[:4]) or MONTHS.get(token[:3]) if 3 <= len(token) <= 10 else None
    return str(month) if month else ""


def _days(orders: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """The days that year, month and day may mean, as ``1961-03-12``."""
    for year, month, day in orders:
        centuries = {4: ("",), 2: ("19", "20")}.get(len(year), ())
        if len(month) > 2 or len(day) > 2:
            continue
        for century in centuries:
            try:
                yield date(int(century + year), int(month), int(day)).isoformat()
            except ValueError:
                continue


def day_of(text: str) -> date | None:
    """The day of a date (``19700131``) or time (``19700131120000``) of DICOM."""
    found = re.match(r"(\d{4})\.?(\d\d)\.?(\d\d)", text)
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None
