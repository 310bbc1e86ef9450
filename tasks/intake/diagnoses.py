"""The diagnosis of each row of a delivered table, whichever columns hold it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import pandas as pd

from tasks.intake.cells import FALSE, few, is_share, known, truth
from tasks.intake.columns import COARSE, DIAGNOSES, LEVELS, ONE_HOT, TRUTHS, codes_in, plain
from tasks.lesions import ARCHIVE_CODES, Code
from tasks.terms import archive_says, exact_class, is_understood, meanings

Told = Sequence[tuple[Code, ...]]

MANY = 200  # words; a column of more is one of remarks
FEW = 5  # columns of diagnoses that a table may hold
ALIKE = 0.8  # share of a column's words that are diagnoses, from which the column holds them
LONGEST = 200  # signs of a code that a record keeps
PREDICTED = 0.2  # share of cells strictly between 0 and 1 from which a table is one of predictions


@dataclass(frozen=True)
class Diagnosed:
    """What a table says about diagnoses.

    Attributes:
        told: The codes of each row, empty where the row says nothing.
        columns: The columns that say so.
        problems: What was not understood, in words.
        unknown: Codes that are not understood, with the number of their rows.
    """

    told: Told
    columns: tuple[str, ...]
    problems: tuple[str, ...] = ()
    unknown: tuple[tuple[str, int], ...] = ()


def diagnoses_in(
    frame: pd.DataFrame, meant: Callable[[Code], Code] = lambda code: code
) -> Diagnosed:
    """What a table says about diagnoses.

    Args:
        frame: The columns that may hold them, cells as text.
        meant: The code that a person's guide puts for a code.
    """
    codes = codes_in(str(name) for name in frame.columns)
    names = _names_of(frame)
    parts = [_one_hot(frame, codes)] if codes else []
    parts += _by_level(frame, names)
    parts += [_by_word(frame, names[n], DIAGNOSES[n]) for n in DIAGNOSES if n in names]
    parts += [_by_word(frame, names[n], "labels") for n in COARSE if n in names]
    parts += [_by_truth(frame, names[n], *TRUTHS[n]) for n in TRUTHS if n in names]
    parts += [] if codes else _by_one_truth(frame)
    problems = [problem for each in parts for problem in each.problems]
    used = {*codes, *(name for each in parts for name in each.columns)}
    told = [
        tuple(dict.fromkeys(meant(code) for each in parts for code in each.told[n]))
        for n in range(len(frame))
    ]
    rest = frame.drop(columns=[name for name in frame.columns if str(name) in used])
    if used:
        problems += _contradicting(rest, told)
    elif not problems:
        problems += _silent(rest)
    counts: dict[str, int] = {}
    for row in told:
        for code in row:
            if not _understood(code):
                text = code.text[:LONGEST]
                counts[text] = counts.get(text, 0) + 1
    return Diagnosed(
        told,
        tuple(name for each in parts for name in each.columns),
        tuple(problems),
        tuple(sorted(counts.items())),
    )


def _names_of(frame: pd.DataFrame) -> dict[str, str]:
    """The columns by their plain names, with or without what stands between the words."""
    own = {plain(str(name)): str(name) for name in reversed(frame.columns)}
    wanted = (*DIAGNOSES, *COARSE, *TRUTHS, *LEVELS)
    glued = {name: own[name.replace("_", "")] for name in wanted if name.replace("_", "") in own}
    return own | glued | {name: own[name] for name in wanted if name in own}


def _silent(frame: pd.DataFrame) -> list[str]:
    """The columns of other names that hold diagnoses, in words. In a table turned on its side all
    columns seem to."""
    found = [str(name) for name in frame.columns if _holds_diagnoses(frame[name])]
    return [
        f"the column {name!r} holds diagnoses and is not used: name it diagnosis"
        for name in found
        if len(found) <= FEW
    ]


def _contradicting(frame: pd.DataFrame, told: Told) -> list[str]:
    """The columns of other names that hold other diagnoses than the table's, in words."""
    agree = cache(lambda codes, word: archive_says((*codes, Code("labels", (word,)))) != ())
    problems = []
    for name in frame.columns:
        if not _holds_diagnoses(frame[name]):
            continue
        pairs = zip(told, known(frame[name]), strict=True)
        count = sum(
            archive_says(codes) != () and not agree(codes, word)
            for codes, word in pairs
            if codes and isinstance(word, str)
        )
        if count:
            problems.append(
                f"the column {str(name)!r} holds other diagnoses in {count} rows, and is not used: "
                "say in reading.yaml which column is the diagnosis, and which to ignore"
            )
    return problems


