"""Read the header of a DICOM, however damaged or hostile, in bounded time and memory.

pydicom takes a file apart. What a file claims is believed only within limits: pydicom itself would
inflate a deflated file to any size, and make an object of each of millions of items.
"""

import io
import re
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_LITTLE, EXPLICIT_BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
ITEM = b"\xfe\xff\x00\xe0"
MOST_ITEMS = 20_000  # of sequences and of encapsulated pixels; a photograph has a few dozen
MOST_ELEMENTS = 20_000  # at the top; a photograph has about a hundred
PIXELS = 0x7FE00001  # the first tag of those of pixels, which come last
HEADER_BYTES = 2**22  # what stands before the pixels has some kilobytes, profile included
LONGEST_TEXT = 1024  # characters of one value; the longest that is read here may have 64
# How a data set without the preamble begins: an element of group 2 or 8, in both encodings.
BARE = re.compile(rb"[\x02\x08]\x00.\x00(UI|UL|CS|DA|DT|TM|SH|LO|OB|ST|SQ)", re.DOTALL)
BARE_IMPLICIT = re.compile(
    rb"\x08\x00[\x00\x01\x05\x08\x12\x13\x16\x18\x20\x21]\x00.\x00\x00\x00", re.DOTALL
)

WANTED = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "StudyDate", "SeriesDate"),
    *("AcquisitionDate", "AcquisitionDateTime", "ContentDate", "Manufacturer"),
    *("ManufacturerModelName", "PatientName", "PatientID", "IssuerOfPatientID"),
    *("AccessionNumber", "OtherPatientIDs", "OtherPatientNames"),
    *("PatientBirthName", "PatientBirthDate"),
    *("PatientSex", "PatientAge", "PatientIdentityRemoved", "BodyPartExamined"),
    *("Laterality", "ImageLaterality", "AnatomicRegionSequence", "BurnedInAnnotation"),
    *("RecognizableVisualFeatures", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "ICCProfile", "ColorSpace", "ExtendedOffsetTable"),
    *("ExtendedOffsetTableLengths", "PixelData"),
    *(f"{hue}PaletteColorLookupTableDescriptor" for hue in ("Red", "Green", "Blue")),
    *(f"{hue}PaletteColorLookupTableData" for hue in ("Red", "Green", "Blue")),
)


class NotRead(Exception):
    """Why a file cannot be read, in words that repeat nothing of its content."""


def is_dicom(data: bytes) -> bool:
    """Whether a file is a DICOM, by its content.

    >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"\\xff\\xd8\\xff\\xe0"), is_dicom(b"BM")
    (True, False, False)
    """
    if data[128:132] == b"DICM":
        return True
    return bool(BARE.match(data) or BARE_IMPLICIT.match(data))


@dataclass(frozen=True)
class DicomFile:
    """The header of a DICOM.

    Attributes:
        data_set: The elements of `WANTED`, unparsed until they are asked for.
        syntax: UID of the transfer syntax.
        damage: What ends the header too soon, in words; empty if nothing does.
    """

    data_set: "Dataset"
    syntax: str
    damage: str = ""

    def text(self, keyword: str) -> str:
        """The value of an element as text, without blanks around it; empty if there is none, or if
        the value cannot be understood."""
        return _text(self.data_set, keyword)

    def number(self, keyword: str, default: int = 0) -> int:
        """The value of an element as a whole number. Raises `NotRead`."""
        text = self.text(keyword)
        try:
            return int(text) if text else default
        except ValueError:
            raise NotRead(f"its {keyword} is no whole number") from None

    def bytes(self, keyword: str) -> bytes:
        """The value of an element of bytes; empty if there is none."""
        value = _value(self.data_set, keyword)
        return value if isinstance(value, bytes) else b""

    def meaning(self, keyword: str) -> str:
        """The meaning of the code in a sequence of one item; empty if there is none."""
        sequence = _value(self.data_set, keyword)
        return _text(sequence[0], "CodeMeaning") if sequence else ""


def _value(data_set: Any, keyword: str) -> Any:
    try:
        return data_set.get(keyword)
    except Exception:  # what a damaged value raises repeats the value
        return None


