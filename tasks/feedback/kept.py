"""Lesions whose images the app keeps, because the patient agreed, until a reviewer decides.

    review/<lesion>/1.jpg, 2.png       the images, without EXIF, see `tasks.feedback.bare`
    review/<lesion>/lesion.json        what the app answered; written first, and removed last, so
                                       no image lies there that nobody knows of
    review/<lesion>/diagnosis-01.json  the later diagnosis; one with a higher number corrects it

A reviewer releases a lesion into a delivery, or deletes it, see `tasks.feedback.release`. Both
remove its folder. The number of a lesion is the one in its trace, so the lesions that the drift
test wants labelled can be found here.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeVar, get_args

from pydantic import Field, ValidationError

from tasks.engine.store import Store, read_many
from tasks.errors import AlreadyExists, BadInput, Corrupt, NotFound, PipelineError
from tasks.evaluation.traces import Decision
from tasks.feedback.bare import Bare
from tasks.lesions import MELANOMA, Diagnosis
from tasks.records.record import Frozen, sha256

Fact = TypeVar("Fact", bound=Frozen)

FOLDER = "review/"
LESION = r"[0-9a-f]{16}"
SECOND = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\+00:00$"
FACTS = "lesion.json"
MOST_CORRECTIONS = 99

# How a diagnosis is proven, in the terms of the ISIC Archive's field ``diagnosis_confirm_type``.
Proof = Literal[
    "histopathology",
    "confocal microscopy with consensus dermoscopy",
    "serial imaging showing no change",
    "single image expert consensus",
]
PROOFS: tuple[Proof, ...] = get_args(Proof)


class KeptImage(Frozen):
    """One image of a lesion."""

    name: str = Field(pattern=r"^\d{1,3}\.(jpg|png)$", description="Name in the lesion's folder.")
    sha256: str = Field(description="SHA-256 of the file.")
    pixel_hash: str = Field(description="SHA-256 of the pixels, as `Decoded.pixel_hash`.")


class Kept(Frozen):
    """What the app answered about a lesion whose images it keeps."""

    lesion: str = Field(pattern=f"^{LESION}$", description="Number of the lesion, as in its trace.")
    at: str = Field(
        pattern=SECOND, description="When the app answered, UTC, ISO 8601, to the second."
    )
    by: str = Field(description="Login of who asked; empty without a login.")
    version: int = Field(ge=1, description="Number of the model's version in MLflow.")
    model_sha256: str = Field(description="SHA-256 of the model's ``.keras`` file.")
    synthetic: bool = Field(
        description="Whether this model learned from drawn lesions alone. What such a model is "
        "asked about counts as drawn too."
    )
    decision: Decision = Field(description="The app's call.")
    probabilities: dict[str, float] = Field(
        description="Calibrated probability of each class, 0 to 1; empty where the app could not "
        "judge."
    )
    refused: tuple[str, ...] = Field(description="Why the app could not judge; empty if it did.")
    images: tuple[KeptImage, ...] = Field(min_length=1, description="The images, in their order.")


class Diagnosed(Frozen):
    """A diagnosis of a lesion, which came later."""

    diagnosis: Diagnosis = Field(description="The class.")
    proof: Proof = Field(description="How the diagnosis is proven.")
    by: str = Field(description="Login of who entered the diagnosis; empty without a login.")
    at: str = Field(
        pattern=SECOND, description="When it was entered, UTC, ISO 8601, to the second."
    )


@dataclass(frozen=True)
class Waiting:
    """A lesion that waits for a diagnosis, or for a reviewer.

    Attributes:
        kept: What the app answered.
        diagnoses: What was entered, in order; the last one counts.
    """

    kept: Kept
    diagnoses: tuple[Diagnosed, ...] = ()

    @property
    def diagnosed(self) -> Diagnosed | None:
        return self.diagnoses[-1] if self.diagnoses else None


@dataclass(frozen=True)
class Review:
    """The lesions that are kept.

    Attributes:
        waiting: Those that can be read, the oldest first.
        damaged: Why the others cannot be read, by number.
    """

    waiting: list[Waiting]
    damaged: dict[str, Corrupt]


def keep(store: Store, kept: Kept, files: Sequence[Bare]) -> None:
    """Keep a lesion.

    Args:
        store: The store.
        kept: What the app answered; names the images in the order of `files`.
        files: The images, without metadata.

    Raises:
        Momentary: The store does not answer. What was written is removed again, where it can be.
    """
    try:
        store.create(_key(kept.lesion, FACTS), kept.model_dump_json().encode())
        for image, file in zip(kept.images, files, strict=True):
            store.create(_key(kept.lesion, image.name), file.data)
    except PipelineError:
        with suppress(PipelineError):
            remove(store, kept.lesion)
        raise


def bytes_kept(store: Store) -> int:
    """Bytes of all that is kept."""
    return sum(entry.size_bytes for entry in store.list(FOLDER))


def images_named(files: Sequence[Bare]) -> tuple[KeptImage, ...]:
    """The names that the images of a lesion get, in their order."""
    return tuple(
        KeptImage(
            name=f"{number}{file.suffix}", sha256=sha256(file.data), pixel_hash=file.pixel_hash
        )
        for number, file in enumerate(files, start=1)
    )


def review_of(store: Store) -> Review:
    """The lesions that are kept. One that cannot be read does not hide the others."""
    found: list[Waiting] = []
    damaged: dict[str, Corrupt] = {}
    for lesion, names in _folders(store, FOLDER):
        try:
            each = _waiting(lesion, names, store)
        except Corrupt as error:
            damaged[lesion] = error
        else:
            found += [each] if each else []
    return Review(sorted(found, key=lambda each: each.kept.at), damaged)


def waiting_in(store: Store) -> list[Waiting]:
    """The lesions that are kept, the oldest first.

    Raises:
        Corrupt: A file was changed.
    """
    found = review_of(store)
    for error in found.damaged.values():
        raise error
    return found.waiting


def waiting(store: Store, lesion: str) -> Waiting:
    """One lesion that is kept.

    Raises:
        NotFound: No lesion of this number is kept.
        Corrupt: A file was changed.
    """
    if re.fullmatch(LESION, lesion):
        for number, names in _folders(store, f"{FOLDER}{lesion}/"):
            if found := _waiting(number, names, store):
                return found
    raise NotFound(
        "No images of this lesion are kept.",
        expected="the number of a lesion that waits for its diagnosis, or for a reviewer",
        received=lesion[:40],
        do="correct the number; a lesion that was released or deleted is gone from here",
    )


def image_of(store: Store, found: Waiting, name: str) -> bytes:
    """The file of an image of a lesion.

    Raises:
        NotFound: The lesion has no such image, or it is gone.
        Corrupt: The file was changed.
    """
    image = next((each for each in found.kept.images if each.name == name), None)
    if image is None:
        raise NotFound(
            "The lesion has no such image.",
            expected=f"one of {', '.join(each.name for each in found.kept.images)}",
            received=name[:40],
            do="correct the name",
        )
    data = store.read(_key(found.kept.lesion, name))
    if sha256(data) != image.sha256:
        raise _changed(_key(found.kept.lesion, name), "other bytes")
    return data


def diagnose(store: Store, lesion: str, diagnosed: Diagnosed) -> Waiting:
    """Enter a diagnosis. A later one corrects the earlier ones, which stay.

    Returns:
        The lesion with the diagnosis.

    Raises:
        NotFound: No lesion of this number is kept.
        BadInput: The proof does not bear the diagnosis, or there are too many corrections.
    """
    check_proof(diagnosed.diagnosis, diagnosed.proof)
    while True:
        found = waiting(store, lesion)
        if len(found.diagnoses) >= MOST_CORRECTIONS:
            raise BadInput(
                "The diagnosis was corrected too often.",
                expected=f"at most {MOST_CORRECTIONS} entries for a lesion",
                received="one more",
                do="delete the lesion",
            )
        number = len(found.diagnoses) + 1
        try:
            data = diagnosed.model_dump_json().encode()
            store.create(_key(lesion, f"diagnosis-{number:02d}.json"), data)
        except AlreadyExists:  # somebody else was faster
            continue
        if not any(store.list(_key(lesion, FACTS))):  # a reviewer decided meanwhile
            remove(store, lesion)
            waiting(store, lesion)  # raises
        return Waiting(found.kept, (*found.diagnoses, diagnosed))


def check_proof(diagnosis: str, proof: str) -> None:
    """Check that a proof bears a diagnosis.

    A melanoma is believed by histopathology alone: sensitivity is counted on melanomas, and what
    one reader takes for a melanoma is often none.

    Raises:
        BadInput: It does not.
    """
    if diagnosis == MELANOMA and proof != "histopathology":
        raise BadInput(
            "This does not prove a melanoma.",
            expected="histopathology",
            received=proof,
            do="wait for the report of the pathologist, and enter the diagnosis then",
        )


def remove(store: Store, lesion: str) -> None:
    """Remove all that is kept of a lesion, last what names it: a removal that was killed shows."""
    for key in keys_of(store, lesion):
        store.delete(key)


def keys_of(store: Store, lesion: str) -> list[str]:
    """The keys of all that is kept of a lesion, last what names it."""
    own = [entry.key for entry in store.list(f"{FOLDER}{lesion}/")]
    return sorted(own, key=lambda each: each == _key(lesion, FACTS))


def _key(lesion: str, name: str) -> str:
    return f"{FOLDER}{lesion}/{name}"


def _folders(store: Store, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """Each lesion's number, with the names of its files."""
    parts = (entry.key.removeprefix(FOLDER).split("/") for entry in store.list(prefix))
    named = ((each[0], each[1]) for each in parts if len(each) == 2)
    for lesion, own in groupby(named, key=lambda pair: pair[0]):
        if re.fullmatch(LESION, lesion):
            yield lesion, [name for _, name in own]


