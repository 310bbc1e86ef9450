"""Laws of labels: the label of a file against its folder, the archive and other files."""

import pandas as pd

from tasks.figures import listed, plural
from tasks.intake.folders import folder_means, is_negated, suggestion_for
from tasks.intake.guide import NAME as GUIDE
from tasks.terms import archive_says
from tasks.validation.laws.law import (
    Breach,
    Delivered,
    LawRow,
    alone,
    breach_of,
    conflicts,
    in_words,
)


def contradicts_judged(delivered: Delivered) -> Breach:
    """Later files, and tables, that contradict a judged image of the same id, pixels or lesion."""
    stands = delivered.standing
    if stands is None:
        return Breach(pd.Series(dtype="str"))
    here = stands.opposed.index.intersection(delivered.frame.index)
    some = listed(list(stands.tables), 3)
    return Breach(
        stands.opposed[here],
        alone(stands.judged[here]),
        [*(str(key) for key in delivered.frame.loc[here, "key"]), *stands.tables],
        f"of {plural(len(stands.tables), 'judged image')} a folder or table says something else "
        f"now, such as {some}"
        if some
        else "",
    )


CONTRADICTS_JUDGED = LawRow(
    "contradicts_judged",
    "Nothing that is delivered later contradicts an image or lesion that a model was judged "
    "on. Counts files, and judged images of which tables or folders say otherwise.",
    severity="error",
    consequence=(
        "the later files quarantined, the later tables not believed: what was judged stands until "
        "a named person supersedes it (python -m tasks supersede)"
    ),
    check=contradicts_judged,
    quarantines=True,
)


def _in_words(folder: str) -> str:
    """What a folder's name says, and what its name may mean."""
    if is_negated(folder):
        return f"{folder!r} says what its images are not"
    meant = suggestion_for(folder)
    may = f"; does it mean {meant}? Then say so in {GUIDE}" if meant else ""
    return f"{folder!r} is none of the nine classes{may}"


def unknown_label(delivered: Delivered) -> Breach:
    frame = delivered.frame
    folders = "the folder " + frame["folder"].map(_in_words)
    told = frame["archive_diagnosis"].dropna()
    coarse = told.map(lambda codes: " or ".join(archive_says(codes) or ("no class of ours",)))
    said = " and the archive says " + in_words(told) + ", which may be " + coarse.astype("str")
    return breach_of(frame, frame["label"].isna(), folders + said.reindex(frame.index).fillna(""))


UNKNOWN_LABEL = LawRow(
    "unknown_label",
    "Every file lies in a folder named after one of the nine classes, or a table names its "
    "diagnosis exactly. Counts files.",
    severity="error",
    consequence="quarantined",
    check=unknown_label,
    quarantines=True,
)


def contradictory_label(delivered: Delivered) -> Breach:
    """The same image, by its id or by its pixels, under two labels."""
    frame = delivered.frame
    reasons, counterparts = conflicts(frame, ("image_id", "image id"), ("pixel_hash", "pixels"))
    ids = sorted(frame.loc[reasons.index, "image_id"].unique())
    return Breach(reasons, counterparts, ids)


CONTRADICTORY_LABEL = LawRow(
    "contradictory_label",
    "No image, by its id or its pixels, stands under two labels. Counts distinct image ids.",
    severity="error",
    consequence="all files of these images quarantined: which label is true cannot be known",
    check=contradictory_label,
    quarantines=True,
    spared_in_delivered_test=True,
)


def label_disagrees_with_archive(delivered: Delivered) -> Breach:
    """Files whose label is not among the classes that the archives' codes leave possible, or that a
    folder coarser than a class leaves possible, such as a melanoma in ``benign``."""
    frame = delivered.frame[delivered.frame["label"].notna()]
    said = frame["archive_diagnosis"].dropna().map(archive_says).dropna()
    wrong = said[[frame.at[index, "label"] not in what for index, what in said.items()]]
    told = frame.loc[wrong.index, "archive_diagnosis"]
    labels = frame.loc[wrong.index, "label"]
    reasons = "labelled " + labels + ", but the archive says " + in_words(told)
    reasons = pd.concat([reasons.astype("str"), _outside_their_folder(frame.drop(wrong.index))])
    return Breach(reasons, counted=[str(key) for key in frame.loc[reasons.index, "key"]])


def _outside_their_folder(frame: pd.DataFrame) -> pd.Series:
    """Why a table's label is not among the classes that its file's folder may hold."""
    means = frame["folder"].map(folder_means)
    pairs = zip(frame["label"], means, strict=True)
    outside = [isinstance(of, tuple) and label not in of for label, of in pairs]
    wrong = frame[pd.Series(outside, index=frame.index, dtype=bool)]
    return (
        "a table says "
        + wrong["label"].astype("str")
        + ", which the folder "
        + wrong["folder"].map(repr).astype("str")
        + " rules out"
    ).astype("str")


LABEL_DISAGREES_WITH_ARCHIVE = LawRow(
    "label_disagrees_with_archive",
    "No label is ruled out by the archive's own diagnosis, read through its coarser codes, or by a "
    "folder that is coarser than a class. Counts files.",
    severity="error",
    consequence="quarantined",
    check=label_disagrees_with_archive,
    quarantines=True,
    spared_in_delivered_test=True,
)


def lesion_under_two_labels(delivered: Delivered) -> Breach:
    frame = delivered.frame
    reasons, counterparts = conflicts(frame, ("lesion_id", "lesion"))
    return Breach(reasons, counterparts, sorted(frame.loc[reasons.index, "lesion_id"].unique()))


LESION_UNDER_TWO_LABELS = LawRow(
    "lesion_under_two_labels",
    "No lesion stands under two labels. Counts lesions.",
    severity="error",
    consequence="all files of these lesions quarantined",
    check=lesion_under_two_labels,
    quarantines=True,
    spared_in_delivered_test=True,
)
