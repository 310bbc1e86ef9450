"""What is to be erased: the images that an id names, and every name under which they lie.

The tables of a store say which files hold an image: manifests, the tables of decoded files, and the
tables of each run. An image is erased under all its names: whatever has the same bytes or the same
pixels is the same picture. A near duplicate is another picture, and stays.
"""

import io
import json
from collections.abc import Iterable
from typing import Literal

import pandas as pd
import pyarrow.parquet as parquet
from pydantic import Field

from tasks.engine.erasures import OPEN, Asked
from tasks.engine.store import Entry, Store, read_many
from tasks.erasure.tagged import dicoms_of
from tasks.errors import BadInput
from tasks.intake.cells import spelling
from tasks.intake.pseudonyms import KEY, PREFIX, of_store
from tasks.lesions import image_id_from
from tasks.records.record import Frozen, sha256
from tasks.text.lines import visible

READ = ("key", "image_id", "patient_id", "size_bytes", "sha256", "pixel_hash", "tags")
PLACE = ("shard", "index")
DELIVERED = ("raw/", "external/")


class Scope(Frozen):
    """What is to be erased. It holds ids in clear, and stays only until all is done.

    Attributes:
        asked: What was named.
        name: The id that was named, as the manifest has it.
        number: The keyed hash of a patient's number in DICOMs; empty without one.
        numbers: The keyed hashes by which delivered tables may know the patient. A number that two
            patients of two clinics have is none.
        images: Id of each image.
        keys: Key of each file, under ``raw/`` and ``external/``, also of files that are gone.
        files: SHA-256 of the bytes of each file.
        pixels: Pixel hash of each image.
        places: Rows of each shard that hold the pixels, by the shard's key, copies too.
        runs: Names of the runs that hold an image.
    """

    asked: Asked
    name: str
    number: str = ""
    numbers: frozenset[str] = Field(default=frozenset())
    images: frozenset[str] = Field(default=frozenset())
    keys: frozenset[str] = Field(default=frozenset())
    files: frozenset[str] = Field(default=frozenset())
    pixels: frozenset[str] = Field(default=frozenset())
    places: dict[str, tuple[int, ...]] = Field(default={})
    runs: tuple[str, ...] = Field(default=())

    @property
    def name_sha256(self) -> str:
        return sha256(self.name.encode())

    def joined(self, other: "Scope") -> "Scope":
        """What either of two attempts at one erasure has found."""
        places = {
            shard: tuple(sorted({*self.places.get(shard, ()), *other.places.get(shard, ())}))
            for shard in self.places.keys() | other.places.keys()
        }
        return self.model_copy(
            update={
                "numbers": self.numbers | other.numbers,
                "images": self.images | other.images,
                "keys": self.keys | other.keys,
                "files": self.files | other.files,
                "pixels": self.pixels | other.pixels,
                "places": places,
                "runs": tuple(sorted({*self.runs, *other.runs})),
            }
        )

    def holds(self, frame: pd.DataFrame) -> pd.Series:
        """Which rows of a table are of an erased image: by id, file, bytes or pixels."""
        found = pd.Series(False, index=frame.index)
        for column, among in (
            ("image_id", self.images),
            ("source_id", self.images),
            ("key", self.keys),
            ("source_key", self.keys),
            ("first", self.keys),
            ("second", self.keys),
            ("sha256", self.files),
            ("pixel_hash", self.pixels),
        ):
            if column in frame:
                found |= frame[column].isin(list(among))
        return found


def names_here(store: Store, asked: Asked, name: str) -> tuple[str, str]:
    """The id as the manifest has it, and `Scope.number`.

    A patient whom DICOMs name has a keyed hash for a number there, see `tasks.intake.pseudonyms`.
    Who erases may give the number itself, or the name by which a table calls the patient: it is
    hashed before anything is written.
    """
    if asked != "patient" or name.startswith(PREFIX) or not any(store.list(KEY)):
        return name, ""
    pseudonyms = of_store(store)
    number, person = pseudonyms.of("patient", name, ""), pseudonyms.person(name)
    for entry in store.list(OPEN):  # an erasure that was killed may have left no other trace
        plan = Scope.model_validate_json(store.read(entry.key))
        if plan.number == number:
            return plan.name, number
    keys = [each.key for each in store.list("") if _is_table(each.key)]
    for data in read_many(store, keys):
        frame = read_columns(data, ("patient_id", "tags"))
        if "patient_id" in frame and any(_is_spelled(each, name) for each in frame["patient_id"]):
            return name, ""
        if "patient_id" in frame and (frame["patient_id"] == person).any():
            return person, ""
        if "tags" in frame:
            said = frame["tags"].dropna().map(json.loads)
            found = [each["patient"] for each in said if each.get("number") == number]
            if found:
                return str(found[0]), number
    return number, number


def scope_of(store: Store, asked: Asked, name: str) -> Scope:
    """Everything of an image, or of all images of a patient.

    Args:
        store: The store.
        asked: What is named.
        name: The id, as it stands in the manifest.

    Raises:
        BadInput: The store holds nothing of it.
    """
    keys = [each.key for each in store.list("") if _is_table(each.key)]
    found, runs = _seen(store, keys)
    rows = pd.concat([frame for _, frame in found], ignore_index=True)
    delivered = [entry for prefix in DELIVERED for entry in store.list(prefix)]
    if asked == "image":
        wanted = rows[rows["image_id"] == name]
    else:  # a manifest calls a patient by the first spelling that it has met
        same = rows["patient_id"].map(lambda each: _is_spelled(each, name))
        wanted = rows[same.astype(bool)]
    images = frozenset(map(str, wanted["image_id"].dropna()))
    if asked == "image" and any(image_id_from(each.key) == name for each in delivered):
        images |= {name}  # delivered, and not read yet
    scope = Scope(asked=asked, name=name, images=images)
    if asked == "patient":
        numbers, own = dicoms_of(store, name, rows, set(wanted["key"]), delivered)
        scope = scope.model_copy(update={"numbers": frozenset(numbers), "keys": frozenset(own)})
    if not scope.images and not scope.keys:
        raise _unknown(store, asked, name)
    scope = _everywhere(scope, rows)
    scope = _with_delivered(store, scope, rows, delivered)
    held = {run for run, frame in found if run and scope.holds(frame).any()}
    listed = {run for run, entries in runs.items() if entries & scope.keys}
    return scope.model_copy(
        update={"places": _places(store, keys, scope), "runs": tuple(sorted(held | listed))}
    )


