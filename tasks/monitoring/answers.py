"""The model's answers, a few images at a time. Only this module of the package loads Keras, which
takes seconds: whoever can be told something before imports it late."""

from typing import Any

import numpy as np
import pandas as pd

from tasks.errors import BadInput
from tasks.evaluation.appearance import sharpness, skin_tones
from tasks.evaluation.scoring import described_by
from tasks.model_file import answers_of, from_bytes
from tasks.monitoring.pictures import pixels_in_turn
from tasks.monitoring.subject import Subject

Array = np.ndarray[Any, Any]


def answered(subject: Subject, rows: pd.DataFrame) -> pd.DataFrame:
    """The table of predictions, as `tasks.evaluation.scoring` defines it: one row for each image.

    Args:
        subject: The model.
        rows: As `tasks.monitoring.pictures.looked_at` gives them, index 0 to n - 1.

    Raises:
        BadInput: The file is no model; or the model has another number of outputs than classes.
        Momentary: An image changed since it was looked at.
    """
    model = from_bytes(subject.data)
    probabilities, tones, sharp = list[Array](), list[str | None](), list[Array]()
    for pixels in pixels_in_turn(list(rows["file"]), subject.packed_px):
        probabilities.append(answers_of(model, pixels).astype(float))
        _check_outputs(probabilities[-1], subject)
        tones += skin_tones(pixels)
        sharp.append(sharpness(pixels))
    table = described_by(rows, tones, np.concatenate(sharp))
    answers = np.concatenate(probabilities).T
    return table.assign(**dict(zip(subject.classes, answers, strict=True)))


def _check_outputs(probabilities: Array, subject: Subject) -> None:
    if probabilities.shape[1] != len(subject.classes):
        raise BadInput(
            "The classes of the model are not known.",
            expected=f"{len(subject.classes)} outputs",
            received=f"{probabilities.shape[1]} outputs",
            do="give the evidence of the model, which names its classes: --evidence",
        )
