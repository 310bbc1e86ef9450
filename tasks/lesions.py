"""What the archives call things: diagnoses, their codes, the columns of their tables.

Sources
-------
HAM10000: Tschandl, Rosendahl, Kittler, "The HAM10000 dataset", Scientific Data 5:180161 (2018).
ISIC 2019: Combalia et al., "BCN20000" (2019), and https://challenge.isic-archive.com/data/#2019.
The nine classes are the folders of the public set "Skin cancer ISIC The International Skin
Imaging Collaboration".
"""

import re
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

# Other spellings of exactly these nine. A code that is coarser than a class (HAM10000's akiec
# and bkl, ISIC 2019's BKL) is deliberately absent: it cannot say which class it means.
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
}

# One-hot columns of ISIC 2019's ground truth table.
ISIC_2019_CODES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")

# Manifest column <- the names under which the archives' tables hold it.
TABLE_COLUMNS: dict[str, tuple[str, ...]] = {
    "image_id": ("image_id", "image", "isic_id"),
    "lesion_id": ("lesion_id",),
    "patient_id": ("patient_id",),
    "age_years": ("age", "age_approx", "age_approximate"),
    "sex": ("sex", "gender"),
    "site": ("localization", "anatom_site_general", "site"),
    "archive_diagnosis": ("diagnosis", "dx"),
}

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

# ISIC ids of HAM10000's images, as the archive numbered them.
HAM10000_IDS = range(24306, 34321)
SYNTHETIC_PREFIX = "SYNTHETIC_"

Source = Literal["HAM10000", "ISIC, not HAM10000", "SYNTHETIC", "unknown"]


def diagnosis_from(text: str) -> Diagnosis | None:
    """The class that a folder or a table's cell names, or None.

    >>> diagnosis_from("Basal_Cell Carcinoma")
    'basal cell carcinoma'
    >>> diagnosis_from("bkl") is None
    True
    """
    plain = re.sub(r"[\s_-]+", " ", text).strip().casefold()
    for diagnosis in DIAGNOSES:
        if plain == diagnosis:
            return diagnosis
    return SYNONYMS.get(plain)


def image_id_from(name: str) -> str:
    """The archive's id of an image from its file name.

    >>> image_id_from("Train/melanoma/ISIC_0000002_downsampled.jpg")
    'ISIC_0000002'
    """
    stem = re.sub(r"\.[A-Za-z]+$", "", name.rsplit("/", 1)[-1])
    return stem.removesuffix("_downsampled")


def source_from(image_id: str) -> Source:
    """The archive that an image comes from, by its id."""
    if image_id.startswith(SYNTHETIC_PREFIX):
        return "SYNTHETIC"
    numbered = re.fullmatch(r"ISIC_(\d{7})", image_id)
    if not numbered:
        return "unknown"
    return "HAM10000" if int(numbered[1]) in HAM10000_IDS else "ISIC, not HAM10000"
