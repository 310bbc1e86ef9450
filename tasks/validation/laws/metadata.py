"""Laws of the metadata tables: the lesion and patient of an image, and images without a row."""

import pandas as pd

from tasks.validation.laws.law import Breach, Delivered, LawRow, conflicts, in_words
from tasks.validation.standing import IDENTITY


def lesion_of_two_patients(delivered: Delivered) -> Breach:
    frame = delivered.frame.dropna(subset=["lesion_id", "patient_id"])
    reasons, counterparts = conflicts(frame, ("lesion_id", "lesion"), differ="patient_id")
    return Breach(reasons, counterparts, sorted(frame.loc[reasons.index, "lesion_id"].unique()))


LESION_OF_TWO_PATIENTS = LawRow(
    "lesion_of_two_patients",
    "No lesion is said to be of two patients. Counts lesions.",
    severity="error",
    consequence="all files of these lesions quarantined",
    check=lesion_of_two_patients,
    quarantines=True,
)


def contradictory_metadata(delivered: Delivered) -> Breach:
    """Images about which tables contradict each other. An image is quarantined if its lesion or
    patient is in doubt. If only age or sex is in doubt, the image is reported and kept."""
    frame = delivered.frame[delivered.frame["contradiction"].notna()]
    words = in_words(frame["contradiction"])
    doubtful = [any(each.about in IDENTITY for each in told) for told in frame["contradiction"]]
    return Breach(
        "the tables contradict each other: " + words[doubtful],
        counted=sorted(frame["image_id"].unique()),
        remark="; ".join(
            f"{image_id}: {what}"
            for image_id, what in sorted(set(zip(frame["image_id"], words, strict=True)))[:3]
        ),
    )


CONTRADICTORY_METADATA = LawRow(
    "contradictory_metadata",
    "No two rows of metadata tables contradict each other about the lesion, patient, age or "
    "sex of an image. Counts distinct image ids.",
    severity="warning",
    consequence="images of doubtful lesion or patient quarantined, the others kept",
    check=contradictory_metadata,
    quarantines=True,
)


def metadata_row_without_image(delivered: Delivered) -> Breach:
    count, some = delivered.unmatched
    return Breach(pd.Series(dtype="str"), counted=list(some), count=count)


METADATA_ROW_WITHOUT_IMAGE = LawRow(
    "metadata_row_without_image",
    "Every row of a metadata table has its image. Counts image ids.",
    severity="information",
    consequence="these rows are not used",
    check=metadata_row_without_image,
)


def image_without_metadata(delivered: Delivered) -> Breach:
    frame = delivered.frame
    told = ["lesion_id", "patient_id", "age_years", "sex", "site", "archive_diagnosis"]
    silent = frame[frame[told].isna().all(axis=1)]
    return Breach(pd.Series(dtype="str"), counted=sorted(silent["image_id"].unique()))


IMAGE_WITHOUT_METADATA = LawRow(
    "image_without_metadata",
    "Every image has a row in a metadata table. Counts image ids.",
    severity="information",
    consequence="kept; which of them show the same lesion cannot be known",
    check=image_without_metadata,
)
