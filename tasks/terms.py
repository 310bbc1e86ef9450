"""What a diagnosis means in the nine classes, by the ISIC Archive's own hierarchy.

The hierarchy is that of the archive's library, ``isic-metadata``: 418 terms from general to
special, such as ``Malignant:Malignant melanocytic proliferations (Melanoma):Melanoma in situ``. A
general term means every class below it.
"""

import re
from collections.abc import Set
from functools import cache

from tasks.lesions import ARCHIVE_CODES, DIAGNOSES, OTHER, Code, Diagnosis, Meaning, diagnosis_from

# Branches of the hierarchy that are one of the nine classes, by the first term that matches.
BRANCHES: tuple[tuple[str, Diagnosis], ...] = (
    (r"malignant melanocytic proliferations \(melanoma\)", "melanoma"),
    (r"nevus(, .*)?", "nevus"),
    (r"basal cell carcinoma(, .*)?", "basal cell carcinoma"),
    (r"squamous cell carcinoma( in situ|, .*)?", "squamous cell carcinoma"),
    (r"(solar or )?actinic keratosis", "actinic keratosis"),
    (r"seborrheic keratosis", "seborrheic keratosis"),
    (r"pigmented benign keratosis", "pigmented benign keratosis"),
    (r"dermatofibroma", "dermatofibroma"),
    (r"benign soft tissue proliferations - vascular", "vascular lesion"),
)

# Terms of the archive's earlier list, and of other sets, that the hierarchy spells otherwise.
# Sources: LegacyDxEnum of isic-metadata; the tables of PAD-UFES-20, Derm7pt, DDI, Fitzpatrick17k,
# BCN20000, MILK10k.
OTHER_TERMS: dict[str, tuple[Meaning, ...]] = {
    "melanoma nos": ("melanoma",),
    "melanoma invasive": ("melanoma",),
    "invasive melanoma": ("melanoma",),
    "lentigo maligna": ("melanoma",),
    "lentigo maligna melanoma": ("melanoma",),
    "acral lentiginous melanoma": ("melanoma",),
    "superficial spreading melanoma": ("melanoma",),
    "nodular melanoma": ("melanoma",),
    "malignant melanoma": ("melanoma",),
    "melanoma acral lentiginous": ("melanoma",),
    "nodular melanoma nm": ("melanoma",),
    "superficial spreading melanoma ssm": ("melanoma",),
    "melanoma less than 0 76 mm": ("melanoma",),
    "melanoma 0 76 to 1 5 mm": ("melanoma",),
    "melanoma more than 1 5 mm": ("melanoma",),
    "basal cell carcinoma morpheiform": ("basal cell carcinoma",),
    "solid cystic basal cell carcinoma": ("basal cell carcinoma",),
    "squamous cell carcinoma keratoacanthoma": ("squamous cell carcinoma",),
    "halo nevus": ("nevus",),
    "nevocytic nevus": ("nevus",),
    "pigmented spindle cell nevus of reed": ("nevus",),
    "atypical spindle cell nevus of reed": ("nevus",),
    "verruca vulgaris": (),
    "prurigo nodularis": (),
    "angioma": ("vascular lesion",),
    "angiokeratoma": ("vascular lesion",),
    "vascular": ("vascular lesion", OTHER),
    "melanocytic": ("melanoma", "nevus", OTHER),
    "dysplastic nevus": ("nevus",),
    "atypical nevus": ("nevus",),
    "blue nevus": ("nevus",),
    "clark nevus": ("nevus",),
    "combined nevus": ("nevus",),
    "congenital nevus": ("nevus",),
    "dermal nevus": ("nevus",),
    "recurrent nevus": ("nevus",),
    "reed or spitz nevus": ("nevus",),
    "spitz nevus": ("nevus",),
    "bowen disease": ("squamous cell carcinoma",),
    "bowens disease": ("squamous cell carcinoma",),
    "sccka": ("squamous cell carcinoma", OTHER),
    "ack": ("actinic keratosis",),
    "nev": ("nevus",),
    "sek": ("seborrheic keratosis",),
    "bod": ("squamous cell carcinoma",),
    "keratosis": ("actinic keratosis", "pigmented benign keratosis", "seborrheic keratosis", OTHER),
    "non melanoma skin cancer": ("basal cell carcinoma", "squamous cell carcinoma"),
    "nmsc": ("basal cell carcinoma", "squamous cell carcinoma"),
    "carcinoma": ("basal cell carcinoma", "squamous cell carcinoma", OTHER),
    "ben oth": (),
    "mal oth": (),
    "inf": (),
    "solar lentigo": (),
    "lentigo": (),
    "lentigo nos": (),
    "lentigo simplex": (),
    "lichenoid keratosis": (),
    "cafe au lait macule": (),
    "melanosis": (),
    "miscellaneous": (),
    "other": (),
    "none of the above": (),
}