def _is_spelled(cell: object, name: str) -> bool:
    return isinstance(cell, str) and spelling(cell) == spelling(name)


def _is_table(key: str) -> bool:
    return key.endswith(".parquet") and key.startswith(("runs/", "shared/"))


def columns_of(data: bytes) -> list[str]:
    return list(parquet.read_schema(io.BytesIO(data)).names)


def read_columns(data: bytes, columns: Iterable[str]) -> pd.DataFrame:
    """Some columns of a table, those that it has."""
    there = columns_of(data)
    return pd.read_parquet(io.BytesIO(data), columns=[each for each in columns if each in there])


def _seen(
    store: Store, keys: list[str]
) -> tuple[list[tuple[str, pd.DataFrame]], dict[str, set[str]]]:
    """The rows of each table that describes files, with the run that the table belongs to; and the
    keys that each run has listed as delivered."""
    empty = pd.DataFrame({name: pd.Series(dtype="object") for name in READ})
    found = [("", empty)]
    for key, data in zip(keys, read_many(store, keys), strict=True):
        frame = read_columns(data, (*READ, "frame"))
        if "key" not in frame:
            continue
        if "image_id" not in frame:
            frame["image_id"] = [image_id_from(str(each)) for each in frame["key"]]
            if "frame" in frame:  # the key ends in the number of the frame, and the bytes link it
                frame.loc[frame["frame"].notna(), "image_id"] = None
        run = key.split("/")[1] if key.startswith("runs/") else ""
        found.append((run, frame.reindex(columns=list(READ)).astype("object")))
    return found, _listed(store)


def _listed(store: Store) -> dict[str, set[str]]:
    """The keys that each run found delivered when it began."""
    lists = [e.key for e in store.list("runs/") if e.key.endswith("/raw.json")]
    lists = [key for key in lists if key.count("/") == 2]
    return {
        key.split("/")[1]: set(pd.read_json(io.BytesIO(data), dtype=False).get("key", ()))
        for key, data in zip(lists, read_many(store, lists), strict=True)
    }


def _everywhere(scope: Scope, rows: pd.DataFrame) -> Scope:
    """The same pictures under all their names: what has the same bytes or pixels has other ids and
    other files, which may have other bytes in turn."""
    while True:
        own = rows[scope.holds(rows)]
        told = {
            name: frozenset(map(str, own[column].dropna())) - {""}
            for name, column in (
                ("images", "image_id"),
                ("keys", "key"),
                ("files", "sha256"),
                ("pixels", "pixel_hash"),
            )
        }
        wider = scope.model_copy(
            update={name: getattr(scope, name) | values for name, values in told.items()}
        )
        if wider == scope:
            return scope
        scope = wider


def _with_delivered(
    store: Store, scope: Scope, rows: pd.DataFrame, delivered: list[Entry]
) -> Scope:
    """With the files that were delivered and that no table describes yet: of the same id, or of the
    same bytes under another name."""
    known = set(rows["key"])
    sizes = set(rows.loc[scope.holds(rows), "size_bytes"].dropna())
    named = {
        each.key
        for each in delivered
        if each.key not in known and image_id_from(each.key) in scope.images
    }
    near = [each.key for each in delivered if each.size_bytes in sizes and each.key not in named]
    same = {
        key
        for key, data in zip(near, read_many(store, near), strict=True)
        if sha256(data) in scope.files
    }
    there = sorted((named | scope.keys) & {each.key for each in delivered})
    digests = {sha256(data) for data in read_many(store, there)}
    ids = {image_id_from(key) for key in same - known}
    return scope.model_copy(
        update={
            "keys": scope.keys | named | same,
            "files": scope.files | digests,
            "images": scope.images | ids,
        }
    )


def _places(store: Store, keys: list[str], scope: Scope) -> dict[str, tuple[int, ...]]:
    """Where the pixels of the images lie, and of the copies that were drawn of them."""
    found: dict[str, set[int]] = {}
    columns = (*READ, *PLACE, "source_key", "source_id")
    for data in read_many(store, keys):
        if not set(PLACE) <= set(columns_of(data)):
            continue
        frame = read_columns(data, columns)
        own = frame[scope.holds(frame)].dropna(subset=list(PLACE))
        for shard, index in zip(own["shard"], own["index"], strict=True):
            found.setdefault(str(shard), set()).add(int(index))
    return {shard: tuple(sorted(rows)) for shard, rows in sorted(found.items()) if shard}


def _unknown(store: Store, asked: Literal["image", "patient"], name: str) -> BadInput:
    return BadInput(
        f"Nothing of this {asked} is in the store, and nothing was erased.",
        expected=f"the id of {'an image' if asked == 'image' else 'a patient'}, as it stands in "
        "the manifest of a run, or as the name of a file under raw/ gives it",
        received=f"{visible(name)!r}, which no table and no file of {store.uri} holds",
        do="look the id up in runs/RUN/quarantine.html or in the tables that were delivered; an "
        "image's id counts letter by letter",
    )
