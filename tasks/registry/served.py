"""Check that what MLflow serves is the model that was judged: by its bytes, and by its answers."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.engine.run import read_record
from tasks.engine.signing import keys_here
from tasks.engine.store import Store
from tasks.errors import Corrupt
from tasks.records.registered import Registered
from tasks.registry.clean_process import answers_apart
from tasks.registry.model_folder import (
    NAME,
    SIGNATURE,
    WEIGHTS,
    check_folder,
    check_signature,
    check_weights,
    hashes_of,
)
from tasks.registry.versions import MODEL, downloaded, files_of

Array = np.ndarray[Any, Any]

# The most that a probability may differ from the one that was recorded, 0 to 1. Measured on 47
# images with `baseline` and `residual`: between batches, numbers of threads, processors (SSE 4.1
# and AVX-512), oneDNN or not, and TensorFlow or JAX, answers differ by at most 2.4e-7; with weights
# rounded to the ten bits of a GPU's TF32, by at most 8e-5. Of the layers, the one that does least
# changes an answer by 2.2e-2 when its weights are zero.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Golden:
    """Golden images: images with the answers that the judged model gave to them.

    Attributes:
        image_ids: Ids of the images.
        classes: Class of each answer.
        pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255, as the model got them.
        answers: float64 ``(n, classes)``, the probabilities that `evaluate` recorded.
    """

    image_ids: tuple[str, ...]
    classes: tuple[str, ...]
    pixels: Array
    answers: Array


def check_served(client: Any, registered: Registered, golden: Golden | None) -> str:
    """Load a version from where MLflow serves it, and compare it with the model that was judged.

    The whole folder of the version is downloaded from the address under which ``models:/`` finds
    it. Its files are compared with the record. Then the model is loaded in a clean process, see
    `tasks.registry.clean_process`, and its answers are compared with those of the golden images.

    Args:
        client: MLflow's client.
        registered: The record of the version.
        golden: The golden images of the version's evidence; None if there are none.

    Returns:
        What was checked, in words.

    Raises:
        Corrupt: MLflow serves something else.
        BadInput: MLflow does not hold the version.
        Momentary: MLflow failed, or the machine did not let the model answer.
    """
    what = f"Version {registered.version} of {registered.name}"
    with tempfile.TemporaryDirectory() as temporary:
        source = client.get_model_version_download_uri(registered.name, str(registered.version))
        folder = downloaded(source, Path(temporary), what)
        held = check_folder(folder, what, registered.model_sha256, registered.files)
        if SIGNATURE in registered.files:  # else the record, which is signed itself, vouches alone
            signed = check_signature(folder, what)
            held = f"{held}; {signed}" if signed else held
        if golden is None:
            return held
        return f"{held}; {check_answers(folder / WEIGHTS, golden, what)}"


def standing_files(
    client: Any, store: Store, version: int, made_by: str, model_sha256: str
) -> dict[str, str]:
    """SHA-256 of each file of a version that was registered before, by path inside its folder.

    Without a key, MLflow's tag says it. With a key, whoever can write MLflow is not believed: the
    signed record of the run that made the version says it, or the folder's own signature.

    Args:
        client: MLflow's client.
        store: The store.
        version: The version.
        made_by: Address of the run that made it, by MLflow's tags.
        model_sha256: SHA-256 of the ``.keras`` file that was judged.

    Raises:
        Corrupt: There is a key, and neither the record nor the folder is signed.
    """
    if not keys_here().on:
        return files_of(client, version)
    there, _, name = made_by.rpartition("/runs/")
    made = read_record(store, name, "register") if there == store.uri else None
    model = (version, model_sha256)
    if isinstance(made, Registered) and (made.version, made.model_sha256) == model:
        return made.files
    what = f"Version {version} of {MODEL}"
    with tempfile.TemporaryDirectory() as temporary:
        source = client.get_model_version_download_uri(MODEL, str(version))
        folder = downloaded(source, Path(temporary), what)
        check_signature(folder, what)
        found = hashes_of(folder)
    found.pop(NAME, None)
    check_weights(found, what, model_sha256)
    return found


def check_answers(model: Path, golden: Golden, what: str) -> str:
    """Ask a model in a clean process about golden images.

    Args:
        model: A ``.keras`` file.
        golden: The images, and the answers to expect.
        what: The model, for the message.

    Returns:
        How far the answers differ, in words.

    Raises:
        Corrupt: An answer differs by more than `TOLERANCE`.
        Momentary: The machine did not let the model answer.
    """
    return compared(answers_apart(model, golden.pixels, what), golden, what, " in a clean process")


def compared(given: Array, golden: Golden, what: str, where: str = "") -> str:
    """Compare answers with those that `evaluate` recorded.

    Args:
        given: ``(n, classes)``, the answers to the golden images.
        golden: The images, and the answers to expect.
        what: The model, for the message.
        where: Where the model was asked, for the answer.

    Returns:
        How far the answers differ, in words.

    Raises:
        Corrupt: An answer differs by more than `TOLERANCE`.
    """
    if given.shape != golden.answers.shape or not np.isfinite(given).all():
        raise _other_answers(
            what,
            f"probabilities of shape {golden.answers.shape}",
            f"{'numbers' if np.isfinite(given).all() else 'no numbers'}, of shape {given.shape}",
        )
    apart = np.abs(given.astype(float) - golden.answers)
    image, output = np.unravel_index(int(apart.argmax()), apart.shape)
    largest = float(apart[image, output])
    if largest > TOLERANCE:
        raise _other_answers(
            what,
            f"{golden.classes[output]} {golden.answers[image, output]:.6f} for image "
            f"{golden.image_ids[image]}, as when the model was judged, within {TOLERANCE}",
            f"{given[image, output]:.6f}; {int((apart > TOLERANCE).any(axis=1).sum())} of "
            f"{len(apart)} golden images are answered otherwise",
        )
    return (
        f"{len(apart)} golden images are answered{where} as when the model was "
        f"judged, largest difference {largest:.1g} (tolerance {TOLERANCE})"
    )


def _other_answers(what: str, expected: str, received: str) -> Corrupt:
    return Corrupt(
        f"{what} does not answer as the model that was judged.",
        expected=expected,
        received=received,
        do="find out who changed the model, or which library computes otherwise; do not promote it",
    )
