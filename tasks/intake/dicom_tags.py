"""What a DICOM's tags say about its image, without anything that tells who the patient is.

Names, numbers, dates of birth and the like are compared here and hashed here, and leave this file
only as keyed hashes (`tasks.intake.pseudonyms`). A date becomes an age.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

from tasks.intake.cells import OLDEST, UNKNOWN, sex
from tasks.intake.dicom_file import DicomFile, NotRead, is_dicom, parsed
from tasks.intake.dicom_names import NOBODY, clear_of, day_of, names_patient
from tasks.intake.pseudonyms import Pseudonyms

MOST_BYTES = 2**26  # of a deflated file of which only the tags are asked for
PLAIN_TEXT = re.compile(r"[^\W_][\w .,/()+-]{0,63}")
DAYS_OF = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
TAKEN = ("AcquisitionDateTime", "AcquisitionDate", "ContentDate", "StudyDate", "SeriesDate")


@dataclass(frozen=True)
class Tags:
    """What the tags say; what they leave out is None or empty.

    Attributes:
        patient: Keyed hash of the patient's number and who issued it.
        number: Keyed hash of the number alone, which a table may hold.
        study, instance: Keyed hashes of the study, and of the object itself.
        age_years: Age when the picture was taken, 0 to 120.
        sex: ``female`` or ``male``.
        site: Part of the body, in the tag's words.
        laterality: ``L``, ``R``, ``B`` or ``U``.
        device: Manufacturer and model of the camera.
        burnt_in, recognizable: Whether the tags say that text stands in the picture, or that a
            person can be recognized.
        named: Keyed hashes of the patient's numbers and names, as `tasks.intake.dicom_names` glues
            them.
        marks: Keyed hashes of what else tells who the patient is: family names, date of birth,
            accession number.
        near: Likewise of numbers of four or five digits, which count beside this image alone.
        profile: Why a colour profile could not be applied, in words.
    """

    patient: str = ""
    number: str = ""
    study: str = ""
    instance: str = ""
    age_years: float | None = None
    sex: str | None = None
    site: str = ""
    laterality: str = ""
    device: str = ""
    burnt_in: bool = False
    recognizable: bool = False
    named: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    profile: str = ""

    def told(self) -> dict[str, Any]:
        """What the tags say, by name, without what they leave out."""
        silent = asdict(Tags())  # an age of 0 years is told
        return {name: value for name, value in asdict(self).items() if value != silent[name]}


def tags_of(file: DicomFile, pseudonyms: Pseudonyms, profile: str = "") -> Tags:
    """What the tags say; see `Tags`."""
    number, issuer = file.text("PatientID"), file.text("IssuerOfPatientID")
    if number.casefold() in UNKNOWN or NOBODY.fullmatch(number):
        number = ""
    clear = clear_of(file)
    named, others, near = (
        tuple(sorted(map(pseudonyms.mark, each)))
        for each in (clear.named, clear.others, clear.near)
    )
    return Tags(
        patient=pseudonyms.of("patient", number, issuer) if number else "",
        number=pseudonyms.of("patient", number, "") if number else "",
        study=_hashed(file, pseudonyms, "study", "StudyInstanceUID"),
        instance=_hashed(file, pseudonyms, "instance", "SOPInstanceUID"),
        age_years=_age(file),
        sex=sex(file.text("PatientSex")),
        site=_plain(
            file.meaning("AnatomicRegionSequence") or file.text("BodyPartExamined")
        ).lower(),
        laterality=_side(file),
        device=_device(file),
        burnt_in=file.text("BurnedInAnnotation").upper() == "YES",
        recognizable=file.text("RecognizableVisualFeatures").upper() == "YES",
        named=named,
        marks=others,
        near=near,
        profile=profile,
    )


def _hashed(file: DicomFile, pseudonyms: Pseudonyms, kind: str, keyword: str) -> str:
    uid = file.text(keyword)
    return pseudonyms.of(kind, uid) if uid else ""


def _plain(text: str) -> str:
    """A short text of letters, digits and few signs; nothing for any other."""
    return text if PLAIN_TEXT.fullmatch(text) else ""


def _side(file: DicomFile) -> str:
    found = (file.text("ImageLaterality") or file.text("Laterality")).upper()
    return found if found in ("L", "R", "B", "U") else ""


def _device(file: DicomFile) -> str:
    maker, model = (_plain(file.text(name)) for name in ("Manufacturer", "ManufacturerModelName"))
    return model if model.casefold().startswith(maker.casefold()) else f"{maker} {model}".strip()


def _age(file: DicomFile) -> float | None:
    """The age by PatientAge (``054Y``), else from birth to the day of the picture."""
    said = re.fullmatch(r"(\d{1,3})([DWMY])", file.text("PatientAge").upper())
    if said:
        years = float(said[1]) if said[2] == "Y" else int(said[1]) * DAYS_OF[said[2]] / DAYS_OF["Y"]
        return years if years <= OLDEST else None
    born = day_of(file.text("PatientBirthDate"))
    days = filter(None, (day_of(file.text(name)) for name in TAKEN))
    taken = next(days, None)
    if born is None or taken is None:
        return None
    full = taken.year - born.year - ((taken.month, taken.day) < (born.month, born.day))
    return float(full) if 0 <= full <= OLDEST else None


def names_its_patient(key: str, data: bytes) -> bool:
    """Whether the name of a file, or of a folder above it, says who the patient is."""
    try:
        return is_dicom(data) and names_patient(key, parsed(data, MOST_BYTES, pixels=False))
    except NotRead:
        return False


def tags_alone(data: bytes, pseudonyms: Pseudonyms) -> Tags:
    """What the tags say, without a look at the pixels; nothing if they cannot be read."""
    try:
        return tags_of(parsed(data, MOST_BYTES, pixels=False), pseudonyms)
    except NotRead:
        return Tags()
