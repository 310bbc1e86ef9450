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

# What the diagnosis of an archive may mean: one of the nine, or something else.
Meaning = Diagnosis | Literal["another diagnosis"]
OTHER: Literal["another diagnosis"] = "another diagnosis"

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

# The names of images. What a file is, its content says.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".bmp", ".tif", ".tiff"),
    *(".webp", ".gif", ".jp2", ".j2k", ".jpx", ".avif", ".heic", ".heif", ".dcm", ".dicom"),
)
# Pictures that are not decoded here: they are quarantined, with what would help.
NOT_DECODED = (".mpo", ".ppm", ".pgm", ".pnm", ".jxl", ".psd", ".svg")
# A suffix with something behind it, as downloads and editors leave it: .jpg?size=large, .JPG_large.
DRESSED = re.compile(r"\.(jpe?g|png|tiff?|bmp|webp|dcm)([^a-z0-9./][^/]*|\d)$", re.IGNORECASE)
TABLES = "raw/metadata/"  # where a file without a suffix is no picture
# Texts that usually have no suffix.
TEXTS = ("readme", "license", "licence", "copying", "changelog", "notice", "authors", "makefile")
# Pictures about an image, which are none themselves: segmentations, thumbnails.
ABOUT_AN_IMAGE = re.compile(
    r"(?i).*_(segmentation|mask|superpixels|attribute_\w+|thumb|thumbnail)\.[a-z0-9]+"
)


# The suffix of a file's name, be it one that is read here or not. What follows another dot is part
# of an id.
FILE_SUFFIX = re.compile(
    r"\.(jpe?g?|jfif|pjpe?g|png|bmp|dib|tiff?|webp|gif|hei[cf]|avif|jp2|j2k|jpx|dcm|dicom|raw|dng"
    r"|mpo|p[pgn]m|jxl|psd|svg)$",
    re.IGNORECASE,
)

# ISIC ids of HAM10000's images, as the archive numbered them.
HAM10000_IDS = range(24306, 34321)
SYNTHETIC_PREFIX = "SYNTHETIC_"

Source = Literal["HAM10000", "ISIC, not HAM10000", "SYNTHETIC", "unknown"]


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).casefold()


_SPELLINGS = {_plain(name): name for name in DIAGNOSES} | {
    _plain(spelling): name for spelling, name in SYNONYMS.items()
}


def is_image(key: str) -> bool:
    """Whether a file may be an image, by its name; its content decides.

    A file without a suffix may be one, as some cameras and archives write them. A segmentation or a
    thumbnail is none.

    >>> is_image("a/IMG_1.JPG"), is_image("a/0001"), is_image("a/1.2.840.10008.1")
    (True, True, True)
    >>> is_image("a/1.jpg?size=large"), is_image("a/1.JPG_large"), is_image("a/1.ppm")
    (True, True, True)
    >>> is_image("a/x_segmentation.png"), is_image("a/notes.txt"), is_image("a/README")
    (False, False, False)
    """
    name = key.rpartition("/")[2].casefold()
    if ABOUT_AN_IMAGE.fullmatch(name):
        return False
    suffix = name.rpartition(".")[2]
    bare = "." not in name or suffix.isdecimal()
    if bare and key.startswith(TABLES):
        return False
    known = name.endswith((*IMAGE_SUFFIXES, *NOT_DECODED)) or DRESSED.search(name) is not None
    return known or (bare and name not in TEXTS)


def diagnosis_from(text: str) -> Diagnosis | None:
    """The class that the name of a folder or the cell of a table names; None if it names no class.

    >>> diagnosis_from("Basal_Cell Carcinoma"), diagnosis_from("BasalCellCarcinoma")
    ('basal cell carcinoma', 'basal cell carcinoma')
    >>> diagnosis_from("bkl") is None
    True
    """
    return None if text.lstrip()[:1] in ("-", "\u2013") else _SPELLINGS.get(_plain(text))


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


COPIED = re.compile(r"\s*\(\d+\)$| - copy$", re.IGNORECASE)
MADE_SMALLER = re.compile(r"_downsampled$", re.IGNORECASE)
OF_ISIC = re.compile(r"isic_\d{7}", re.IGNORECASE)


def image_id_from(name: str) -> str:
    """The archive's id of an image from its file name.

    >>> image_id_from("Train/melanoma/ISIC_0000002_downsampled.jpg")
    'ISIC_0000002'
    >>> image_id_from("ISIC_0025509(1).jpg"), image_id_from("isic_0025509 - Copy.JPG")
    ('ISIC_0025509', 'ISIC_0025509')
    >>> image_id_from("m00.a.jpg"), image_id_from("m00.a")
    ('m00.a', 'm00.a')
    """
    own = unicodedata.normalize("NFC", name).rsplit("/", 1)[-1]
    stem = FILE_SUFFIX.sub("", DRESSED.sub("", own))
    stem = MADE_SMALLER.sub("", COPIED.sub("", stem.strip()))
    return stem.upper() if OF_ISIC.fullmatch(stem) else stem


def source_from(image_id: str) -> Source:
    """The archive that an image comes from, by its id."""
    if image_id.startswith(SYNTHETIC_PREFIX):
        return "SYNTHETIC"
    numbered = re.fullmatch(r"ISIC_(\d{7})", image_id)
    if not numbered:
        return "unknown"
    return "HAM10000" if int(numbered[1]) in HAM10000_IDS else "ISIC, not HAM10000"


def source_of(image_id: str, device: str = "") -> str:
    """The archive that an image comes from, and the camera that took it, as far as both are known.

    >>> source_of("ISIC_0000001", "Canfield VEOS"), source_of("a7", "Canfield VEOS")
    ('ISIC, not HAM10000: Canfield VEOS', 'Canfield VEOS')
    >>> source_of("a7")
    'unknown'
    """
    archive = source_from(image_id)
    if not device:
        return archive
    return device if archive == "unknown" else f"{archive}: {device}"
