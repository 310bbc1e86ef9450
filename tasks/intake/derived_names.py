"""Names that tell of which other file a file is a copy, as programs that augment images write them.

The id of the original stands within the id of the copy. To tie too much together is harmless: tied
files stand on one side of the split, and nothing else becomes of them. One ``(1)`` or ``- Copy`` at
the end is not in an id at all, see `tasks.lesions.image_id_from`.
"""

import re

import numpy as np
import pandas as pd

from tasks.figures import plural
from tasks.lesions import image_id_from

ENDING = (
    r"aug(?:mented)?|[hv]?flip(?:ped)?|flip[_-]?(?:h|v|lr|ud)|mirror(?:ed)?|rot(?:ate|ated|ation)?"
    r"|crop(?:ped)?|blur(?:red)?|nois[ey]|bright(?:ness)?|contrast|zoom(?:ed)?|shear(?:ed)?"
    r"|edit(?:ed)?|resized?|scaled?|gr[ae]y(?:scale)?"
)
# What a program adds to the id of the original.
CLEAR = (
    re.compile(r".*_original_(?P<of>.+?)(?:_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?"),
    re.compile(r"(?P<of>.+?)[_.-](?:jpe?g|png|bmp|tiff?|webp)\.rf\.[0-9a-f]{32}", re.IGNORECASE),
    # macOS, and Windows' copies of copies
    re.compile(r"(?P<of>.+?)(?: -)?[ _](?:copy|copie|kopie|copia)(?: ?\d+)?", re.IGNORECASE),
    re.compile(rf"(?P<of>.+?)(?:[_-](?:{ENDING})[_-]?\d*)+", re.IGNORECASE),
)
# Keras: prefix, number of the picture, a random number. Others count files so too.
UNCLEAR = (re.compile(r"(?P<of>.+)_\d+_\d{1,5}"),)


def derived_from(rows: pd.DataFrame) -> pd.DataFrame:
    """Which files are copies of others, by their names.

    Args:
        rows: ``key`` and ``image_id`` of files.

    Returns:
        One row per copy: ``first`` (its key) and ``second`` (the key of its original; where that
        is not there, of the first of several copies whose names clearly tell the same original).
    """
    ids = rows["image_id"].astype(str).to_numpy()
    keys = rows["key"].astype(str).to_numpy()
    there: dict[str, str] = {}
    for name, key in sorted(zip(ids, keys, strict=True), key=lambda each: each[1]):
        there.setdefault(name.casefold(), key)
    orphans: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for at in np.argsort(keys, kind="stable"):
        told = [each for each in (_told(ids[at], CLEAR), _told(ids[at], UNCLEAR)) if each]
        original = next((there[each] for each in told if each in there), None)
        clear = _told(ids[at], CLEAR)
        if original is None and clear:
            original = orphans.setdefault(clear, keys[at])
        if original not in (None, keys[at]):
            found.append((str(keys[at]), str(original)))
    return pd.DataFrame(found, columns=["first", "second"], dtype="str")


def in_words(rows: pd.DataFrame, beside: pd.DataFrame | None = None) -> str:
    """What of a delivery is named as copies, in a sentence; empty if nothing is.

    Args:
        rows: ``key`` and ``image_id`` of the delivery's files.
        beside: Likewise, of files that are there already and may be originals.
    """
    found = derived_from(pd.concat([rows, beside]))
    found = found[found["first"].isin(rows["key"])]
    if not len(found):
        return ""
    copy, original = found.iloc[0]
    verb = "is named as a copy" if len(found) == 1 else "are named as copies"
    return (
        f"{plural(len(found), 'image')} {verb} that a program made, such as "
        f"{image_id_from(copy)} of {image_id_from(original)}: each stands on the side of its "
        "original, and adds no lesion. Deliver the originals only; oversample draws copies."
    )


def _told(image_id: str, marks: tuple[re.Pattern[str], ...]) -> str | None:
    """The id of the original that an id tells of, in small letters."""
    matches = (mark.fullmatch(image_id) for mark in marks)
    return next((match["of"].casefold() for match in matches if match), None)