# The partitions of Fitzpatrick17k, which are another hierarchy: a keratosis is malignant there.
FITZPATRICK: dict[str, tuple[Meaning, ...]] = {
    "malignant": ("actinic keratosis", "basal cell carcinoma", "melanoma",
                  "squamous cell carcinoma", OTHER),
    "benign": ("dermatofibroma", "nevus", "pigmented benign keratosis", "seborrheic keratosis",
               "vascular lesion", OTHER),
    "non neoplastic": (),
    "malignant epidermal": ("actinic keratosis", "basal cell carcinoma",
                            "squamous cell carcinoma", OTHER),
    "malignant melanoma": ("melanoma",),
    "malignant dermal": (),
    "malignant cutaneous lymphoma": (),
    "benign epidermal": ("pigmented benign keratosis", "seborrheic keratosis", OTHER),
    "benign dermal": ("dermatofibroma", "vascular lesion", OTHER),
    "benign melanocyte": ("nevus", OTHER),
    "inflammatory": (),
    "genodermatoses": (),
}  # fmt: skip


# The WHO's ICD-10 (2019), chapters II and XII: a code by its first signs, the longest that fits.
ICD_10: dict[str, tuple[Meaning, ...]] = {
    "c43": ("melanoma",),
    "d03": ("melanoma",),
    "c44": ("basal cell carcinoma", "squamous cell carcinoma", OTHER),
    "d04": ("squamous cell carcinoma", OTHER),
    "d18": ("vascular lesion", OTHER),
    "d22": ("nevus",),
    "d23": ("dermatofibroma", OTHER),
    "l57.0": ("actinic keratosis",),
    "l81.4": (),
    "l82": ("seborrheic keratosis",),
}
# How benign and malignant are called elsewhere.
ABROAD = {
    **dict.fromkeys(("maligne", "malin", "maligno", "maligna", "bösartig"), "malignant"),
    **dict.fromkeys(("benigne", "bénin", "benin", "benigno", "benigna", "gutartig"), "benign"),
}
NEGATED = re.compile(r"(?:not|no|non|kein|keine) (.+)")
# Signs by which people doubt or deny what they write.
DOUBTED = re.compile(r"\?|^\s*[-\u2013\u2014!~\u00ac(\[]")


def bare(text: str) -> str:
    """A term without case, numbering and signs.

    >>> bare("1. Melanoma_in-situ"), bare("Melanoma, NOS")
    ('melanoma in situ', 'melanoma nos')
    """
    words = re.sub(r"[\W_]+", " ", text.casefold()).strip()
    return re.sub(r"^\d+ (?=\D)", "", words)


def term_means(text: str) -> tuple[Meaning, ...] | None:
    """The classes that a term of the hierarchy may mean, in the order of `DIAGNOSES`.

    Args:
        text: One term, or a path of terms with ``:`` between them.

    Returns:
        `OTHER` stands last if the term may also mean something outside the nine classes. The tuple
        is empty if it always does. None for a term that is not known.

    >>> term_means("Melanoma metastasis"), term_means("1. melanoma")
    (('melanoma',), ('melanoma',))
    >>> term_means("malignant")
    ('basal cell carcinoma', 'melanoma', 'squamous cell carcinoma', 'another diagnosis')
    >>> term_means("Benign:Cysts"), term_means("pumpkin"), term_means("melanoma?")
    ((), None, None)
    >>> term_means("C43.5"), "melanoma" in term_means("not melanoma")
    (('melanoma',), False)
    """
    if DOUBTED.search(text):
        return None
    words = ABROAD.get(bare(text), bare(text))
    exact = diagnosis_from(words)
    if exact:
        return (exact,)
    found = OTHER_TERMS.get(words, _hierarchy().get(words))
    if found is None and re.fullmatch(r"[a-z]\d\d(\.\d+)?\S?", text.strip().casefold()):
        code = text.strip().casefold()
        found = next((of for start, of in ICD_10.items() if code.startswith(start)), None)
    if found is None and (denied := NEGATED.fullmatch(words)):
        meant = term_means(denied[1])
        return None if meant is None else in_order({*DIAGNOSES, OTHER} - ({*meant} - {OTHER}))
    return found