def _text(data_set: Any, keyword: str) -> str:
    value = _value(data_set, keyword)
    try:
        text = "" if value is None else str(value)
    except Exception:
        return ""
    return text.strip(" \0") if len(text) <= LONGEST_TEXT else ""


def parsed(data: bytes, most_bytes: int, *, pixels: bool = True) -> DicomFile:
    """Read the header of a DICOM, of a damaged one as far as it goes.

    Args:
        data: The file.
        most_bytes: A deflated file that would become larger is not read.
        pixels: Whether to read the pixels too; if not, the file may end before them.

    Raises:
        NotRead: The file claims too much, or nothing of it can be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they repeat values
        try:
            return _parsed(data, most_bytes, pixels)
        except NotRead:
            raise
        except Exception as error:
            raise NotRead(f"its header is damaged ({type(error).__name__})") from None


def _parsed(data: bytes, most_bytes: int, pixels: bool) -> DicomFile:
    from pydicom import config
    from pydicom.filereader import read_dataset

    config.settings.reading_validation_mode = config.IGNORE
    config.logger.disabled = True  # what it says repeats values
    file = io.BytesIO(data)
    file.seek(132 if data[128:132] == b"DICM" else 0)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    syntax = _text(meta, "TransferSyntaxUID")
    start = file.tell()
    if syntax == DEFLATED:
        data, start = _inflated(data[start:], most_bytes), 0
    # Some writers name one encoding and use the other.
    implicit = not re.fullmatch(rb"[A-Z]{2}", data[start + 4 : start + 6])
    if data.count(ITEM) > MOST_ITEMS:
        raise NotRead(f"it holds more than {MOST_ITEMS} items")
    body = io.BytesIO(data)
    body.seek(start)
    found, damage = _elements(body, implicit, syntax != EXPLICIT_BIG, pixels)
    syntax = syntax or (IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE)
    return DicomFile(found, syntax, damage)


def _elements(
    body: io.BytesIO, implicit: bool, little: bool, pixels: bool
) -> tuple["Dataset", str]:
    """The wanted elements up to the first that is damaged, and what damages it, in words."""
    from pydicom.charset import convert_encodings, default_encoding
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataset import Dataset
    from pydicom.filereader import data_element_generator

    seen = 0

    def enough(tag: int, *_: Any) -> bool:
        nonlocal seen
        seen += 1
        if seen > MOST_ELEMENTS:
            raise NotRead(f"it holds more than {MOST_ELEMENTS} elements")
        return not pixels and tag >= PIXELS

    wanted: list[Any] = [tag_for_keyword(name) or 0 for name in WANTED]
    elements: dict[Any, Any] = {}
    damage = ""
    try:
        for each in data_element_generator(body, implicit, little, enough, specific_tags=wanted):
            elements[each.tag] = each
    except RecursionError:
        damage = "its sequences are nested too deep"
    except (EOFError, OSError):
        damage = "it is cut"
    found = Dataset(elements)
    try:
        encoding = convert_encodings(found.get("SpecificCharacterSet"))
    except Exception:  # what it raises repeats the value
        encoding = [default_encoding]
    found.set_original_encoding(implicit, little, encoding)
    return found, damage


def header_of(path: Path) -> bytes | None:
    """What stands at the beginning of a file, if the file is a DICOM: enough for its tags."""
    with path.open("rb") as file:
        data = file.read(HEADER_BYTES if is_dicom(file.read(132)) and not file.seek(0) else 0)
        if data and DEFLATED.encode() in data[:1024]:
            data += file.read()
    return data or None


def _inflated(data: bytes, most_bytes: int) -> bytes:
    """What a deflated file holds (PS3.5, A.5: a raw stream of RFC 1951)."""
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    found = inflating.decompress(data, most_bytes)
    if inflating.unconsumed_tail:
        raise NotRead(f"it would inflate to more than {most_bytes / 1e6:.0f} megabytes")
    if not inflating.eof:
        raise NotRead("it is cut: its deflated part has no end")
    return found
