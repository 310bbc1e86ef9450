"""Saliency maps by occlusion: which places of an image speak for melanoma.

Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014. A square of the
image is covered with the image's mean colour; the fall of the score measures how much the square
contributes. The score is the log-odds of melanoma, because the probability of a missed melanoma is
near 0 and hardly changes when its odds double. Occlusion needs only predictions, so it works with
every Keras backend.
"""

import io
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, Any]

GRID = 8  # places along each side
SPREAD = 2  # width of a cover in places, so that neighbouring covers overlap
STRONGEST = 0.8  # opacity of the largest change
LEAST_SCALE = 0.7  # log-odds: a change of the odds by less than a factor of 2 is drawn pale
LOWERS, RAISES = (33, 102, 172), (178, 24, 43)  # blue and red that the colour-blind can tell apart


def occlusion(predict: Callable[[Array], Array], image: Array) -> Array:
    """How much each place of an image adds to a score.

    Args:
        predict: Function from images, uint8 ``(n, side, side, 3)``, to scores, float ``(n,)``.
        image: uint8 ``(side, side, 3)``, RGB.

    Returns:
        float ``(GRID, GRID)``: the score of the whole image minus the mean score with the place
        covered. Above 0, the place speaks for the class.
    """
    side = image.shape[0]
    edges = np.linspace(0, side, GRID + 1).round().astype(int)
    starts = list(product(range(1 - SPREAD, GRID), repeat=2))
    covered = np.repeat(image[None], len(starts), axis=0)
    touched = np.zeros((len(starts), GRID, GRID), bool)
    mean = image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    for number, (row, column) in enumerate(starts):
        rows = slice(max(0, row), min(GRID, row + SPREAD))
        columns = slice(max(0, column), min(GRID, column + SPREAD))
        touched[number, rows, columns] = True
        covered[
            number,
            edges[rows.start] : edges[rows.stop],
            edges[columns.start] : edges[columns.stop],
        ] = mean
    scores = predict(np.concatenate([image[None], covered]))
    fall = scores[0] - scores[1:]
    weight = touched.astype(float)
    return np.asarray(np.tensordot(fall, weight, 1) / weight.sum(axis=0))


def drawn(image: Array, heat: Array) -> bytes:
    """A PNG of the image beside the same image under its saliency map: red for, blue against.

    Args:
        image: uint8 ``(side, side, 3)``, RGB.
        heat: As `occlusion` gives it; the largest absolute value has the strongest colour.
    """
    side = image.shape[0]
    scale = max(LEAST_SCALE, float(np.abs(heat).max()))
    smooth = np.asarray(
        Image.fromarray((heat / scale).astype(np.float32)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
    ).clip(-1, 1)[..., None]
    grey = image.mean(axis=-1, keepdims=True)
    colour = np.where(smooth > 0, np.array(RAISES), np.array(LOWERS))
    opacity = STRONGEST * np.abs(smooth)
    shaded = (grey * (1 - opacity) + colour * opacity).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate([image, shaded], axis=1)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