def _waiting(lesion: str, names: Sequence[str], store: Store) -> Waiting | None:
    """The lesion; None for what no lesion is in."""
    if FACTS not in names:
        return None
    told = sorted(name for name in names if name.startswith("diagnosis-"))
    keys = [_key(lesion, name) for name in (FACTS, *told)]
    try:
        first, *others = read_many(store, keys)
    except NotFound:  # it was removed meanwhile
        return None
    kept = _parsed(keys[0], first, Kept)
    if kept.lesion != lesion:
        raise _changed(keys[0], f"a file about lesion {kept.lesion}")
    diagnoses = [_parsed(key, data, Diagnosed) for key, data in zip(keys[1:], others, strict=True)]
    return Waiting(kept, tuple(diagnoses))


def _parsed(key: str, data: bytes, kind: type[Fact]) -> Fact:
    try:
        return kind.model_validate(json.loads(data))
    except (ValidationError, ValueError, RecursionError) as error:
        raise _changed(key, " ".join(str(error).split())[:200]) from error


def _changed(key: str, received: str) -> Corrupt:
    return Corrupt(
        "What is kept of a lesion cannot be read.",
        expected=f"{key} as the app wrote it",
        received=received,
        do="find out who changed it; restore it from a backup, or remove its folder and say so",
    )
