"""The gap of a bundle: which of its sealed files lack what was erased since, and why.

The manifest of a bundle never changes. After an erasure, ``gaps.json`` beside the manifest names
each file that was changed, with its SHA-256 now. Only pictures, tables of images and pages about
them may have a gap. Records, the ledger, policy, card and libraries may not: the figures and the
verdict stand in them, so a gap hides no changed figure, and what is left of the tables must still
give these figures.

With a key, the signature of the bundle covers the gap too.
"""

import re

from pydantic import Field, ValidationError

from tasks.errors import Corrupt
from tasks.figures import plural
from tasks.records.record import Frozen

GAPS = "gaps.json"
FORMAT = "melanoma-retraining gaps, 1"
MAY_HAVE_A_GAP = re.compile(
    r"ingest/manifests/[0-9a-f]{64}\.parquet|ingest/([0-9a-f]{16}/)?[^/]+\.parquet"
    r"|validate/([0-9a-f]{16}/)?(external/)?[a-z0-9_-]+-left\.csv"
    r"|(validate|evaluate)/([0-9a-f]{16}/|external/)[a-z0-9_-]+\.parquet"
    r"|validate/([0-9a-f]{16}/)?(accepted\.parquet|quarantine\.csv|changes\.csv)"
    r"|split/([0-9a-f]{16}/)?(parts\.parquet|proof\.csv|left_out\.csv)"
    r"|evaluate/([0-9a-f]{16}/)?([a-z_]*predictions\.parquet|saliency/[0-9a-f]{16}\.png)"
    r"|evaluate/[0-9a-f]{16}/[0-9a-f]{16}\.png"
    r"|golden/(pixels\.npy|answers\.json)"
)


class Told(Frozen):
    """One erasure, as the bundle tells it."""

    entry: int = Field(ge=1, description="Number of the entry in the store's ledger of erasures.")
    at: str = Field(description="When, UTC, ISO 8601.")
    by: str = Field(description="Who erased, in words.")
    reason: str = Field(description="Why, in the person's words.")
    images: int = Field(ge=0, description="Images of the bundle that were erased.")

    @property
    def in_words(self) -> str:
        return f"{plural(self.images, 'image')} on {self.at}, by {self.by}: {self.reason}"


class Hole(Frozen):
    """One file that lacks something now."""

    was: str = Field(description="SHA-256 that the manifest names.")
    now: str = Field(description="SHA-256 of the file now.")


class Gaps(Frozen):
    """The file ``gaps.json``."""

    format: str = FORMAT
    erasures: tuple[Told, ...] = Field(min_length=1)
    files: dict[str, Hole] = Field(description="Each file with a gap, by path in the bundle.")

    @property
    def images(self) -> int:
        """Most images that the bundle may lack."""
        return sum(each.images for each in self.erasures)

    @property
    def in_words(self) -> str:
        told = "; ".join(each.in_words for each in self.erasures)
        return f"{plural(len(self.files), 'file')} lack what was erased: {told}"

    @property
    def data(self) -> bytes:
        return self.model_dump_json(indent=1).encode()


def gaps_from(data: bytes) -> Gaps:
    """Read ``gaps.json``. Raises `Corrupt`."""
    try:
        found = Gaps.model_validate_json(data)
    except ValidationError as error:
        raise _flawed("as `python -m tasks erase` writes it", str(error)) from error
    if found.format != FORMAT:
        raise _flawed(FORMAT, found.format)
    for path in sorted(found.files):
        if not MAY_HAVE_A_GAP.fullmatch(path):
            raise _flawed("gaps in pictures and in tables of images only", path)
    return found


def _flawed(expected: str, received: str) -> Corrupt:
    return Corrupt(
        f"The evidence does not hold: {GAPS} says what no erasure does.",
        expected=expected,
        received=" ".join(received.split())[:200],
        do="do not rely on this bundle or promote its model; find out who changed it",
    )
