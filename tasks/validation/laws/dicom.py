"""Laws of DICOMs: what their tags say of picture and patient, against the pixels and the name."""

from collections.abc import Callable

import pandas as pd

from tasks.intake.manifest import tags_of
from tasks.validation.laws.files import refusal
from tasks.validation.laws.law import Breach, Delivered, LawRow

NAME_OF_A_PATIENT = refusal(
    "name_of_a_patient",
    "No name of a DICOM, nor of a folder above it, holds the patient's name, number or date of "
    "birth. Counts files.",
    "quarantined under another name; rename the file in raw/, or deliver it anew",
)

NOT_A_PHOTOGRAPH = refusal(
    "not_a_photograph",
    "Every DICOM with a picture is of a class of photographs in visible light. Counts files.",
)

COLOUR_MISLABELLED = refusal(
    "colour_mislabelled",
    "The pixels of a DICOM hold the colours that its tag Photometric Interpretation says. Counts "
    "pictures.",
    "quarantined: which of both is wrong cannot be known; correct the tag, or export "
    "the picture as PNG",
)


def _said(name: str) -> Callable[[Delivered], Breach]:
    """A check that counts the pictures of which a tag is set, and quotes the first words of it."""

    def check(delivered: Delivered) -> Breach:
        frame = delivered.frame
        said = {
            str(key): tags[name]
            for key, tags in zip(frame["key"], tags_of(frame), strict=True)
            if tags.get(name)
        }
        words = [word for word in dict.fromkeys(said.values()) if isinstance(word, str)]
        return Breach(pd.Series(dtype="str"), counted=sorted(said), remark="; ".join(words))

    return check


COLOUR_PROFILE_NOT_APPLIED = LawRow(
    "colour_profile_not_applied",
    "The colour profile of a DICOM can be applied. Counts pictures.",
    severity="warning",
    consequence="kept; their colours are taken for sRGB, and may be a little off",
    check=_said("profile"),
)

BURNT_IN_TEXT = LawRow(
    "burnt_in_text",
    "No DICOM says that text stands in its picture (Burned In Annotation). Counts pictures.",
    severity="warning",
    consequence="kept; a text may name the patient, and a network may read a class from it: look "
    "at these pictures",
    check=_said("burnt_in"),
)

RECOGNIZABLE_PERSON = LawRow(
    "recognizable_person",
    "No DICOM says that a person can be recognized in its picture (Recognizable Visual Features). "
    "Counts pictures.",
    severity="warning",
    consequence="kept; the evidence of a model holds pictures of its test part: crop or withdraw "
    "these",
    check=_said("recognizable"),
)
