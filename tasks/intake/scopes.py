"""Keep apart images that share a name in different folders, such as ``benign/1.jpg``."""

import re

import pandas as pd

from tasks.figures import listed

# What counts within a folder: short numbers, and names that cameras write.
LOCAL = re.compile(
    r"(?i)((img|image|dscf?|dscn|pict?|photo|foto|bild|scan|p|lesion|mole)[\s_-]*)?"
    r"(\d{1,5}|\(\d{1,5}\))[a-z]?"
)


def scoped(files: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The files, with ids that count within their folder where they would else contradict.

    Images of one id, in several folders and of different pixels are different images. An id that is
    a number, or what a camera writes, is then taken to be unique only within its folder.

    Args:
        files: Rows with ``key``, ``image_id``, ``folder`` and ``pixel_hash``.

    Returns:
        The files, and what was done, in words; empty if nothing was.
    """
    by_id = files.assign(within=files["key"].str.rpartition("/")[0]).groupby("image_id")
    torn = (by_id["within"].transform("nunique") > 1) & (
        by_id["pixel_hash"].transform("nunique") > 1
    )
    torn &= files["image_id"].map(lambda name: bool(LOCAL.fullmatch(name))).astype(bool)
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
