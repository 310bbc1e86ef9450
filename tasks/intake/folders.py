"""What the folder of an image says: the nearest folder decides, and no other.

A folder that is not understood gives no label, whatever the folders above are called. A folder that
names what its images are not, such as ``NotMelanoma``, is never taken for the class.
"""

import re
import unicodedata
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache

from tasks.intake.guide import Guide
from tasks.lesions import (
    DIAGNOSES,
    OTHER,
    SYNONYMS,
    Code,
    Diagnosis,
    Meaning,
    diagnosis_from,
)
from tasks.terms import archive_says, bare, exact_class, in_order, meanings, term_means

NEGATIONS = {"not", "no", "non", "kein", "keine", "sans", "sin", "sem", "ohne"}
# Between the classes of a folder of several, and what stands for all other classes.
BETWEEN = {"and", "or", "und", "oder", "et", "ou", "y", "o", "e", "plus", "vs"}
OTHERS = {"other", "others", "rest", "andere", "autre", "autres", "otros", "outros"}
OTHERS |= {"misc", "miscellaneous", "none of the above", "unknown"}
CLOSE = 0.84  # of difflib's ratio; "melanomaa" has 0.94, "mel" 0.55 against "melanoma"
# Names of the nine in other languages. They are suggested, and not believed: a clinic may mean
# something narrower by them.
ABROAD: dict[str, Diagnosis] = {
    "melanom": "melanoma",
    "malignes melanom": "melanoma",
    "melanome": "melanoma",
    "melanoma maligno": "melanoma",
    "naevi": "nevus",
    "nävus": "nevus",
    "naevus": "nevus",
    "grain de beaute": "nevus",
    "muttermal": "nevus",
    "nevo": "nevus",
    "nevo melanocitico": "nevus",
    "basalzellkarzinom": "basal cell carcinoma",
    "basaliom": "basal cell carcinoma",
    "carcinome basocellulaire": "basal cell carcinoma",
    "carcinoma basocelular": "basal cell carcinoma",
    "plattenepithelkarzinom": "squamous cell carcinoma",
    "spinaliom": "squamous cell carcinoma",
    "carcinome epidermoide": "squamous cell carcinoma",
    "carcinoma espinocelular": "squamous cell carcinoma",
    "aktinische keratose": "actinic keratosis",
    "keratose actinique": "actinic keratosis",
    "queratosis actinica": "actinic keratosis",
    "ceratose actinica": "actinic keratosis",
    "seborrhoische keratose": "seborrheic keratosis",
    "keratose seborrheique": "seborrheic keratosis",
    "queratosis seborreica": "seborrheic keratosis",
    "ceratose seborreica": "seborrheic keratosis",
    "dermatofibrom": "dermatofibroma",
    "dermatofibrome": "dermatofibroma",
    "histiozytom": "dermatofibroma",
    "hämangiom": "vascular lesion",
    "angiom": "vascular lesion",
    "angiome": "vascular lesion",
    "lesion vasculaire": "vascular lesion",
    "lesion vascular": "vascular lesion",
    "lesao vascular": "vascular lesion",
    "gefäßläsion": "vascular lesion",
}


def is_negated(name: str) -> bool:
    """Whether a folder says what its images are not.

    >>> is_negated("NotMelanoma"), is_negated("non-melanoma"), is_negated("no_mel")
    (True, True, True)
    >>> is_negated("nevus"), is_negated("nodular melanoma"), is_negated("notes")
    (False, False, False)
    """
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.split(r"[\W_\d]+", split.casefold())
    if NEGATIONS & set(words):
        return True
    glued = re.match(r"(not|non|no)(?=[a-z])", "".join(words))
    return glued is not None and _class_named("".join(words)[glued.end() :]) is not None


def _class_named(text: str) -> Diagnosis | None:
    return diagnosis_from(text) or exact_class(term_means(text))


