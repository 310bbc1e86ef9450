"""How tables contradict each other about an image."""

from dataclasses import dataclass

# Columns in which tables must not contradict each other. Sites are not among them, because each
# archive has other words for them.
CONTRADICTABLE = ("lesion_id", "patient_id", "age_years", "sex")


@dataclass(frozen=True)
class Contradiction:
    """Two rows of tables that contradict each other about one image.

    Attributes:
        about: Column of the manifest, one of `CONTRADICTABLE`.
        one: Value of the first row.
        other: Value of a later row.
    """

    about: str
    one: str
    other: str

    def __str__(self) -> str:
        return f"{self.about.removesuffix('_years')} {self.one} or {self.other}"
