"""The predictions of a model on labelled images: the table that `tasks.evaluation.scoring` scores.

This module is separate from `tasks.training.learner`, so that a change of a figure does not make
trained models obsolete.
"""

from typing import Any

import keras
import numpy as np
import pandas as pd

from tasks.evaluation.scoring import described
from tasks.lesions import Diagnosis
from tasks.model_file import answers_of

Array = np.ndarray[Any, Any]


def predicted(
    model: keras.Model, rows: pd.DataFrame, pixels: Array, classes: tuple[Diagnosis, ...]
) -> pd.DataFrame:
    """The table of predictions, as `tasks.evaluation.scoring` defines it: one row for each image.

    Args:
        model: Model from images to class probabilities, preprocessing included.
        rows: Rows of the manifest or of a later table.
        pixels: Pixels of these rows, uint8 ``(n, side, side, 3)``, RGB, 0 to 255.
        classes: Class of each output of the model.
    """
    probabilities = answers_of(model, pixels).astype(float)
    return described(rows, pixels).assign(**dict(zip(classes, probabilities.T, strict=True)))
