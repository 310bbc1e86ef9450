"""The source of an image as far as its file shows it: archive, numbers, size, encoder, camera.

An archive is made of deliveries of several clinics, which number their images one after the other.
A gap in the numbers, or another size, format, setting of the JPEG encoder or camera, so marks
another source.
"""

import pandas as pd

GAP = 500  # numbers that no image has: the next one begins another run
FEWEST = 20  # images of a run, a size or a format; fewer are counted together
NUMBER = r"^(?:[A-Za-z]+_)?(\d{4,9})$"


def acquisitions_of(frame: pd.DataFrame) -> pd.Series:
    """The source of each row in words, such as ``ISIC, not HAM10000, numbers 9800 to 11199``.

    Only what differs within the rows is named: if all images have one size, no name holds it.

    Args:
        frame: Rows of the manifest.

    Returns:
        str, same index.
    """
    archive = frame["source"].astype("str")
    sizes = frame["width"].astype("str") + " x " + frame["height"].astype("str")
    named = {
        "archive": archive,
        "numbers": _runs(frame["image_id"], archive),
        "size": _differing(sizes, "another size"),
        "format": _differing(frame["format"].astype("str"), "another format"),
        "mode": _differing(frame["mode"].astype("str"), "another colour mode"),
        "encoding": _differing(_said(frame, "encoding"), "another encoding"),
        "camera": _differing(_said(frame, "camera"), "another camera"),
    }
    table = pd.DataFrame(named).astype("str")
    words = [", ".join(each for each in row if each) for row in table.to_numpy()]
    return pd.Series(words, index=frame.index, dtype="str")


def _said(frame: pd.DataFrame, column: str) -> pd.Series:
    """A column that manifests of earlier versions do not have; empty where nothing is known."""
    if column not in frame:
        return pd.Series("", index=frame.index)
    return frame[column].fillna("").astype("str")


def _runs(image_ids: pd.Series, archive: pd.Series) -> pd.Series:
    """The run of numbers of each image, within its archive; empty where there is only one run."""
    numbers = image_ids.astype("str").str.extract(NUMBER)[0].astype(float)
    told = pd.Series("", index=image_ids.index)
    for _, own in numbers.dropna().groupby(archive):
        ordered = own.sort_values(kind="stable")
        run = (ordered.diff() > GAP).cumsum()
        large = run.map(run.value_counts()) >= FEWEST
        if run[large].nunique() < 2:
            continue
        for _, each in ordered[large].groupby(run[large]):
            # In whole hundreds: the number of one image may be that of a patient.
            first, last = int(each.min() // 100), int(each.max() // 100)
            told[each.index] = f"numbers {100 * first} to {100 * last + 99}"
        told[ordered.index[~large]] = "other numbers"
    return told


def _differing(values: pd.Series, rare: str) -> pd.Series:
    """The values, those of few images as `rare`; empty where all images have the same one."""
    if values.nunique() < 2:
        return pd.Series("", index=values.index)
    return values.where(values.map(values.value_counts()) >= FEWEST, rare)
