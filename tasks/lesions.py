"""The archives' names: diagnoses, their codes, the columns of their tables.

Sources
-------
HAM10000: Tschandl, Rosendahl, Kittler, "The HAM10000 dataset", Scientific Data 5:180161 (2018).
ISIC 2019: Combalia et al., "BCN20000" (2019), and https://challenge.isic-archive.com/data/#2019.
The nine classes are the folders of the public set "Skin cancer ISIC The International Skin
Imaging Collaboration".
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args

Diagnosis = Literal[
    "actinic keratosis",
    "basal cell carcinoma",
    "dermatofibroma",
    "melanoma",
    "nevus",
    "pigmented benign keratosis",
    "seborrheic keratosis",
    "squamous cell carcinoma",
    "vascular lesion",
]

DIAGNOSES: tuple[Diagnosis, ...] = get_args(Diagnosis)
MELANOMA: Diagnosis = "melanoma"

# Other spellings of exactly these nine. Codes that are coarser than a class (HAM10000's akiec and
# bkl, ISIC 2019's BKL) are absent on purpose: they do not name one class.
SYNONYMS: dict[str, Diagnosis] = {
    "ak": "actinic keratosis",
    "bcc": "basal cell carcinoma",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "nevus",
    "melanocytic nevus": "nevus",
    "pbk": "pigmented benign keratosis",
    "sk": "seborrheic keratosis",
    "scc": "squamous cell carcinoma",
    "vasc": "vascular lesion",
    "melanocytic nevi": "nevus",
    "naevus": "nevus",
    "nevi": "nevus",
    "seborrhoeic keratosis": "seborrheic keratosis",
    "vascular lesions": "vascular lesion",
}

# The classes that each code of an archive may mean. Several classes: the code is coarser than ours.
# None: the archive does not say.
ARCHIVE_CODES: dict[str, dict[str, tuple[Diagnosis, ...]]] = {
    "HAM10000": {
        "akiec": ("actinic keratosis", "squamous cell carcinoma"),  # with Bowen's disease
        "bcc": ("basal cell carcinoma",),
        "bkl": ("pigmented benign keratosis", "seborrheic keratosis"),
        "df": ("dermatofibroma",),
        "mel": ("melanoma",),
        "nv": ("nevus",),
        "vasc": ("vascular lesion",),
    },
    "ISIC 2019": {
        "MEL": ("melanoma",),
        "NV": ("nevus",),
        "BCC": ("basal cell carcinoma",),
        "AK": ("actinic keratosis",),
        "BKL": ("pigmented benign keratosis", "seborrheic keratosis"),
        "DF": ("dermatofibroma",),
        "VASC": ("vascular lesion",),
        "SCC": ("squamous cell carcinoma",),
        "UNK": (),
    },
}

# Codes that do not name one class. Folders may be named after them.
COARSE_CODES = {
    code.casefold()
    for codes in ARCHIVE_CODES.values()
    for code, classes in codes.items()
    if len(classes) != 1
}

# Terms of the ISIC Archive's diagnosis_1 to diagnosis_5, from general to special, that name one
# of the nine or something below it. Source: the archive's own library, ImageMarkup/isic-metadata,
# diagnosis_hierarchical.py.
ARCHIVE_TERMS: tuple[tuple[str, Diagnosis], ...] = (
    (r"melanoma( in situ| invasive|, .*)?", "melanoma"),
    (r"nevus(, .*)?", "nevus"),
    (r"basal cell carcinoma(, .*)?", "basal cell carcinoma"),
    (r"squamous cell carcinoma( in situ|, .*)?", "squamous cell carcinoma"),
    (r"(solar or )?actinic keratosis", "actinic keratosis"),
    (r"seborrheic keratosis", "seborrheic keratosis"),
    (r"pigmented benign keratosis", "pigmented benign keratosis"),
    (r"dermatofibroma", "dermatofibroma"),
    (r"benign soft tissue proliferations - vascular", "vascular lesion"),
)

# Manifest column <- the names under which the archives' tables hold it.
TABLE_COLUMNS: dict[str, tuple[str, ...]] = {
    "image_id": ("image_id", "image", "isic_id", "image_name"),
    "lesion_id": ("lesion_id",),
    "patient_id": ("patient_id",),
    "age_years": ("age", "age_approx", "age_approximate", "age_years"),
    "sex": ("sex", "gender"),
    "site": ("localization", "anatom_site_general", "site", "anatom_site_general_challenge"),
}

# Words for "unknown" in tables; pandas itself recognizes NA, NaN, null and the like.
UNKNOWN = ("", "-", "?", "unknown", "not known", "unspecified")
SEXES = {"f": "female", "m": "male"}

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

# ISIC ids of HAM10000's images, as the archive numbered them.
HAM10000_IDS = range(24306, 34321)
SYNTHETIC_PREFIX = "SYNTHETIC_"

Source = Literal["HAM10000", "ISIC, not HAM10000", "SYNTHETIC", "unknown"]


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).casefold()


_SPELLINGS = {_plain(name): name for name in DIAGNOSES} | {
    _plain(spelling): name for spelling, name in SYNONYMS.items()
}


def diagnosis_from(text: str) -> Diagnosis | None:
    """The class that the name of a folder or the cell of a table names; None if it names no class.

    >>> diagnosis_from("Basal_Cell Carcinoma"), diagnosis_from("BasalCellCarcinoma")
    ('basal cell carcinoma', 'basal cell carcinoma')
    >>> diagnosis_from("bkl") is None
    True
    """
    return _SPELLINGS.get(_plain(text))


@dataclass(frozen=True)
class Code:
    """The diagnosis in an archive's table.

    Attributes:
        archive: Name of the archive.
        terms: Terms in the table's spelling, from general to special; a code is one term.
    """

    archive: str
    terms: tuple[str, ...]

    @property
    def text(self) -> str:
        """The terms as people write them, in `Retraining.coarse_codes` too."""
        return ":".join(self.terms)

    def __str__(self) -> str:
        return f"{self.archive}={self.text}"


def meanings(code: Code) -> tuple[Diagnosis, ...] | None:
    """The classes that an archive's code or term may mean.

    Returns:
        One class for an exact code, several for a coarser code, an empty tuple for a code outside
        the nine classes; None if the archive does not say.

    >>> meanings(Code("HAM10000", ("bkl",)))
    ('pigmented benign keratosis', 'seborrheic keratosis')
    >>> terms = ("Benign", "Benign melanocytic proliferations", "Nevus, Spitz")
    >>> meanings(Code("ISIC Archive", terms))
    ('nevus',)
    """
    codes = ARCHIVE_CODES.get(code.archive)
    if codes is not None:
        return codes.get(code.text) or None
    exact = diagnosis_from(code.text)
    if exact:
        return (exact,)
    if code.text.strip().casefold() in ARCHIVE_CODES["HAM10000"]:
        return ARCHIVE_CODES["HAM10000"][code.text.strip().casefold()]
    for term in code.terms:
        for pattern, diagnosis in ARCHIVE_TERMS:
            if re.fullmatch(pattern, term.strip().casefold()):
                return (diagnosis,)
    return ()


def archive_says(told: tuple[Code, ...]) -> tuple[Diagnosis, ...] | None:
    """The classes that all archives together leave possible; None if no archive says anything.

    Args:
        told: As in the manifest's ``archive_diagnosis``.

    >>> archive_says((Code("HAM10000", ("akiec",)), Code("ISIC 2019", ("AK",))))
    ('actinic keratosis',)
    """
    said = [meanings(code) for code in told]
    spoken = [set(each) for each in said if each is not None]
    if not spoken:
        return None
    left = set.intersection(*spoken)
    return tuple(name for name in DIAGNOSES if name in left)


def image_id_from(name: str) -> str:
    """The archive's id of an image from its file name.

    >>> image_id_from("Train/melanoma/ISIC_0000002_downsampled.jpg")
    'ISIC_0000002'
    >>> image_id_from("ISIC_0025509(1).jpg"), image_id_from("isic_0025509 - Copy.JPG")
    ('ISIC_0025509', 'ISIC_0025509')
    """
    stem = re.sub(r"\.[A-Za-z]+$", "", unicodedata.normalize("NFC", name).rsplit("/", 1)[-1])
    stem = re.sub(r"\s*\(\d+\)$| - copy$", "", stem.strip(), flags=re.IGNORECASE)
    stem = re.sub(r"_downsampled$", "", stem, flags=re.IGNORECASE)
    return stem.upper() if re.fullmatch(r"isic_\d{7}", stem, re.IGNORECASE) else stem


def source_from(image_id: str) -> Source:
    """The archive that an image comes from, by its id."""
    if image_id.startswith(SYNTHETIC_PREFIX):
        return "SYNTHETIC"
    numbered = re.fullmatch(r"ISIC_(\d{7})", image_id)
    if not numbered:
        return "unknown"
    return "HAM10000" if int(numbered[1]) in HAM10000_IDS else "ISIC, not HAM10000"
