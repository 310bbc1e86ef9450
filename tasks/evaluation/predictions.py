"""What a model answers on labelled images: the table that `tasks.evaluation.scoring` makes figures
of.

Apart from `tasks.training.learner`, so that what is trained does not depend on how it is judged: a
change in a figure throws no training away.
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
    """What `tasks.evaluation.scoring` calls predictions: a row for each image, in their order.

    Args:
        model: From images to class probabilities, with its own preprocessing.
        rows: Of the manifest or a later table.
        pixels: Of these rows, uint8 ``(n, side, side, 3)``, RGB, 0 to 255.
        classes: What the outputs stand for.
    """
    probabilities = answers_of(model, pixels).astype(float)
    return described(rows, pixels).assign(**dict(zip(classes, probabilities.T, strict=True)))
