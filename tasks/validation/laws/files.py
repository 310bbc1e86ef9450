"""Laws of single files: the file can be read, and its row of the manifest is complete."""

from collections.abc import Callable

from tasks.config import Law
from tasks.validation.laws.law import Breach, Delivered, LawRow, breach_of


def refused(law: Law) -> Callable[[Delivered], Breach]:
    def check(delivered: Delivered) -> Breach:
        frame = delivered.frame
        return breach_of(frame, frame["law"] == law, frame["reason"])

    return check


def schema(delivered: Delivered) -> Breach:
    reasons = delivered.frame["key"].map(delivered.unexpected())
    return breach_of(delivered.frame, reasons.notna(), reasons)


UNDECODABLE = LawRow(
    "undecodable",
    "Every file can be decoded to pixels. Counts files.",
    severity="error",
    consequence="quarantined",
    check=refused("undecodable"),
    quarantines=True,
)


TOO_LARGE = LawRow(
    "too_large",
    "No file is larger than maximum_megapixels. Counts files.",
    severity="error",
    consequence="quarantined",
    check=refused("too_large"),
    quarantines=True,
)


UNSAFE_NAME = LawRow(
    "unsafe_name",
    "No file's name leaves its folder. Counts files.",
    severity="error",
    consequence="quarantined",
    check=refused("unsafe_name"),
    quarantines=True,
)


ERASED = LawRow(
    "erased",
    "No image that was erased from this store is delivered again. Counts files.",
    severity="error",
    consequence="not decoded, and quarantined; `python -m tasks erase` removes the file again",
    check=refused("erased"),
    quarantines=True,
)


SCHEMA = LawRow(
    "schema",
    "Every row of the manifest meets the Great Expectations suite. Counts files.",
    severity="error",
    consequence="quarantined",
    check=schema,
    quarantines=True,
)
