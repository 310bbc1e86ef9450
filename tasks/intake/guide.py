"""``reading.yaml``: what a person says about columns, codes, folders and sources that cannot be
guessed.

The file lies beside the delivered images or tables. An example::

    columns:
      export.csv: {Bildnummer: image_id, Fall: lesion_id, Notiz: ignore}
    codes: {M1: melanoma, N0: nevus, X: none}
    folders: {auffaellig: melanoma, NotMelanoma: none}
    sources: {clinic_a: Clinic A, "IMG_*": camera 2}
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError

from tasks.errors import BadInput
from tasks.lesions import Code, Diagnosis, source_from, source_of
from tasks.records.record import Frozen

NAME = "reading.yaml"
MOST_BYTES = 1_000_000
Meaning = Literal[
    "image_id", "lesion_id", "patient_id", "age_years", "sex", "site", "diagnosis", "ignore"
]


def _not_drawn(name: str) -> str:
    """Drawn lesions are known by their ids, and nothing else may be called so."""
    if name.casefold().startswith("synthetic"):
        raise ValueError("no source may be called SYNTHETIC")
    return name


SourceName = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_not_drawn)]


class Guide(Frozen):
    """What a person says about a delivery."""

    columns: dict[str, dict[str, Meaning]] = Field(
        {}, description="What each column of a table holds, by the name of the file."
    )
    codes: dict[str, Diagnosis | Literal["none"]] = Field(
        {}, description="The class of a code, in any case; none for a code outside the nine."
    )
    folders: dict[str, Diagnosis | Literal["none"]] = Field(
        {}, description="The class of a folder, by its name, in any case; none for no class."
    )

    sources: dict[str, SourceName] = Field(
        {},
        description="The source of images, such as a clinic or a camera, by the name of a folder "
        "above them or by their id, in any case; * stands for anything, and / joins two such "
        "names. The first that fits counts.",
    )

    def source(self, key: str, image_id: str) -> str | None:
        """The source of an image; None where nothing is said about it."""
        folders = key.split("/")[1:-1]
        # A delivery that was corrected lies beside the first, as clinic@2.
        names = [*folders, re.sub(r"@\d+$", "", folders[0]) if folders else "", image_id]
        names = [name.casefold() for name in names]
        for pattern, source in self.sources.items():
            parts = pattern.casefold().split("/")
            if all(any(fnmatchcase(name, part) for name in names) for part in parts):
                return source
        return None

    def within(self, delivery: str) -> "Guide":
        """This guide, its sources of one delivery alone: names of cameras differ by clinic."""
        literal = re.sub(r"([*?[])", r"[\1]", delivery)
        return self.model_copy(
            update={"sources": {f"{literal}/{name}": of for name, of in self.sources.items()}}
        )

    def columns_of(self, key: str) -> dict[str, str]:
        """What the columns of a table hold, by the key of its file."""
        return dict(self.columns.get(key.rpartition("/")[2], {}))

    def idle(self, keys: Iterable[str]) -> list[str]:
        """The tables and folders of which this guide speaks, and that no key has."""
        there = {name.casefold() for key in keys for name in key.split("/")}
        return [each for each in (*self.columns, *self.folders) if each.casefold() not in there]

    def folder(self, name: str) -> Diagnosis | Literal["none"] | None:
        """What a folder means; None where nothing is said about it."""
        return {each.casefold(): of for each, of in self.folders.items()}.get(name.casefold())

    def code(self, code: Code) -> Code:
        """A code, or the class that it stands for."""
        if not self.codes:
            return code
        named = {each.casefold(): of for each, of in self.codes.items()}.get(code.text.casefold())
        if named is None:
            return code
        return Code("reading", ("other" if named == "none" else named,))

    def joined(self, other: "Guide") -> "Guide":
        """This guide and another one; where both speak, the later one counts."""
        return Guide(
            columns=self.columns | other.columns,
            codes=self.codes | other.codes,
            folders=self.folders | other.folders,
            sources=self.sources | other.sources,
        )


def source_by(key: str, image_id: str, guide: Guide, device: str = "") -> str:
    """The source of an image: what the guide says, else the archive that its id names and the
    camera that took it. A drawn image stays drawn."""
    said = guide.source(key, image_id)
    if said is None or source_from(image_id) == "SYNTHETIC":
        return source_of(image_id, device)
    return said


def parse_guide(data: bytes, where: str) -> Guide:
    """Read a guide.

    Raises:
        BadInput: The file is no YAML, or has another field or value.
    """
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES} bytes")
        return Guide.model_validate(yaml.safe_load(data) or {})
    except (yaml.YAMLError, ValidationError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{where} cannot be read.",
            expected="a YAML file with columns, codes, folders and sources, as `inspect --write` "
            "drafts it",
            received=" ".join(str(error).split())[:400],
            do="correct the file",
        ) from error


def guide_of(files: Iterable[tuple[str, bytes]]) -> Guide:
    """What all guides of a store say together. What one among images says about sources holds for
    its delivery. Raises `BadInput`."""
    found = Guide()
    for key, data in files:
        guide, place = parse_guide(data, key), key.split("/")
        if place[0] == "raw" and len(place) > 2 and not re.fullmatch(r"metadata(@\d+)?", place[1]):
            guide = guide.within(re.sub(r"@\d+$", "", place[1]))
        found = found.joined(guide)
    return found
