"""evaluate: recipe and threshold chosen on validation, then the frozen test part scored once."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from tasks.champion import against, ask_champion
from tasks.comparison import COLUMN
from tasks.contracts import (
    Evaluated,
    Figures,
    MissedMelanoma,
    Oversampled,
    Split,
    Trained,
    TrainedRecipe,
)
from tasks.folds import cross_estimate
from tasks.learner import predicted
from tasks.ledger import enter_evaluation, hash_of_test_part
from tasks.lesions import MELANOMA
from tasks.manifest import pixels_of, read_parquet, to_parquet
from tasks.network import from_bytes
from tasks.registry import Version
from tasks.run import Run, sha256
from tasks.saliency import drawn, occlusion
from tasks.scoring import balanced_accuracy, by_lesion, figures, operating_threshold
from tasks.statistics import proportion

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

MAPS = 12  # saliency maps: each takes some eighty predictions


def evaluate(run: Run, split: Split, trained: Trained, oversampled: Oversampled) -> Evaluated:
    """Choose on validation, judge on test, beside the champion.

    With ``evaluation="cross"`` the procedure is judged too, over all lesions: see `tasks.folds`.

    Raises:
        BadInput: The lesions are too few for so many folds.
        Momentary: MLflow cannot say who the champion is.
    """
    parts = read_parquet(run, split.parts)
    validation = parts[parts["side"] == "validation"].reset_index(drop=True)
    test = parts[parts["side"] == "test"].reset_index(drop=True)
    classes = trained.classes

    chosen, tuned, balanced = _choose(run, trained, validation)
    lesions = by_lesion(tuned, classes)
    threshold = operating_threshold(lesions, run.config.target_sensitivity)
    reached = lesions.loc[lesions["label"] == MELANOMA, MELANOMA] >= threshold
    log.info(
        "Validation chooses %s (balanced accuracy %s) and a threshold of %.4f for melanoma.",
        chosen.recipe,
        ", ".join(f"{recipe} {value:.3f}" for recipe, value in balanced.items()),
        threshold,
    )
    crossed = None
    if run.config.evaluation == "cross":
        crossed = cross_estimate(run, split, oversampled, chosen.recipe, classes)
    enter_evaluation(run, test, chosen.model.sha256)
    model, pixels = from_bytes(run.fetch(chosen.model)), pixels_of(run, test)
    predictions = predicted(model, test, pixels, classes)
    version, answers = ask_champion(run, pixels)
    asked = not isinstance(answers, str)
    if asked:
        predictions[COLUMN] = answers
    judged = by_lesion(predictions, (*classes, COLUMN) if asked else classes)
    problem = "" if asked else str(answers)
    champion = against(run, version, problem, judged, threshold, test) if version else None
    found = figures(predictions, classes, threshold, run.config.prevalence)
    _tell(found)
    images = dict(zip(test["image_id"], pixels, strict=True))

    def log_odds(shown: Array) -> Array:
        answers = model.predict(shown, batch_size=64, verbose=0)
        return np.asarray(logit(np.clip(answers[:, classes.index(MELANOMA)], 1e-6, 1 - 1e-6)))

    return Evaluated(
        recipe=chosen.recipe,
        model=chosen.model,
        classes=classes,
        threshold=threshold,
        validation_sensitivity=proportion(int(reached.sum()), len(reached)),
        validation_balanced_accuracy=balanced,
        test_part=hash_of_test_part(test),
        figures=found,
        missed=_missed(run, log_odds, judged, threshold, images, version if asked else None),
        champion=champion,
        predictions=run.keep("predictions.parquet", to_parquet(predictions)),
        cross=crossed,
    )


def _choose(
    run: Run, trained: Trained, validation: pd.DataFrame
) -> tuple[TrainedRecipe, pd.DataFrame, dict[Any, float]]:
    """The recipe with the best balanced accuracy on validation, its predictions there, and the
    balanced accuracy of each."""
    pixels = pixels_of(run, validation)
    scored = {
        each.recipe: predicted(
            from_bytes(run.fetch(each.model)), validation, pixels, trained.classes
        )
        for each in trained.recipes
    }
    balanced = {
        recipe: balanced_accuracy(table, trained.classes) for recipe, table in scored.items()
    }
    best = max(balanced, key=lambda recipe: balanced[recipe])
    chosen = next(each for each in trained.recipes if each.recipe == best)
    return chosen, scored[best], balanced


def _missed(
    run: Run,
    score: Callable[[Array], Array],
    lesions: pd.DataFrame,
    threshold: float,
    images: dict[str, Array],
    champion: Version | None,
) -> tuple[MissedMelanoma, ...]:
    """The melanomas below the threshold, the least probable first, with saliency maps of some.

    Args:
        run: Keeps the maps.
        score: From images to the log-odds of melanoma.
        lesions: As `by_lesion` gives them.
        threshold: Of melanoma probability.
        images: Pixels by image id.
        champion: The model in use, if it was asked.
    """
    missed = lesions[(lesions["label"] == MELANOMA) & (lesions[MELANOMA] < threshold)]
    found = []
    for number, row in enumerate(missed.sort_values(MELANOMA).to_dict("records")):
        ids = tuple(str(row["image_ids"]).split(" "))
        saliency = None
        if number < MAPS:
            image = images[ids[0]]
            name = f"saliency/{sha256(ids[0].encode())[:16]}.png"  # an id is no safe file name
            saliency = run.keep(name, drawn(image, occlusion(score, image)))
        found.append(
            MissedMelanoma(
                image_ids=ids,
                probability=float(row[MELANOMA]),
                by_champion=row[COLUMN] < champion.threshold if champion else None,
                saliency=saliency,
            )
        )
    return tuple(found)


def _tell(found: Figures) -> None:
    melanoma, others = found.sensitivity, found.specificity
    log.info(
        "Test: of %d melanoma lesions it found %d; of %d other lesions it called %d melanoma. "
        "Accuracy %.3f over %d lesions, balanced accuracy %.3f.",
        melanoma.n, melanoma.successes, others.n, others.n - others.successes,
        found.accuracy.estimate or 0, found.lesions, found.balanced_accuracy.value or 0,
    )  # fmt: skip
