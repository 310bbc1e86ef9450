"""evaluate: recipe and threshold chosen on validation, then the frozen test part scored once."""

import logging
import math
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_auc_score

from tasks.config import Recipe
from tasks.contracts import Evaluated, Split, Trained, TrainedRecipe
from tasks.lesions import MELANOMA
from tasks.manifest import pixels_of, read_parquet, to_parquet
from tasks.network import from_bytes
from tasks.run import Run
from tasks.statistics import proportion

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


def evaluate(run: Run, split: Split, trained: Trained) -> Evaluated:
    """Choose on validation, judge on test."""
    parts = read_parquet(run, split.parts)
    validation = parts[parts["side"] == "validation"].reset_index(drop=True)
    test = parts[parts["side"] == "test"].reset_index(drop=True)
    labels = list(trained.classes)

    scored = {each.recipe: _predict(run, each, validation, labels) for each in trained.recipes}
    balanced = {recipe: _balanced_accuracy(table, labels) for recipe, table in scored.items()}
    best = max(balanced, key=lambda recipe: balanced[recipe])
    chosen = next(each for each in trained.recipes if each.recipe == best)
    validation_lesions = by_lesion(scored[best])
    threshold = operating_threshold(validation_lesions, run.config.target_sensitivity)
    log.info(
        "Validation chooses %s (balanced accuracy %s) and a threshold of %.4f for melanoma.",
        best,
        ", ".join(f"{recipe} {value:.3f}" for recipe, value in balanced.items()),
        threshold,
    )
    predictions = _predict(run, chosen, test, labels)
    evaluated = _judge(run, chosen, predictions, validation_lesions, threshold, balanced, labels)
    found, spared = evaluated.sensitivity, evaluated.specificity
    log.info(
        "Test: of %d melanoma lesions it found %d; of %d other lesions it called %d melanoma. "
        "Accuracy %.3f over %d images, balanced accuracy %.3f.",
        found.n, found.successes, spared.n, spared.n - spared.successes,
        evaluated.accuracy.estimate or 0, evaluated.test_images, evaluated.balanced_accuracy,
    )  # fmt: skip
    return evaluated


def _predict(
    run: Run, trained: TrainedRecipe, rows: pd.DataFrame, labels: list[Any]
) -> pd.DataFrame:
    """One row per image: image_id, lesion, group, label, source, and a column per class."""
    model = from_bytes(run.fetch(trained.model))
    probabilities = model.predict(pixels_of(run, rows), batch_size=64, verbose=0)
    table = rows[["image_id", "group", "label", "source"]].copy()
    table["lesion"] = rows["lesion_id"].fillna(rows["image_id"])
    return pd.concat([table, pd.DataFrame(probabilities, columns=labels)], axis=1)


def by_lesion(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per lesion: ``melanoma`` (bool, the truth), ``score`` (mean probability, 0 to 1).

    Images of one lesion are not independent, so that a lesion counts once.
    """
    truth = (predictions["label"] == MELANOMA).rename("melanoma")
    grouped = predictions.groupby([predictions["lesion"], truth], sort=True)
    table = grouped.agg(score=(MELANOMA, "mean"), image_ids=("image_id", " ".join))
    return table.reset_index()


def operating_threshold(lesions: pd.DataFrame, target_sensitivity: float) -> float:
    """The highest threshold at which at least the target share of melanomas scores at or above.

    Args:
        lesions: As `by_lesion` gives them, with at least one melanoma.
        target_sensitivity: 0 to 1.
    """
    scores = np.sort(lesions.loc[lesions["melanoma"], "score"].to_numpy())[::-1]
    needed = max(1, math.ceil(target_sensitivity * len(scores) - 1e-9))
    return float(scores[needed - 1])


def _balanced_accuracy(predictions: pd.DataFrame, labels: list[Any]) -> float:
    """Mean recall over the classes that occur."""
    answers = predictions[labels].idxmax(axis=1)
    hits = answers == predictions["label"]
    return float(hits.groupby(predictions["label"]).mean().mean())


def _judge(
    run: Run,
    chosen: TrainedRecipe,
    predictions: pd.DataFrame,
    validation_lesions: pd.DataFrame,
    threshold: float,
    balanced: dict[Recipe, float],
    labels: list[Any],
) -> Evaluated:
    answers, truth = predictions[labels].idxmax(axis=1), predictions["label"]
    lesions = by_lesion(predictions)
    melanoma, called = lesions["melanoma"], lesions["score"] >= threshold
    tuned = validation_lesions[validation_lesions["melanoma"]]["score"] >= threshold
    both = 0 < melanoma.sum() < len(lesions)
    return Evaluated(
        recipe=chosen.recipe,
        model=chosen.model,
        classes=tuple(labels),
        threshold=threshold,
        validation_sensitivity=proportion(int(tuned.sum()), len(tuned)),
        validation_balanced_accuracy=balanced,
        test_images=len(predictions),
        accuracy=proportion(int((answers == truth).sum()), len(truth)),
        balanced_accuracy=_balanced_accuracy(predictions, labels),
        recall={
            name: proportion(
                int(((answers == name) & (truth == name)).sum()), int((truth == name).sum())
            )
            for name in labels
        },
        confusion=tuple(
            tuple(int(count) for count in row)
            for row in confusion_matrix(truth, answers, labels=labels)
        ),
        sensitivity=proportion(int((called & melanoma).sum()), int(melanoma.sum())),
        specificity=proportion(int((~called & ~melanoma).sum()), int((~melanoma).sum())),
        auc=float(roc_auc_score(melanoma, lesions["score"])) if both else None,
        missed=tuple(lesions.loc[melanoma & ~called, "image_ids"]),
        predictions=run.keep("predictions.parquet", to_parquet(predictions)),
    )
