"""Ask whether what stands beside a lesion tells melanoma from the rest.

A network learns whatever tells. If rulers, black corners or the files of one clinic tell, a network
that never looked at a lesion reaches high figures on its own archive, and fails elsewhere. So a
small classifier is asked, which sees everything but the lesion: a ridge regression on figures cut
into tenths, so that each figure counts by a curve of its own (a generalized additive model, Hastie
& Tibshirani, Statistical Science 1:297-310, 1986). Each lesion is scored out of fold.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import solve

from tasks.intake.surroundings import GROUPS, OF_THE_WHOLE, WHOLE
from tasks.records.figures import Estimate
from tasks.records.shortcuts import Beside, Telling, TellingSource
from tasks.statistics.ranking import auc

Array = np.ndarray[Any, Any]

FOLDS = 5
BINS = 10  # tenths
RIDGE = 10.0  # lesions that a tenth must hold before its own share of melanomas counts by half
SEED = 1  # of the folds, not of the run: the same data give the same answer
FEWEST = 30  # melanomas, and other lesions: fewer show nothing, whatever the figures
FEWEST_OF_SOURCE = 20  # lesions from a source that is named
# The lower bound of an area at which a thing counts as a shortcut. One that stands on every
# melanoma and on a fifth of the others has an area of 0.90. With nothing planted, large lesions
# that reach the border give lower bounds of up to 0.66 on real images of one archive, and of up to
# 0.74 on drawn ones: see docs/campaigns.md, shortcuts.
SHORTCUT = 0.75
SOURCE = "source"


def beside_of(figures: pd.DataFrame, melanoma: Array, groups: pd.Series) -> Beside | None:
    """How well each thing beside the lesion tells melanoma from all other lesions.

    Args:
        figures: The columns of `tasks.intake.surroundings.figures_of`, and the column `SOURCE`.
        melanoma: bool ``(n,)``: whether each image shows a melanoma.
        groups: The lesion of each image, so that no lesion is on both sides of a fold.

    Returns:
        None where there are fewer than `FEWEST` melanomas or other lesions.
    """
    lesion = pd.factorize(groups)[0]
    truth = np.zeros(lesion.max(initial=-1) + 1, bool)
    np.logical_or.at(truth, lesion, melanoma)
    if min(truth.sum(), (~truth).sum()) < FEWEST:
        return None
    fold = _folds(truth)[lesion]
    coded = {name: _coded(figures[name]) for name in figures}

    def asked(about: str, names: tuple[str, ...], *, counts: bool = True) -> Telling:
        scores = out_of_fold(np.hstack([coded[name] for name in names]), melanoma, fold)
        area = _by_lesion(scores, lesion, truth)
        return Telling(about=about, auc=area, shortcut=counts and (area.lower or 0) >= SHORTCUT)

    def named(told: Telling, names: tuple[str, ...]) -> Telling:
        """With the figure that tells most, which takes time to find, where it matters."""
        if not told.shortcut or len(names) < 2:
            return told
        most = max(names, key=lambda name: asked(name, (name,)).auc.value or 0)
        return told.model_copy(update={"most": most})

    known = (*GROUPS.items(), (SOURCE, (SOURCE,)))
    things = [named(asked(about, names), names) for about, names in known]
    beside = tuple(name for names in GROUPS.values() for name in names)
    return Beside(
        images=len(figures),
        melanomas=int(truth.sum()),
        others=int((~truth).sum()),
        # Large lesions reach the border and take bytes: such weak signs add up, by right.
        everything=asked("everything beside the lesion", beside, counts=False),
        things=tuple(sorted(things, key=lambda each: -(each.auc.value or 0))),
        with_lesion=asked(OF_THE_WHOLE, WHOLE, counts=False),
        sources=_sources(figures[SOURCE].to_numpy(), lesion, truth),
    )


def _folds(truth: Array) -> Array:
    """The fold of each lesion, int ``(lesions,)``: melanomas and others are dealt out alike."""
    order = np.random.default_rng(SEED).permutation(len(truth))
    order = order[np.argsort(truth[order], kind="stable")]
    fold = np.empty(len(truth), int)
    fold[order] = np.arange(len(truth)) % FOLDS
    return fold


def _coded(values: pd.Series) -> Array:
    """A figure as one column for each of its tenths, or of its texts: float ``(n, columns)``."""
    if pd.api.types.is_numeric_dtype(values):
        known = values.to_numpy(float)
        cuts = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
        # A value that many images share begins a part of its own, so that one part holds it alone.
        code, parts = np.searchsorted(cuts, known, side="right"), len(cuts) + 1
    else:
        code, names = pd.factorize(values)
        parts = len(names)
    return np.eye(parts)[code]


def out_of_fold(table: Array, melanoma: Array, fold: Array) -> Array:
    """The score of each image by a ridge regression on the images of all other folds.

    Melanomas weigh as much as all others together.

    Args:
        table: float ``(n, columns)``.
        melanoma: bool ``(n,)``.
        fold: int ``(n,)``, 0 to FOLDS - 1. Images of one lesion have one fold.

    Returns:
        float ``(n,)``, higher where melanoma is likelier; 0 where the table tells nothing.
    """
    scores = np.zeros(len(melanoma))
    for held in (fold == number for number in range(FOLDS)):
        known, truth = table[~held], melanoma[~held]
        share = truth.mean()
        weight = np.where(truth, 1 - share, share)[:, None] * 2
        known = known - (middle := (weight * known).sum(axis=0) / weight.sum())
        ridge = RIDGE * np.eye(known.shape[1])
        slopes = solve(
            (weight * known).T @ known + ridge,
            (weight * known).T @ np.where(truth, 0.5, -0.5),
            assume_a="pos",
        )
        scores[held] = (table[held] - middle) @ slopes
    # Sums in another order differ in their last digits, which must not break ties.
    return np.asarray(scores.round(9))


def _by_lesion(scores: Array, lesion: Array, truth: Array) -> Estimate:
    """The area under the ROC curve of the mean score over each lesion's images."""
    mean = np.bincount(lesion, scores) / np.bincount(lesion)
    return auc(mean[truth], mean[~truth])


def _sources(source: Array, lesion: Array, truth: Array) -> tuple[TellingSource, ...]:
    """Each source as a rule by itself, what tells most first."""
    found = []
    for name in sorted(set(source)):
        share = np.bincount(lesion, source == name) / np.bincount(lesion)
        own = share > 0
        if own.sum() < FEWEST_OF_SOURCE or own.all():
            continue
        sign = 1 if share[truth].mean() >= share[~truth].mean() else -1
        area = auc(sign * share[truth], sign * share[~truth])
        found.append(
            TellingSource(
                source=str(name),
                lesions=int(own.sum()),
                melanomas=int((own & truth).sum()),
                auc=area,
                shortcut=(area.lower or 0) >= SHORTCUT,
            )
        )
    return tuple(sorted(found, key=lambda each: -(each.auc.value or 0)))