@cache
def _hierarchy() -> dict[str, tuple[Meaning, ...]]:
    """The classes below each term, and below each path of terms."""
    # Only who reads tables needs the library, which Airflow's own image does not have.
    from isic_metadata.diagnosis_hierarchical import DiagnosisEnum

    paths = [str(each.value) for each in DiagnosisEnum]
    general = {path.rpartition(":")[0] for path in paths}
    below: dict[str, set[Meaning]] = {}
    for path in paths:
        terms = path.split(":")
        found = _class_of(terms)
        # A general term outside the nine says nothing: what lies below it does.
        meant: set[Meaning] = {found} if found else set() if path in general else {OTHER}
        for depth in range(1, len(terms) + 1):
            for name in {bare(terms[depth - 1]), bare(" ".join(terms[:depth]))}:
                below.setdefault(name, set()).update(meant)
    return {
        name: () if classes == {OTHER} else in_order(classes) for name, classes in below.items()
    }


def in_order(classes: Set[Meaning]) -> tuple[Meaning, ...]:
    return tuple(each for each in (*DIAGNOSES, OTHER) if each in classes)


def _class_of(terms: list[str]) -> Diagnosis | None:
    for term in terms:
        for pattern, diagnosis in BRANCHES:
            if re.fullmatch(pattern, term.casefold()):
                return diagnosis
    return None


def meanings(code: Code) -> tuple[Meaning, ...] | None:
    """What an archive's code or term may mean.

    Returns:
        One class for an exact code; several, with `OTHER` last, for a coarser code; an empty tuple
        for a code outside the nine classes. None if the archive does not say, or if the code is not
        known.

    >>> meanings(Code("HAM10000", ("bkl",)))
    ('pigmented benign keratosis', 'seborrheic keratosis')
    >>> terms = ("Benign", "Benign melanocytic proliferations", "Nevus, Spitz")
    >>> meanings(Code("ISIC Archive", terms))
    ('nevus',)
    """
    if code.archive == "Fitzpatrick17k" and bare(code.text) in FITZPATRICK:
        return FITZPATRICK[bare(code.text)]
    codes = ARCHIVE_CODES.get(code.archive, {})
    if code.text in codes:
        return codes[code.text] or None
    for known in ARCHIVE_CODES.values():
        for name, classes in known.items():
            if name.casefold() == code.text.strip().casefold():
                return classes or None
    found = term_means(code.text)
    if found is None:  # of a path, the last term that is known
        told = [term_means(term) for term in reversed(code.terms)]
        found = next((each for each in told if each is not None), None)
    return found


def is_understood(code: Code) -> bool:
    """Whether a code is known, be it as "the archive does not say"."""
    silent = {
        name.casefold() for codes in ARCHIVE_CODES.values() for name, of in codes.items() if not of
    }
    return meanings(code) is not None or code.text.strip().casefold() in silent


def archive_says(told: tuple[Code, ...]) -> tuple[Meaning, ...] | None:
    """What all archives together leave possible; None if no archive says anything.

    Args:
        told: As in the manifest's ``archive_diagnosis``.

    >>> archive_says((Code("HAM10000", ("akiec",)), Code("ISIC 2019", ("AK",))))
    ('actinic keratosis',)
    >>> archive_says((Code("labels", ("malignant",)), Code("labels", ("melanoma",))))
    ('melanoma',)
    """
    said = [meanings(code) for code in told]
    spoken = [set(each) for each in said if each is not None]
    if not spoken:
        return None
    left = set.intersection(*spoken)
    return () if left == {OTHER} else in_order(left)


def exact_class(said: tuple[Meaning, ...] | None) -> Diagnosis | None:
    """The one class that a meaning leaves; None if it leaves several, or none.

    >>> exact_class(("nevus",)), exact_class(("nevus", OTHER)), exact_class(())
    ('nevus', None, None)
    """
    return said[0] if said and len(said) == 1 and said[0] != OTHER else None
