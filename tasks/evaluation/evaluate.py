"""evaluate: choose recipe and threshold on validation, then score the frozen test part once."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.special import logit

from tasks.engine.run import Run
from tasks.evaluation.champion import against, ask_champion, ask_standing, beside
from tasks.evaluation.comparison import COLUMN, STANDING
from tasks.evaluation.external import labelled_sets, score_sets
from tasks.evaluation.folds import cross_estimate
from tasks.evaluation.predictions import predicted
from tasks.evaluation.refusals import REFUSED, grounds_of, judge_of, refusals_of
from tasks.evaluation.saliency import drawn, occlusion
from tasks.evaluation.scoring import balanced_accuracy, by_lesion, figures, operating_threshold
from tasks.evaluation.shortcuts import ask_again, probes_of
from tasks.intake.manifest import pixels_of, read_parquet, to_parquet
from tasks.lesions import MELANOMA, Diagnosis
from tasks.model_file import answers_of, from_bytes
from tasks.recipes import Recipe, recipe_now
from tasks.records.evaluated import Champion, Evaluated, MissedMelanoma, Standing
from tasks.records.figures import Figures, Proportion
from tasks.records.oversampled import Oversampled
from tasks.records.record import sha256
from tasks.records.split import Split
from tasks.records.trained import Trained, TrainedRecipe
from tasks.records.validated import Validated
from tasks.registry.versions import heads_of, mlflow_client
from tasks.splitting.looks import enter_look, hash_of_test_part
from tasks.statistics.proportions import proportion

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

MAPS = 12  # most saliency maps: each takes about eighty predictions


def evaluate(
    run: Run, split: Split, trained: Trained, oversampled: Oversampled, validated: Validated
) -> Evaluated:
    """Choose recipe and threshold on validation, then score the test part beside the champion, and
    every external set.

    With ``evaluation="cross"``, cross-validation over all lesions also estimates the procedure, see
    `tasks.evaluation.folds`.

    Raises:
        BadInput: There are too few lesions for the configured folds.
        Momentary: MLflow cannot say who the champion is.
        Corrupt: The ledger is damaged, or does not continue what MLflow or a record names.
    """
    rows = read_parquet(run, split.parts)
    test = rows[rows["side"] == "test"].reset_index(drop=True)
    classes = trained.classes
    choice = _choose(run, trained, rows[rows["side"] == "validation"].reset_index(drop=True))
    chosen, threshold = choice.trained, choice.threshold
    crossed = None
    if run.config.evaluation == "cross":
        crossed = cross_estimate(run, split, oversampled, recipe_now(chosen.recipe), classes)
    with mlflow_client(run.store) as client:
        heads = heads_of(client, run.store)
    chain = enter_look(run, test, chosen.model.sha256, threshold=threshold, also=heads)
    sets = labelled_sets(run, validated, classes)
    for name, each in sets.items():
        if len(each.rows):
            chain = enter_look(
                run, each.rows, chosen.model.sha256,
                threshold=threshold, by="external", of_set=name,
            )  # fmt: skip
    model, pixels = from_bytes(run.fetch(chosen.model)), pixels_of(run, test)
    predictions = predicted(model, test, pixels, classes)
    others = _beside_others(run, predictions, pixels, classes, threshold, test)
    melanoma = classes.index(MELANOMA)
    predictions = predictions.assign(
        **ask_again(lambda shown: answers_of(model, shown)[:, melanoma], predictions, pixels)
    )
    judge = judge_of(run, rows)
    if judge:
        predictions[REFUSED] = grounds_of(judge.judge, test, pixels)
    found = figures(predictions, classes, threshold, run.config.prevalence)
    _tell(found)
    external = score_sets(run, model, sets, found, judge.judge if judge else None)
    images = dict(zip(test["image_id"], pixels, strict=True))
    log_odds = _log_odds(model, melanoma)
    return Evaluated(
        recipe=recipe_now(chosen.recipe),
        model=chosen.model,
        classes=classes,
        threshold=threshold,
        validation_sensitivity=choice.sensitivity,
        validation_balanced_accuracy=choice.balanced_accuracy,
        test_part=hash_of_test_part(test),
        figures=found,
        missed=_missed(run, log_odds, others.lesions, threshold, images, others.champion),
        champion=others.champion,
        standing=others.standing,
        predictions=run.keep("predictions.parquet", to_parquet(predictions)),
        cross=crossed,
        ledger=chain.head,
        external=external,
        shortcuts=probes_of(predictions, threshold),
        refusals=refusals_of(run, rows, judge, predictions, external, threshold) if judge else None,
    )


@dataclass(frozen=True)
class Choice:
    """The choice made on validation.

    Attributes:
        trained: The recipe with the best balanced accuracy.
        threshold: Threshold of the melanoma probability, 0 to 1.
        sensitivity: Melanoma sensitivity on validation at `threshold`.
        balanced_accuracy: Balanced accuracy of each recipe on validation, 0 to 1.
    """

    trained: TrainedRecipe
    threshold: float
    sensitivity: Proportion
    balanced_accuracy: dict[Recipe, float]


def _choose(run: Run, trained: Trained, validation: pd.DataFrame) -> Choice:
    """Choose recipe and threshold, using only the validation part."""
    pixels = pixels_of(run, validation)
    answered = {
        recipe_now(each.recipe): predicted(
            from_bytes(run.fetch(each.model)), validation, pixels, trained.classes
        )
        for each in trained.recipes
    }
    balanced = {
        recipe: balanced_accuracy(table, trained.classes) for recipe, table in answered.items()
    }
    best = max(trained.recipes, key=lambda each: balanced[recipe_now(each.recipe)])
    lesions = by_lesion(answered[recipe_now(best.recipe)], trained.classes)
    threshold = operating_threshold(lesions, run.config.target_sensitivity)
    reached = lesions.loc[lesions["label"] == MELANOMA, MELANOMA] >= threshold
    log.info(
        "Validation chooses %s (balanced accuracy %s) and a threshold of %.4f for melanoma.",
        recipe_now(best.recipe),
        ", ".join(f"{recipe} {value:.3f}" for recipe, value in balanced.items()),
        threshold,
    )
    return Choice(best, threshold, proportion(int(reached.sum()), len(reached)), balanced)


@dataclass(frozen=True)
class Others:
    """What other models say of the test part.

    Attributes:
        champion: The model in use, if there is one.
        standing: The challenger that waits for a decision, if there is one.
        lesions: As `tasks.evaluation.scoring.by_lesion` gives them, with the answers of all models.
    """

    champion: Champion | None
    standing: Standing | None
    lesions: pd.DataFrame


def _beside_others(
    run: Run,
    predictions: pd.DataFrame,
    pixels: Array,
    classes: tuple[Diagnosis, ...],
    threshold: float,
    test: pd.DataFrame,
) -> Others:
    """Ask the champion and the standing challenger about the same lesions.

    Also writes their answers into the columns `COLUMN` and `STANDING` of `predictions`.
    """
    asked = {COLUMN: ask_champion(run, pixels), STANDING: ask_standing(run, pixels)}
    problems = {
        column: each if isinstance(each, str) else "" for column, (_, each) in asked.items()
    }
    answered = [column for column, (_, each) in asked.items() if not isinstance(each, str)]
    for column in answered:
        predictions[column] = asked[column][1]
    lesions = by_lesion(predictions, (*classes, *answered))
    champion, standing = asked[COLUMN][0], asked[STANDING][0]
    return Others(
        against(run, champion, problems[COLUMN], lesions, threshold, test) if champion else None,
        beside(run, standing, problems[STANDING], lesions, threshold, test) if standing else None,
        lesions,
    )


def _log_odds(model: keras.Model, melanoma: int) -> Callable[[Array], Array]:
    """A function from images to the log-odds of melanoma, the model's output `melanoma`."""

    def score(shown: Array) -> Array:
        answers = answers_of(model, shown)[:, melanoma]
        return np.asarray(logit(np.clip(answers, 1e-6, 1 - 1e-6)))

    return score


