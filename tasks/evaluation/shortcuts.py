"""Ask a model again about images on which everything but the lesion was changed.

A model that looks at lesions keeps its answers when a ruler is drawn on, a black corner is taken
off, or the border is masked. How many answers turn, and which way, says what else it looks at. With
the centre masked it is the other way round: a model that still tells melanomas from other lesions
has not looked at the lesion.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pandas as pd

from tasks.evaluation.overlays import Overlay, drawn_on
from tasks.evaluation.taken_off import Removable, without
from tasks.lesions import MELANOMA
from tasks.records.shortcuts import CHANGES, Change, Probe, Probes, Turned
from tasks.statistics.pairs import score_bounds
from tasks.statistics.ranking import auc

Array = np.ndarray[Any, Any]
Predict = Callable[[Array], Array]

BORDER = 0.16  # share of the side that "border masked" hides, at each edge
CENTRE = 0.60  # share of the side that "centre masked" hides, in the middle
GREY_WEIGHTS = np.array([77, 150, 29], np.uint16)  # in 256ths: ITU-R BT.601
DRAWN, OFF = " drawn on", " taken off"
# Lesions that are asked about: more would say little more, and each costs a dozen predictions.
MOST_MELANOMAS, MOST_OTHERS = 150, 150


def column_of(change: Change) -> str:
    """The column of predictions with the melanoma probability after a change."""
    return f"{MELANOMA}, {change}"


def ask_again(predict: Predict, predictions: pd.DataFrame, pixels: Array) -> dict[str, Array]:
    """The melanoma probability of each image after each change.

    Args:
        predict: Function from images, uint8 ``(n, side, side, 3)``, to melanoma probabilities.
        predictions: As `tasks.evaluation.scoring` defines them.
        pixels: Pixels of its rows.

    Returns:
        float ``(n,)`` by name of the column. Missing: an image that is not asked about, or on which
        what should be taken off was not recognized.
    """
    asked = np.flatnonzero(predictions["lesion"].isin(_chosen(predictions)))
    # The variants of a drawing go by the order of the names, whatever the order of the rows.
    asked = asked[np.argsort(predictions["image_id"].to_numpy(str)[asked], kind="stable")]
    answers = {}
    for change in CHANGES:
        images, there = changed(change, pixels[asked])
        column = np.full(len(predictions), np.nan)
        if len(images):
            column[asked[there]] = predict(images)
        answers[column_of(change)] = column
    return answers


def _chosen(predictions: pd.DataFrame) -> set[str]:
    """The lesions to ask about: the first of each kind by name, up to the most."""
    melanoma = predictions["label"] == MELANOMA
    return {
        str(lesion)
        for own, most in ((melanoma, MOST_MELANOMAS), (~melanoma, MOST_OTHERS))
        for lesion in sorted(predictions.loc[own, "lesion"].astype(str).unique())[:most]
    }


def changed(change: Change, pixels: Array) -> tuple[Array, Array]:
    """Images after a change, and which they are.

    Args:
        change: What to do.
        pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255; not changed.

    Returns:
        uint8 ``(m, side, side, 3)`` and their places among the n, int ``(m,)``. Only taking off
        leaves images out.
    """
    every = np.arange(len(pixels))
    if change == "border masked":
        return _masked(pixels, _frame_of(pixels.shape[1], BORDER)), every
    if change == "centre masked":
        middle = ~_frame_of(pixels.shape[1], (1 - CENTRE) / 2)
        return _masked(pixels, middle), every
    if change == "in grey":
        grey = (np.dot(pixels, GREY_WEIGHTS) + 128 >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=3), every
    if change.endswith(DRAWN):
        return drawn_on(cast(Overlay, change.removesuffix(DRAWN)), pixels), every
    kind = cast(Removable, change.removesuffix(OFF))
    bare = [without(kind, image) for image in pixels]
    there = [number for number, image in enumerate(bare) if image is not None]
    kept = [image for image in bare if image is not None]
    return np.stack(kept) if kept else pixels[:0], np.array(there, int)


def _frame_of(side: int, share: float) -> Array:
    wide = max(1, round(share * side))
    frame = np.ones((side, side), bool)
    frame[wide:-wide, wide:-wide] = False
    return frame


def _masked(pixels: Array, hidden: Array) -> Array:
    """Images with what is hidden in the median colour of the border, which is skin in most."""
    shown = pixels.copy()
    edge = _frame_of(pixels.shape[1], BORDER)
    colour = np.median(pixels[:, edge], axis=1).astype(np.uint8)
    shown[:, hidden] = colour[:, None, :]
    return shown


def probes_of(predictions: pd.DataFrame, threshold: float) -> Probes | None:
    """Count the answers that turn, by lesion.

    Args:
        predictions: With the columns of `ask_again`.
        threshold: Melanoma probability at or above which a lesion is called melanoma.

    Returns:
        None where the columns are missing, as in older runs.
    """
    known = [change for change in CHANGES if column_of(change) in predictions]
    if not known:
        return None
    asked = predictions[predictions[[column_of(change) for change in known]].notna().any(axis=1)]
    truth = asked.groupby("lesion", sort=True)["label"].first() == MELANOMA
    return Probes(
        images=len(asked),
        melanomas=int(truth.sum()),
        others=int((~truth).sum()),
        probes=tuple(
            _probe(change, asked, threshold)
            for change in known
            if asked[column_of(change)].notna().any()
        ),
    )


def _probe(change: Change, predictions: pd.DataFrame, threshold: float) -> Probe:
    answered = predictions[column_of(change)]
    own = predictions["lesion"].isin(predictions.loc[answered.notna(), "lesion"])
    rows = predictions[own]
    # An image on which nothing was recognized stays as it is.
    rows = rows.assign(after=answered[own].fillna(rows[MELANOMA]))
    lesions = rows.groupby(["lesion", "label"], sort=True)[[MELANOMA, "after"]].mean().reset_index()
    melanoma = (lesions["label"] == MELANOMA).to_numpy()
    before, after = (lesions[name].to_numpy() >= threshold for name in (MELANOMA, "after"))
    scores = lesions["after"].to_numpy(float)
    return Probe(
        change=change,
        melanomas=_turned(before[melanoma], after[melanoma]),
        others=_turned(~before[~melanoma], ~after[~melanoma]),
        auc=auc(scores[melanoma], scores[~melanoma]),
    )


def _turned(before: Array, after: Array) -> Turned:
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    lower, upper = score_bounds(gained, lost, len(before))
    return Turned(
        lesions=len(before),
        right_before=int(before.sum()),
        lost=lost,
        gained=gained,
        lower=lower,
        upper=upper,
    )
