"""Compute the figures of a model from its predictions, with intervals.

Predictions are a table with a row for each image: ``image_id``, ``lesion``, ``label``, ``source``,
``age_years``, ``sex``, ``site``, ``skin_tone``, ``sharpness``, and a probability (0 to 1) in a
column for each class. Figures count lesions, see `tasks.records.figures.Figures`.

A label that is none of the classes, such as `tasks.lesions.OTHER`, says that a lesion is not
melanoma and no more: the lesion counts for sensitivity, specificity, areas, calibration and
subgroups, and not for the figures of classes: accuracy, recalls, confusion.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.appearance import sharpness, skin_tones, thirds
from tasks.lesions import MELANOMA, Diagnosis
from tasks.records.figures import (
    Calibration,
    ClassFigures,
    Estimate,
    Figures,
    MixedArchives,
    Proportion,
    Subgroup,
    Trait,
    WithinSource,
)
from tasks.statistics.calibration import brier, reliability
from tasks.statistics.confidence import CONFIDENCE
from tasks.statistics.proportions import mean_of_proportions, predictive_value, proportion
from tasks.statistics.ranking import auc, partial_auc
from tasks.statistics.resampling import BOOTSTRAP, resampled

Array = np.ndarray[Any, Any]

NEVUS: Diagnosis = "nevus"
KEPT = ("image_id", "group", "label", "source", "age_years", "sex", "site")  # manifest columns
THRESHOLD = "threshold"  # column of predictions: threshold of the model that made the row
# With fewer melanomas or fewer other lesions, a subgroup's interval is wider than half the scale.
FEWEST = 10

TRAITS: dict[Trait, str] = {
    "source": "source",
    "age": "age",
    "sex": "sex",
    "site": "site",
    "skin tone (estimate)": "skin_tone",
    "sharpness": "sharpness",
}
AGE_BANDS = ((0, 30), (30, 50), (50, 70), (70, 200))  # years, the upper one excluded


def figures(
    predictions: pd.DataFrame,
    classes: tuple[Diagnosis, ...],
    threshold: float | None,
    prevalence: dict[Diagnosis, float],
    confidence: float = CONFIDENCE,
) -> Figures:
    """Every figure of a model on labelled images.

    Args:
        predictions: As above, at least one row.
        classes: Names of the columns with probabilities.
        threshold: Melanoma probability at or above which a lesion is called melanoma. None for
            predictions of several models: each row holds its threshold in the column `THRESHOLD`.
        prevalence: Prevalence of each class for which it is stated, 0 to 1.
        confidence: Confidence, 0 to 1, of the intervals that the gate judges: balanced accuracy,
            areas under the ROC curve within an archive, calibration error. All others have 95 %.
    """
    lesions = by_lesion(predictions, classes)
    truth = lesions["label"]
    called = lesions[MELANOMA] >= (lesions[THRESHOLD] if threshold is None else threshold)
    melanoma = truth == MELANOMA
    found, spared = _hits(called, melanoma), _hits(~called, ~melanoma)
    classed = lesions[truth.isin(classes)]
    answers = most_probable(classed, classes)
    per_class = {name: _of_class(classed, answers, name, prevalence.get(name)) for name in classes}
    stated = prevalence.get(MELANOMA)
    return Figures(
        images=len(predictions),
        lesions=len(lesions),
        classes=classes,
        threshold=threshold,
        sensitivity=found,
        specificity=spared,
        prevalence=stated,
        ppv=None if stated is None else predictive_value(found, spared, stated),
        auc=_separated(lesions, melanoma, auc),
        partial_auc=_separated(lesions, melanoma, partial_auc),
        accuracy=_hits(answers == classed["label"], pd.Series(True, classed.index)),
        balanced_accuracy=mean_of_proportions(
            [each.recall for each in per_class.values()], confidence
        ),
        accuracy_of_images=_by_image(predictions, classes, balanced=False),
        balanced_accuracy_of_images=_by_image(predictions, classes, balanced=True),
        per_class=per_class,
        confusion=_confusion(classed["label"], answers, classes),
        calibration=_calibration(lesions, melanoma, confidence),
        within_source=_within_source(lesions, confidence),
        subgroups=_subgroups(lesions, called),
        called={name: _hits(called, truth == name) for name in classes},
        mixed=_mixed(lesions, called),
    )


def described(rows: pd.DataFrame, pixels: Array) -> pd.DataFrame:
    """The columns of predictions other than probabilities.

    Args:
        rows: Rows of the manifest or of a later table.
        pixels: Pixels of these rows, uint8 ``(n, side, side, 3)``, RGB, 0 to 255.
    """
    return described_by(rows, skin_tones(pixels), sharpness(pixels))


def described_by(rows: pd.DataFrame, tones: list[str | None], sharp: Array) -> pd.DataFrame:
    """`described`, where skin tones and sharpness of the images are known."""
    known = [name for name in KEPT if name in rows]
    return (
        rows[known]
        .reset_index(drop=True)
        .assign(
            lesion=rows["lesion_id"].fillna(rows["image_id"]).to_numpy(),
            skin_tone=pd.Series(tones, dtype="str"),
            sharpness=thirds(sharp),
        )
    )


def by_lesion(predictions: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """One row for each lesion: mean probabilities, ``image_ids`` as a tuple, its traits.

    The probabilities in `columns` are means over the lesion's images; all other values are those of
    its first image. A trait that no image has is missing; ``age`` is a band.
    """
    grouped = predictions.sort_values("image_id").groupby(["lesion", "label"], sort=True)
    table = grouped[list(columns)].mean()
    table["image_ids"] = grouped["image_id"].agg(tuple)
    for column in ("source", "age_years", "sex", "site", "skin_tone", "sharpness", THRESHOLD):
        if column in predictions:
            table[column] = grouped[column].first()
    table["age"] = table["age_years"].map(age_band)
    return table.reset_index()


def operating_threshold(lesions: pd.DataFrame, target_sensitivity: float) -> float:
    """The highest threshold that reaches the target sensitivity.

    Args:
        lesions: As `by_lesion` gives them, with at least one melanoma.
        target_sensitivity: Share of melanomas at or above the threshold, 0 to 1.
    """
    scores = np.sort(lesions.loc[lesions["label"] == MELANOMA, MELANOMA].to_numpy())[::-1]
    needed = max(1, math.ceil(target_sensitivity * len(scores) - 1e-9))
    return float(scores[needed - 1])


def age_band(years: Any) -> str | None:
    """The band of an age, such as "50 to 69"; None if it is not known."""
    if pd.isna(years):
        return None
    low, high = next(band for band in AGE_BANDS if band[0] <= max(0, years) < band[1])
    return f"{low} or older" if high > 150 else f"{low} to {high - 1}"


def most_probable(table: pd.DataFrame, classes: tuple[Diagnosis, ...]) -> pd.Series:
    """The class with the highest probability in each row."""
    return table[list(classes)].idxmax(axis=1)


def balanced_accuracy(predictions: pd.DataFrame, classes: tuple[Diagnosis, ...]) -> float:
    """Mean recall over the classes that occur, by lesion."""
    lesions = by_lesion(predictions, classes)
    hits = most_probable(lesions, classes) == lesions["label"]
    return float(hits.groupby(lesions["label"]).mean().mean())


def _hits(right: pd.Series, among: pd.Series) -> Proportion:
    return proportion(int((right & among).sum()), int(among.sum()))


def _separated(
    lesions: pd.DataFrame,
    positive: pd.Series,
    area: Callable[[Array, Array], Estimate],
    column: str = MELANOMA,
) -> Estimate:
    scores = lesions[column].to_numpy(float)
    return area(scores[positive], scores[~positive])


def _of_class(
    lesions: pd.DataFrame, answers: pd.Series, name: Diagnosis, prevalence: float | None
) -> ClassFigures:
    own = lesions["label"] == name
    recall, specificity = _hits(answers == name, own), _hits(answers != name, ~own)
    return ClassFigures(
        recall=recall,
        specificity=specificity,
        prevalence=prevalence,
        ppv=None if prevalence is None else predictive_value(recall, specificity, prevalence),
        auc=_separated(lesions, own, auc, name),
    )


def _by_image(
    predictions: pd.DataFrame, classes: tuple[Diagnosis, ...], *, balanced: bool
) -> Estimate:
    """Accuracy over images. The interval resamples lesions, whose images are not independent."""
    classed = predictions[predictions["label"].isin(classes)]
    if classed.empty:
        return Estimate(value=None, lower=None, upper=None, n=0, method=BOOTSTRAP)
    right = most_probable(classed, classes) == classed["label"]
    counted = right.groupby([classed["label"], classed["lesion"]]).agg(["sum", "size"])
    if balanced:
        strata = [part.to_numpy(float) for _, part in counted.groupby(level="label")]
    else:
        strata = [counted.to_numpy(float)]

    def mean_accuracy(*weights: Array) -> Array:
        shares = [
            weight @ part[:, 0] / (weight @ part[:, 1])
            for weight, part in zip(weights, strata, strict=True)
        ]
        return np.asarray(np.mean(shares, axis=0))

    return resampled(mean_accuracy, *(len(part) for part in strata))


def _confusion(
    truth: pd.Series, answers: pd.Series, classes: tuple[Diagnosis, ...]
) -> tuple[tuple[int, ...], ...]:
    places = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (truth.map(places).to_numpy(int), answers.map(places).to_numpy(int)), 1)
    return tuple(tuple(map(int, row)) for row in counts)


def _calibration(lesions: pd.DataFrame, melanoma: pd.Series, confidence: float) -> Calibration:
    probability, truth = lesions[MELANOMA].to_numpy(float), melanoma.to_numpy(float)
    expected_error, bins = reliability(probability, truth, confidence)
    return Calibration(expected_error=expected_error, brier=brier(probability, truth), bins=bins)


def _within_source(lesions: pd.DataFrame, confidence: float) -> tuple[WithinSource, ...]:
    found = []
    for source, part in lesions[lesions["label"].isin([MELANOMA, NEVUS])].groupby("source"):
        melanoma = part["label"] == MELANOMA
        if melanoma.any() and not melanoma.all():
            found.append(
                WithinSource(
                    source=str(source),
                    melanomas=int(melanoma.sum()),
                    nevi=int((~melanoma).sum()),
                    auc=_separated(part, melanoma, partial(auc, confidence=confidence)),
                )
            )
    return tuple(found)


def _mixed(lesions: pd.DataFrame, called: pd.Series) -> MixedArchives:
    """The figures over the archives that hold both melanomas and other lesions."""
    archives = lesions["source"].fillna("unknown")
    melanoma = lesions["label"] == MELANOMA
    share = melanoma.groupby(archives).mean()
    both = tuple(str(name) for name, of in share.items() if 0 < of < 1)
    counted = archives.isin(both)
    part = lesions[counted]
    return MixedArchives(
        archives=both,
        left_out={
            str(name): int(count)
            for name, count in archives[~counted].value_counts(sort=False).sort_index().items()
        },
        lesions=len(part),
        sensitivity=_hits(called[counted], melanoma[counted]),
        specificity=_hits(~called[counted], ~melanoma[counted]),
        auc=_separated(part, melanoma[counted], auc),
    )


def _subgroups(lesions: pd.DataFrame, called: pd.Series) -> tuple[Subgroup, ...]:
    found = []
    for trait, column in TRAITS.items():
        for value, part in lesions.groupby(column, sort=True):
            melanoma, own = part["label"] == MELANOMA, called[part.index]
            found.append(
                Subgroup(
                    trait=trait,
                    value=str(value),
                    lesions=len(part),
                    sensitivity=_hits(own, melanoma),
                    specificity=_hits(~own, ~melanoma),
                    auc=_separated(part, melanoma, auc),
                    sufficient=min(melanoma.sum(), (~melanoma).sum()) >= FEWEST,
                )
            )
    return tuple(found)
