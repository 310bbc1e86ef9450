"""Laws of single files: the file can be read, and its row of the manifest is complete."""

from tasks.config import Law
from tasks.validation.laws.law import Breach, Delivered, LawRow, breach_of


def refusal(law: Law, description: str, consequence: str = "quarantined") -> LawRow:
    """The law by which ingest refuses a file; the file is quarantined with ingest's reason."""

    def check(delivered: Delivered) -> Breach:
        frame = delivered.frame
        return breach_of(frame, frame["law"] == law, frame["reason"])

    return LawRow(law, description, "error", consequence, check, quarantines=True)


def schema(delivered: Delivered) -> Breach:
    reasons = delivered.frame["key"].map(delivered.unexpected())
    return breach_of(delivered.frame, reasons.notna(), reasons)


UNDECODABLE = refusal(
    "undecodable",
    "Every file can be decoded to pixels. Counts files.",
)


TOO_LARGE = refusal(
    "too_large",
    "No file is larger than maximum_megapixels. Counts files.",
)


UNSAFE_NAME = refusal(
    "unsafe_name",
    "No file's name leaves its folder. Counts files.",
)


ERASED = refusal(
    "erased",
    "No image that was erased from this store is delivered again. Counts files.",
    "not decoded, and quarantined; `python -m tasks erase` removes the file again",
)


SCHEMA = LawRow(
    "schema",
    "Every row of the manifest meets the Great Expectations suite. Counts files.",
    severity="error",
    consequence="quarantined",
    check=schema,
    quarantines=True,
)
