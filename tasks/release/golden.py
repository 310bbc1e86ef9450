"""Golden images: a few test images, with the answers that the judged model gave to them.

The evidence holds their pixels, so that anybody can ask a model whether it is the one that was
judged. A hash says whether the bytes are the same; golden images say whether the bytes, loaded by
the libraries that serve them, still answer the same.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from tasks.engine.run import Run
from tasks.errors import Corrupt
from tasks.intake.manifest import parquet_of, pixels_of, read_parquet, to_npy
from tasks.records.evaluated import Evaluated
from tasks.records.record import Frozen, sha256
from tasks.records.split import Split
from tasks.registry.served import Golden

LEAST = 32  # golden images, where the test part has as many
FOLDER = "golden/"  # of a bundle
PIXELS, ANSWERS = f"{FOLDER}pixels.npy", f"{FOLDER}answers.json"


class Answered(Frozen):
    """A golden image, and the probability of each class that `evaluate` recorded."""

    image_id: str
    label: str
    probabilities: tuple[float, ...]


class Answers(Frozen):
    """The file `ANSWERS`: the golden images in the order of the file `PIXELS`."""

    classes: tuple[str, ...]
    images: tuple[Answered, ...]


def golden_files(run: Run, split: Split, evaluated: Evaluated) -> Iterator[tuple[str, bytes]]:
    """Path inside the bundle, and content, of the files of the golden images.

    Args:
        run: Names the store with the pixels.
        split: Names the test part.
        evaluated: Names the predictions.

    Raises:
        Corrupt: The predictions are not those of the test part.
    """
    rows = read_parquet(run, split.parts)
    predictions = parquet_of(run.fetch(evaluated.predictions))
    golden, labels = golden_among(run, rows, predictions, evaluated)
    answers = Answers(
        classes=golden.classes,
        images=tuple(
            Answered(image_id=image_id, label=label, probabilities=tuple(row.tolist()))
            for image_id, label, row in zip(golden.image_ids, labels, golden.answers, strict=True)
        ),
    )
    yield PIXELS, to_npy(golden.pixels)
    yield ANSWERS, answers.model_dump_json(indent=1).encode()


def golden_among(
    run: Run, parts: pd.DataFrame, predictions: pd.DataFrame, evaluated: Evaluated
) -> tuple[Golden, tuple[str, ...]]:
    """Golden images of a test part, and their labels.

    Args:
        run: Names the store with the pixels.
        parts: Rows of the parts, of all sides.
        predictions: The predictions of `evaluated`, in the order of the test part.
        evaluated: Names the classes.

    Raises:
        Corrupt: The predictions are not those of the test part, or the pixels were changed.
        NotFound: The pixels are gone.
    """
    test = parts[parts["side"] == "test"].reset_index(drop=True)
    if test["image_id"].tolist() != predictions["image_id"].tolist():
        raise Corrupt(
            "The predictions are not those of the test part.",
            expected=f"a prediction for each of {len(test)} images, in their order",
            received=f"{len(predictions)} predictions",
            do="find out who changed the predictions or the split; then start a new run",
        )
    places = chosen(test)
    rows = test.iloc[places]
    golden = Golden(
        image_ids=tuple(map(str, rows["image_id"])),
        classes=evaluated.classes,
        pixels=pixels_of(run, rows),
        answers=predictions.iloc[places][list(evaluated.classes)].to_numpy(float),
    )
    return golden, tuple(map(str, rows["label"]))


def chosen(test: pd.DataFrame) -> list[int]:
    """Which rows of a test part become golden images: `LEAST`, as evenly over the classes as the
    test part allows, at least one of each class; all, if there are fewer.

    Within a class the SHA-256 of the image id decides, so the choice depends on nothing else.
    """
    digests = [sha256(str(image_id).encode()) for image_id in test["image_id"]]
    ordered = pd.DataFrame({"label": test["label"].astype(str), "digest": digests})
    ordered = ordered.reset_index(drop=True).sort_values(["label", "digest"])
    ordered["turn"] = ordered.groupby("label").cumcount()
    count = max(LEAST, ordered["label"].nunique())
    return [int(place) for place in ordered.sort_values(["turn", "label"]).index[:count]]


def golden_from(read: Callable[[str], bytes]) -> tuple[Golden, tuple[str, ...]]:
    """The golden images of a bundle, and their labels.

    Args:
        read: Gives the content of a file of the bundle.

    Raises:
        Corrupt: The files cannot be read, or do not belong together.
    """
    try:
        answers = Answers.model_validate_json(read(ANSWERS))
        pixels: Any = np.load(io.BytesIO(read(PIXELS)), allow_pickle=False)
        told = [each.probabilities for each in answers.images]
        probabilities = np.array(told, float) if told else np.zeros((0, len(answers.classes)))
    except (ValidationError, ValueError, EOFError) as error:
        raise _flawed("as the evidence writes them", " ".join(str(error).split())[:200]) from error
    shape = (len(answers.images), len(answers.classes))
    if probabilities.shape != shape or not np.isfinite(probabilities).all():
        raise _flawed(f"probabilities of shape {shape}", f"{probabilities.shape}, or no numbers")
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[::3] != (shape[0], 3):
        raise _flawed(f"uint8 pixels ({shape[0]}, side, side, 3)", f"{pixels.dtype} {pixels.shape}")
    golden = Golden(
        image_ids=tuple(each.image_id for each in answers.images),
        classes=answers.classes,
        pixels=pixels,
        answers=probabilities,
    )
    return golden, tuple(each.label for each in answers.images)


def _flawed(expected: str, received: str) -> Corrupt:
    return Corrupt(
        "The golden images of the evidence cannot be read.",
        expected=expected,
        received=received,
        do="do not rely on this bundle; find out who changed it",
    )
