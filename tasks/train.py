"""train: each recipe on the training part, watched on the validation part."""

import logging
import math
from typing import Any

import numpy as np
import pandas as pd

from tasks.checkpoints import Checkpoints
from tasks.config import Recipe
from tasks.contracts import Epoch, Oversampled, Record, Split, Trained, TrainedPart, TrainedRecipe
from tasks.devices import computed_on
from tasks.figures import percent
from tasks.fitting import Examples, Plan, fit
from tasks.learner import calibrate, examples, learner_of, work_of
from tasks.lesions import DIAGNOSES, Diagnosis
from tasks.manifest import read_parquet
from tasks.model_file import to_bytes
from tasks.registry import mlflow_client
from tasks.run import CHECKPOINTS, Run
from tasks.tracking import Diary

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

# Rules of the finding. A gap of 0.10 in accuracy is what the public notebooks call overfitting;
# a loss that has risen by a tenth of itself is beyond the noise between two epochs.
ACCURACY_GAP = 0.10
LOSS_RISE = 1.10
# A network that explains less than a quarter of the training part's entropy has not learned it.
EXPLAINED = 0.25


def train_part(run: Run, split: Split, oversampled: Oversampled, recipe: Recipe) -> TrainedPart:
    """Train one recipe.

    Raises:
        Momentary: MLflow cannot be reached; found out before training, not after.
    """
    with mlflow_client(run.store) as client:
        client.search_experiments(max_results=1)
    parts = read_parquet(run, split.parts)
    classes = tuple(name for name in DIAGNOSES if name in set(parts["label"]))
    learned = parts[parts["side"] == "train"]
    if recipe == "balanced":
        learned = pd.concat([learned, read_parquet(run, oversampled.copies)])
    training = examples(run, learned, classes)
    validation = examples(run, parts[parts["side"] == "validation"], classes)
    return TrainedPart(
        classes=classes,
        trained=_train_one(run, recipe, training, validation, classes, (split, oversampled)),
    )


def train(
    run: Run, split: Split, oversampled: Oversampled, parts: tuple[TrainedPart, ...]
) -> Trained:
    """Gather the trained recipes, in the order in which the configuration names them."""
    return Trained(classes=parts[0].classes, recipes=tuple(part.trained for part in parts))


def _train_one(
    run: Run,
    recipe: Recipe,
    training: Examples,
    validation: Examples,
    classes: tuple[Diagnosis, ...],
    records: tuple[Record, ...],
) -> TrainedRecipe:
    learner, shown, plan, finished = learner_of(run, recipe, training, len(classes))
    work = work_of(run, "train", recipe, records)
    data = {f"{type(record).__name__.lower()}_sha256": record.content_hash for record in records}
    diary = Diary(run, recipe, classes, work, data)

    def watch(epochs: tuple[Epoch, ...]) -> None:
        _tell(run, recipe, plan, epochs)
        diary.log(epochs)

    with diary.opened():
        checkpoints = Checkpoints(
            run.store, run.key(f"{CHECKPOINTS}/{work}"), run.config.checkpoint_minutes
        )
        fitted = fit(learner, shown, validation, plan, checkpoints=checkpoints, watch=watch)
    said = finding(recipe, fitted.epochs, fitted.best_epoch, _entropy(training[1]))
    log.info(said)
    model, temperature, errors = calibrate(finished(), validation)
    trained = TrainedRecipe(
        recipe=recipe,
        model=run.keep(f"{recipe}.keras", to_bytes(model)),
        temperature=temperature,
        calibration_error=errors,
        parameters=int(model.count_params()),
        images=len(training[1]),
        epochs=fitted.epochs,
        best_epoch=fitted.best_epoch,
        finding=said,
        mlflow_run="",
        computed_on=computed_on(),
    )
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
    """Cross-entropy, in nats, of a network that knows only how often each class occurs."""
    shares = np.bincount(labels) / len(labels)
    return float(-sum(share * math.log(share) for share in shares if share))


def finding(recipe: str, epochs: tuple[Epoch, ...], best: int, prior_loss: float) -> str:
    """What the curves say, by rule.

    Args:
        recipe: Its name.
        epochs: At least one.
        best: The epoch of lowest validation loss, from 1.
        prior_loss: Cross-entropy, in nats, of answering with the class shares.
    """
    last, kept = epochs[-1], epochs[best - 1]
    gap = last.accuracy - last.val_accuracy
    figures = (
        f"after {len(epochs)} epochs accuracy is {percent(last.accuracy)} in training and "
        f"{percent(last.val_accuracy)} in validation; validation loss is lowest at epoch {best} "
        f"({kept.val_loss:.2f}) and ends at {last.val_loss:.2f}"
    )
    if last.loss > (1 - EXPLAINED) * prior_loss:
        return (
            f"{recipe} underfits: {figures}. Its training loss of {last.loss:.2f} is not far below "
            f"the {prior_loss:.2f} of answering with the class shares alone."
        )
    if gap > ACCURACY_GAP and last.val_loss > LOSS_RISE * kept.val_loss:
        return (
            f"{recipe} overfits: {figures}. It goes on learning the training images by heart; "
            f"the weights of epoch {best} are kept."
        )
    if gap > ACCURACY_GAP:
        return (
            f"{recipe} overfits mildly: {figures}. The gap is {percent(gap)}, but validation loss "
            "has not risen."
        )
    if best == len(epochs):
        return f"{recipe} had not finished learning: {figures}, still falling."
    return f"{recipe} neither over- nor underfits: {figures}."