def _by_one_truth(frame: pd.DataFrame) -> list[Diagnosed]:
    """A truth value for one diagnosis alone: 0 says that an image shows something else."""
    found = []
    for name in map(str, frame.columns):
        words = known(frame[name]).dropna().unique()
        if plain(name) not in ONE_HOT or not len(words) or None in map(truth, words):
            continue
        if exact_class(meanings(_code_of(name))):
            (term,) = _code_of(name).terms
            found.append(_by_truth(frame, name, term, f"not {term}"))
    return found


def _holds_diagnoses(column: pd.Series) -> bool:
    """Whether the words of a column are terms or codes of diagnoses."""
    words = known(column).dropna().unique()
    if not 1 <= len(words) <= MANY:
        return False
    plainly = [word for word in words if truth(word) is None and not is_share(word)]
    understood = sum(_understood(Code("labels", (word,))) for word in plainly)
    return understood >= max(1, ALIKE * len(words))


_understood = cache(is_understood)  # a table repeats few codes in many rows


def _one_hot(frame: pd.DataFrame, columns: list[str]) -> Diagnosed:
    """A truth value for each diagnosis. ISIC 2017's two columns leave the nevi out."""
    cells = frame[columns].fillna("")
    words = set().union(*(cells[name].unique() for name in columns))
    values = {word: truth(word) for word in words}
    shares = [word for word in words if values[word] is None and is_share(word)]
    if shares:
        count = int(cells.isin(shares).to_numpy().sum())
        if count > PREDICTED * cells.size or len(shares) > len(FALSE):
            why = f"columns of probabilities, as a model gives, are no diagnosis: {few(columns)}"
            return Diagnosed([()] * len(frame), (), (why,))
    unread = sorted(word for word in words if values[word] is None)
    yes = cells.map(lambda word: bool(values[word])).to_numpy(bool)
    named = [_code_of(name) for name in columns]
    told = [tuple(code for code, is_it in zip(named, row, strict=True) if is_it) for row in yes]
    if {plain(name) for name in columns} == {"melanoma", "seborrheic_keratosis"}:
        nevus = (Code("labels", ("nevus",)),)
        told = [row or nevus for row in told]
    problems = (f"truth values that are not understood: {few(unread)}",) if unread else ()
    return Diagnosed(told, tuple(columns), problems)


def _code_of(column: str) -> Code:
    """The code of a column: of the archive that has it, in that archive's spelling."""
    text = plain(column)
    for archive in ("ISIC 2019", "HAM10000"):
        for code in ARCHIVE_CODES[archive]:
            if code.casefold() == text:
                return Code(archive, (code,))
    return Code("labels", (text.replace("_", " "),))


def _by_level(frame: pd.DataFrame, names: dict[str, str]) -> list[Diagnosed]:
    """The terms of the ISIC Archive, from general to special."""
    levels = [names[level] for level in LEVELS if level in names]
    if not levels:
        return []
    rows = frame[levels].to_numpy(object)
    paths = [tuple(term for term in row if isinstance(term, str)) for row in rows]
    told: Told = [(Code("ISIC Archive", path),) if path else () for path in paths]
    return [Diagnosed(told, tuple(levels))]


def _by_word(frame: pd.DataFrame, column: str, archive: str) -> Diagnosed:
    words = known(frame[column])
    if plain(column) in COARSE or _is_truth(words):
        return _by_truth(frame, column, "malignant", "benign")
    made = {word: (_in_terms(archive, word),) for word in words.dropna().unique()}
    return Diagnosed([made.get(word, ()) for word in words], (column,))


def _in_terms(archive: str, word: str) -> Code:
    whole = archive == "ISIC Archive"
    return Code(archive, tuple(term.strip() for term in word.split(":")) if whole else (word,))


def _is_truth(words: pd.Series) -> bool:
    """Whether a column of diagnoses holds 0 and 1."""
    found = set(words.dropna().unique())
    return bool(found) and found <= {"0", "1", "0.0", "1.0"}


def _by_truth(frame: pd.DataFrame, column: str, yes: str, no: str | None) -> Diagnosed:
    """A truth value, or the words themselves."""
    archive = "Fitzpatrick17k" if plain(column).endswith("_partition_label") else "labels"
    words = known(frame[column])
    made: dict[str, tuple[Code, ...]] = {}
    for word in words.dropna().unique():
        value = truth(word) if word != "" else None
        if is_share(word):
            why = f"a column of probabilities is no diagnosis: {column!r}"
            return Diagnosed([()] * len(frame), (), (why,))
        text = word if value is None else yes if value else no
        made[word] = (Code(archive, (text,)),) if text else ()
    return Diagnosed([made.get(word, ()) for word in words], (column,))
