"""Keep apart images that share a name in different folders, such as ``benign/1.jpg``."""

import re
from itertools import combinations

import pandas as pd

from tasks.figures import listed
from tasks.intake.cells import archive_of

# Bits of 64 by which the perceptual hashes of one picture, coded or resized anew, may differ; those
# of two pictures differ by 32 on average.
ALIKE = 12
MANY = 50  # pictures of one id that are compared with each other

# What counts within a folder: short numbers, and names that cameras write.
LOCAL = re.compile(
    r"(?i)((img|image|dscf?|dscn|pict?|photo|foto|bild|scan|p|lesion|mole)[\s_-]*)?"
    r"(\d{1,5}|\(\d{1,5}\))[a-z]?"
)


def is_local(name: str, unlike: bool) -> bool:
    """Whether an id counts within its folder: by its form, or because its pictures are unlike. An
    archive's id never does."""
    return bool(LOCAL.fullmatch(name)) or (unlike and archive_of(name) is None)


def unlike(hashes: pd.Series) -> bool:
    """Whether all pictures look different, by their perceptual hashes."""
    found = [int(each, 16) for each in hashes.dropna()]
    pairs = combinations(found[:MANY], 2)
    return len(found) > 1 and all((one ^ other).bit_count() > ALIKE for one, other in pairs)


def scoped(files: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The files, with ids that count within their folder where they would else contradict.

    Images of one id, in several folders and of different pixels, may be different images. An id
    that is a number, or what a camera writes, is then taken to be unique only within its folder. So
    is another id whose pictures all look different: a smaller or newly coded copy looks alike.

    Args:
        files: Rows with ``key``, ``image_id``, ``pixel_hash`` and ``perceptual_hash``.

    Returns:
        The files, and what was done, in words; empty if nothing was.
    """
    by_id = files.assign(within=files["key"].str.rpartition("/")[0]).groupby("image_id")
    torn = (by_id["within"].transform("nunique") > 1) & (
        by_id["pixel_hash"].transform("nunique") > 1
    )
    apart_by_id = files[torn].groupby("image_id")["perceptual_hash"].agg(unlike)
    local = {name for name, apart in apart_by_id.items() if is_local(str(name), bool(apart))}
    torn &= files["image_id"].isin(local)
    # Nobody copied an image among them: one picture under two labels stays a contradiction.
    copied = files.duplicated(["image_id", "pixel_hash"], keep=False)
    torn &= ~copied.groupby(files["image_id"]).transform("any")
    if not torn.any():
        return files, ""
    names = sorted(files.loc[torn, "image_id"].unique())
    within = files.loc[torn, "key"].map(lambda key: "/".join(key.split("/")[1:-1]))
    ids = within + "/" + files.loc[torn, "image_id"]
    changed = files.assign(image_id=files["image_id"].mask(torn, ids))
    return changed, (
        f"{len(names)} names stand in several folders for different images, so they count within "
        f"their folder: {listed(names, 3)}"
    )
