"""What the cells of a delivered table mean: ids, ages, sexes, truth values, words for "unknown"."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import pandas as pd

from tasks.figures import listed

# Words for "unknown" in tables of several languages.
UNKNOWN = {
    *("", "-", "--", "?", "na", "n/a", "n.a.", "nan", "null", "none", "nil", "unknown", "unk"),
    *("not known", "unspecified", "not specified", "not available", "missing", "undefined"),
    *("k.a.", "k. a.", "ka", "keine angabe", "unbekannt", "inconnu", "inconnue", "desconocido"),
    *("desconhecido", "s/d", "#n/a", "#na", "<na>", "-1", "-1.0", "-9", "-99", "-999"),
}
# Numbers that stand for "unknown" where they stand far more often than other ids do.
PLACEHOLDERS = {"0", "0.0", "00", "000", "0000", "9", "99", "999", "9999", "99999"}
MUCH = 5  # times the median count of the other ids
SEXES = {
    "female": ("f", "female", "w", "weiblich", "frau", "femme", "feminin", "féminin", "mujer",
               "femenino", "feminino", "mulher", "woman"),
    "male": ("m", "male", "männlich", "maennlich", "mann", "homme", "masculin", "hombre",
             "masculino", "homem", "man"),
}  # fmt: skip
SEX_OF = {word: sex for sex, words in SEXES.items() for word in words}
TRUE = {"1", "1.0", "1,0", "true", "t", "yes", "y", "x", "ja", "oui", "sí", "si", "sim", "wahr"}
FALSE = {"0", "0.0", "0,0", "false", "f", "no", "n", "nein", "non", "não", "nao", "falsch", ""}
# The same ids stand in many rows, and are compared again and again.
REMEMBERED = 2**17
WHOLE = re.compile(r"(\d+)[.,]0+")
DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
LEADING = re.compile(r"(?<![\d.,])0+(?=\d)")  # a spreadsheet drops them: 007 becomes 7
SHORTENED = re.compile(r"\d[.,]?\d*E\+\d+", re.IGNORECASE)  # a number that a spreadsheet cut
BETWEEN = re.compile(r"(?<=[^\W\d_])[\s_\-.]+(?=\d)")
OLDEST = 120  # years; the oldest person ever was 122


def known(column: pd.Series) -> pd.Series:
    """The cells of a column; words for "unknown" become missing."""
    words = column.dropna().unique()
    unknown = [word for word in words if word.strip().casefold() in UNKNOWN]
    return column.mask(column.isin(unknown)) if unknown else column


def ids(column: pd.Series) -> tuple[pd.Series, str]:
    """The ids of lesions or patients, and why some cells are none, in words; empty if all are.

    ``0`` is an id where it stands as often as the others, and a word for "unknown" where it stands
    for a large part of the rows.
    """
    found = known(column)
    numbers = {word: same_number(word) for word in found.dropna().unique()}
    found = found.map(numbers, na_action="ignore")
    cut = [word for word in numbers.values() if "+" in word and SHORTENED.fullmatch(word)]
    if cut:
        some = f"{int(found.isin(cut).sum())} ids, such as {cut[0]!r}"
        return found.mask(found.isin(cut)), f"{some}, were cut by a spreadsheet: they link none"
    counts = found.value_counts()
    for word in PLACEHOLDERS & set(counts.index):
        others = counts.drop(word)
        if counts[word] > 1 and (others.empty or counts[word] > MUCH * others.median()):
            why = f"{word!r} stands for so many images that it is taken for unknown and links none"
            return found.mask(found == word), why
    return found, ""


def same_number(text: str) -> str:
    """An id that a spreadsheet wrote as a decimal number, as the whole number.

    >>> same_number("1.0"), same_number(" L-7 "), same_number("1.5")
    ('1', 'L-7', '1.5')
    """
    text = text.strip()
    whole = WHOLE.fullmatch(text) if text.endswith("0") else None
    return whole[1] if whole else text


@lru_cache(REMEMBERED)
def spelling(text: str) -> str:
    """An id without case, and without what stands between letters and number: two ids of one
    spelling name one thing.

    >>> spelling("Q-001") == spelling("q001") == spelling("Q 001")
    True
    >>> spelling("1-1") == spelling("11")
    False
    >>> spelling("007") == spelling("7"), spelling("1.05") == spelling("1.5")
    (True, False)
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text).translate(DASHES)
    plain = plain.rstrip(". ")
    return LEADING.sub("", BETWEEN.sub("", same_number(plain).casefold()))


def archive_of(text: str) -> str | None:
    """What stands before the number of an archive's id; None for any other id.

    >>> archive_of("IL_0001234"), archive_of("HAM_0000118"), archive_of("MSK4_0011169")
    ('il', 'ham', 'msk4')
    >>> archive_of("L17"), archive_of("other")
    (None, None)
    >>> archive_of("dicom-0123456789abcdef0123"), archive_of("person-01234567890123456789")
    ('dicom', None)
    """
    plain = text.strip().casefold()
    if re.fullmatch(r"dicom-[0-9a-f]{20}", plain):  # as `tasks.intake.pseudonyms` gives them
        return "dicom"
    if re.fullmatch(r"(person|lesion|image)-[0-9a-f]{20}", plain):
        return None
    found = re.fullmatch(r"([a-z]{2,}\d*)[_-]\d{3,}", plain)
    return found[1] if found else None


def years(text: str) -> float | None:
    """An age in years, as the ISIC Archive's library reads it (85+ is 85); a range by its middle.

    >>> years("85+"), years("50-55"), years("55 years"), years("410"), years("1950-03-01")
    (85.0, 52.5, 55.0, None, None)
    >>> years("60 J."), years("60yrs"), years("60 y/o"), years("60 Jahre alt"), years("60 M.")
    (60.0, 60.0, 60.0, 60.0, None)
    """
    plain = text.strip().casefold().replace(",", ".")
    plain = re.sub(
        r"\s*(years?|yrs?|y|y/?o|jahre?|jr?|ans?|años?|anos?|a)\.?(\s+(old|alt))?$", "", plain
    )
    span = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:[-\u2013]|to|bis)\s*(\d+(?:\.\d+)?)", plain)
    if span:
        low, high = float(span[1]), float(span[2])
        return (low + high) / 2 if low <= high <= OLDEST else None
    one = re.fullmatch(r"(?:>=?\s*)?(\d+(?:\.\d+)?)\+?", plain)
    return float(one[1]) if one and float(one[1]) <= OLDEST else None


def sex(text: str) -> str | None:
    """The sex, as the archives write it.

    >>> sex("W"), sex("Männlich"), sex("both")
    ('female', 'male', None)
    """
    return SEX_OF.get(text.strip().casefold())


def truth(text: str) -> bool | None:
    """A truth value; None for anything else, such as a probability."""
    word = text.strip().casefold()
    return True if word in TRUE else False if word in FALSE else None


def is_share(text: str) -> bool:
    """Whether a cell is a number strictly between 0 and 1, as a prediction is."""
    try:
        return 0 < float(text.strip().replace(",", ".")) < 1
    except ValueError:
        return False


def mapped(column: pd.Series, read: Callable[[str], Any]) -> tuple[pd.Series, list[str]]:
    """The cells as a function reads them, and a few that it cannot read."""
    words = known(column)
    values = {word: read(word) for word in words.dropna().unique()}
    missed = [word for word, value in values.items() if value is None]
    return words.map(values, na_action="ignore"), missed


def few(words: Iterable[str], count: int = 3) -> str:
    """Some words for a message."""
    return listed([repr(word[:60]) for word in words], count)