def _negated_class(name: str) -> Diagnosis | None:
    """The class that a negated name denies: melanoma for ``NotMelanoma``."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[\W_\d]+", split.casefold()) if word]
    if NEGATIONS & set(words):
        return _class_named(" ".join(word for word in words if word not in NEGATIONS))
    glued = re.match(r"(not|non|no)(?=[a-z])", "".join(words))
    return _class_named("".join(words)[glued.end() :]) if glued else None


@cache
def folder_means(folder: str) -> tuple[Meaning, ...] | None:
    """The classes that the images of a folder may have, for a folder that is coarser or finer than
    a class, or says what its images are not. None if the folder says nothing, or is its own label.

    >>> folder_means("NotMelanoma")[:2], "melanoma" in folder_means("benign")
    (('actinic keratosis', 'basal cell carcinoma'), False)
    >>> folder_means("MEL_other"), folder_means("images"), folder_means("melanoma")
    (('melanoma', 'another diagnosis'), None, None)
    """
    if is_negated(folder):
        denied = _negated_class(folder)
        return tuple(each for each in (*DIAGNOSES, OTHER) if each != denied) if denied else None
    if label_of(folder) or bare(folder) in OTHERS:  # a folder of the rest says little
        return None
    found = meanings(Code("folder", (folder,)))
    if found is None:
        words = [each for each in bare(folder).split() if each not in BETWEEN]
        told = [(OTHER,) if word in OTHERS else term_means(word) for word in words]
        if len(words) < 2 or None in told:
            return None
        found = in_order({each for means in told for each in means or ()})
    return found


def label_of(folder: str) -> Diagnosis | None:
    """The class that a folder names; None if it names none, or several, or what it is not."""
    return None if is_negated(folder) else diagnosis_from(folder)


@cache
def suggestion_for(folder: str) -> Diagnosis | None:
    """The class that a folder without a class may mean: a near miss, a plural, a numbered name, a
    term below a class, or a name in another language.

    >>> suggestion_for("melanomas"), suggestion_for("03_nevus"), suggestion_for("Mélanome")
    ('melanoma', 'nevus', 'melanoma')
    >>> suggestion_for("NotMelanoma"), suggestion_for("images")
    (None, None)
    """
    if is_negated(folder):
        return None
    words = bare(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _without_accents(folder)))
    spelled = {_without_accents(word): name for word, name in _vocabulary().items()}
    for each in (words, re.sub(r" \d+$", "", words), re.sub(r"e?s$", "", words)):
        named = _class_named(each) or spelled.get(each)
        if named:
            return named
    close = get_close_matches(words, spelled, n=1, cutoff=CLOSE)
    return spelled[close[0]] if close else None


@cache
def _vocabulary() -> dict[str, Diagnosis]:
    long = {word: name for word, name in SYNONYMS.items() if len(word) > 4}
    return ABROAD | long | {name: name for name in DIAGNOSES}


def _without_accents(text: str) -> str:
    signs = unicodedata.normalize("NFKD", text)
    return "".join(sign for sign in signs if not unicodedata.combining(sign))


def label_by(
    folder: str,
    told: tuple[Code, ...],
    *,
    coarse_codes: Mapping[str, Diagnosis],
    guide: Guide,
) -> Diagnosis | None:
    """The label of a file: the diagnosis that its folder names, else an archive's exact one, else
    the configured class of a coarser code, of the tables or of the folder.

    Args:
        folder: Name of the nearest folder.
        told: The diagnosis of each table.
        coarse_codes: The class to take for each coarser code, in any case.
        guide: What a person says about folders; it goes before the folder's own words.
    """
    said = guide.folder(folder)
    own = label_of(folder) if said is None else None if said == "none" else said
    label = own or exact_class(archive_says(told))
    if label is None:
        chosen = {code.casefold(): name for code, name in coarse_codes.items()}
        words = [code.text for code in told]
        words += [] if is_negated(folder) or said == "none" else [folder]
        label = next(filter(None, (chosen.get(word.casefold()) for word in words)), None)
    return label
