"""train: train each recipe on the training part, and validate it after each epoch."""

import logging
import math
from typing import Any

import numpy as np
import pandas as pd

from tasks.curve import fit_of, in_words
from tasks.engine.checkpoints import Checkpoints
from tasks.engine.run import CHECKPOINTS, Run
from tasks.intake.manifest import read_parquet
from tasks.lesions import DIAGNOSES, Diagnosis
from tasks.model_file import to_bytes
from tasks.recipes import Recipe
from tasks.records.oversampled import Oversampled
from tasks.records.record import Record
from tasks.records.split import Split
from tasks.records.trained import Epoch, Trained, TrainedPart, TrainedRecipe
from tasks.registry.tracking import Diary
from tasks.registry.versions import mlflow_client
from tasks.training.devices import computed_on
from tasks.training.fitting import Examples, Plan, fit
from tasks.training.learner import Learner, calibrate, examples, learner_of, work_of
from tasks.training.sources import sources_for

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


def train_part(run: Run, split: Split, oversampled: Oversampled, recipe: Recipe) -> TrainedPart:
    """Train one recipe.

    Raises:
        Momentary: MLflow cannot be reached. Raised before training, not after.
    """
    with mlflow_client(run.store) as client:
        client.search_experiments(max_results=1)
    rows = read_parquet(run, split.parts)
    classes = tuple(name for name in DIAGNOSES if name in set(rows["label"]))
    learned = rows[rows["side"] == "train"]
    if recipe == "balanced":
        learned = pd.concat([learned, read_parquet(run, oversampled.copies)])
    training = examples(run, learned, classes)
    validation = examples(run, rows[rows["side"] == "validation"], classes)
    return TrainedPart(
        classes=classes,
        trained=_train_one(
            run,
            learner_of(run, recipe, training, len(classes), sources_for(recipe, learned)),
            training,
            validation,
            classes,
            (split, oversampled),
        ),
    )


def train(
    run: Run, split: Split, oversampled: Oversampled, parts: tuple[TrainedPart, ...]
) -> Trained:
    """Gather the trained recipes, in the order in which the configuration names them."""
    return Trained(classes=parts[0].classes, recipes=tuple(part.trained for part in parts))


def _train_one(
    run: Run,
    learner: Learner,
    training: Examples,
    validation: Examples,
    classes: tuple[Diagnosis, ...],
    records: tuple[Record, ...],
) -> TrainedRecipe:
    recipe = learner.recipe
    work = work_of(run, "train", recipe, records)
    data = {f"{type(record).__name__.lower()}_sha256": record.content_hash for record in records}
    diary = Diary(run, recipe, classes, work, data)

    def watch(epochs: tuple[Epoch, ...]) -> None:
        _tell(run, recipe, learner.plan, epochs)
        diary.log(epochs)

    with diary.opened():
        checkpoints = Checkpoints(
            run.store, run.key(f"{CHECKPOINTS}/{work}"), run.config.checkpoint_minutes
        )
        fitted = fit(
            learner.model,
            learner.examples,
            validation,
            learner.plan,
            checkpoints=checkpoints,
            watch=watch,
        )
    model, temperature, errors = calibrate(learner.finish(), validation)
    trained = TrainedRecipe(
        recipe=recipe,
        model=run.keep(f"{recipe}.keras", to_bytes(model)),
        temperature=temperature,
        calibration_error=errors,
        parameters=int(model.count_params()),
        images=len(training[1]),
        epochs=fitted.epochs,
        best_epoch=fitted.best_epoch,
        fit=fit_of(fitted.epochs, fitted.best_epoch, _entropy(training[1])),
        mlflow_run="",
        computed_on=computed_on(),
    )
    log.info("%s", in_words(trained))
    return trained.model_copy(update={"mlflow_run": diary.closed(trained)})


def _tell(run: Run, recipe: Recipe, plan: Plan, epochs: tuple[Epoch, ...]) -> None:
    now = epochs[-1]
    text = (
        f"{recipe}: epoch {len(epochs)}/{plan.epochs}, loss {now.loss:.3f}, "
        f"validation loss {now.val_loss:.3f}, balanced accuracy {now.val_balanced_accuracy:.3f}"
    )
    log.info(text)
    run.progress(len(epochs), plan.epochs, text)


def _entropy(labels: Array) -> float:
    """Cross-entropy, in nats, of a network that always answers with the class shares."""
    shares = np.bincount(labels) / len(labels)
    return float(-sum(share * math.log(share) for share in shares if share))
