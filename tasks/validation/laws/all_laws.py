"""Every law of true data, in the order in which they take rows out."""

from tasks.validation.laws import classes, duplicates, files, labels, metadata, reading, shift
from tasks.validation.laws.law import LawRow

LAWS: tuple[LawRow, ...] = (
    files.UNDECODABLE,
    files.TOO_LARGE,
    files.UNSAFE_NAME,
    files.ERASED,
    files.SCHEMA,
    labels.CONTRADICTS_JUDGED,
    labels.UNKNOWN_LABEL,
    labels.CONTRADICTORY_LABEL,
    labels.LABEL_DISAGREES_WITH_ARCHIVE,
    labels.LESION_UNDER_TWO_LABELS,
    metadata.LESION_OF_TWO_PATIENTS,
    metadata.CONTRADICTORY_METADATA,
    duplicates.DUPLICATE_PIXELS,
    duplicates.DELIVERED_AGAIN,
    duplicates.NEAR_DUPLICATE,
    duplicates.DELIVERED_SPLIT_LEAKS,
    classes.SOURCE_CONFOUNDED,
    classes.CLASS_NOT_LEARNABLE,
    reading.TABLE_NOT_UNDERSTOOD,
    reading.TABLE_OF_OTHER_IMAGES,
    reading.CODE_NOT_UNDERSTOOD,
    metadata.METADATA_ROW_WITHOUT_IMAGE,
    metadata.IMAGE_WITHOUT_METADATA,
    reading.LESION_NOT_NAMED,
    shift.DISTRIBUTION_SHIFT,
)