def _missed(
    run: Run,
    score: Callable[[Array], Array],
    lesions: pd.DataFrame,
    threshold: float,
    images: dict[str, Array],
    champion: Champion | None,
) -> tuple[MissedMelanoma, ...]:
    """The melanomas below the threshold, the least probable first, the first MAPS with a map.

    Args:
        run: Keeps the saliency maps.
        score: Function from images to the log-odds of melanoma.
        lesions: As `by_lesion` gives them.
        threshold: Threshold of the melanoma probability, 0 to 1.
        images: Pixels by image id.
        champion: The model in use, if there is one.
    """
    missed = lesions[(lesions["label"] == MELANOMA) & (lesions[MELANOMA] < threshold)]
    comparison = champion.comparison if champion else None
    found = []
    for number, row in enumerate(missed.sort_values(MELANOMA).to_dict("records")):
        ids = row["image_ids"]
        saliency = None
        if number < MAPS:
            image = images[ids[0]]
            # An image id may hold characters that are not safe in a file's name.
            name = f"saliency/{sha256(ids[0].encode())[:16]}.png"
            saliency = run.keep(name, drawn(image, occlusion(score, image)))
        found.append(
            MissedMelanoma(
                image_ids=ids,
                probability=float(row[MELANOMA]),
                by_champion=row[COLUMN] < comparison.threshold if comparison else None,
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
