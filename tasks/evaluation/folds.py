"""Cross-validation: estimate the training procedure, for test parts with too few melanomas.

All lesions of the training, validation and test part are dealt into folds; a group is never
divided. Each fold is judged once, by a new model of the chosen recipe. For this model, the next
fold serves as validation part (best epoch, temperature, threshold), and the other folds serve as
training part. The test part may be used here because none of these models is kept. The model of the
run never learns from the test part, and the gate judges that model on the test part alone.

Two things bias the estimate a little. The recipe was chosen on the validation part, whose lesions
are judged here too, so the estimate is optimistic. Each model learns from only (k - 2) / k of the
lesions, so the estimate is pessimistic. The recipe ``balanced`` is less balanced here: copies exist
only of images of the training part, and a fold's model gets only copies of the images that it
trains on.
"""

import logging
import warnings
from collections.abc import Callable

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from tasks.engine.checkpoints import Checkpoints
from tasks.engine.run import CHECKPOINTS, Run
from tasks.errors import BadInput
from tasks.evaluation.predictions import predicted
from tasks.evaluation.scoring import THRESHOLD, by_lesion, figures, operating_threshold
from tasks.intake.manifest import pixels_of, read_parquet, to_parquet
from tasks.lesions import MELANOMA, Diagnosis
from tasks.recipes import Recipe
from tasks.records.evaluated import CrossEstimate
from tasks.records.figures import Figures
from tasks.records.oversampled import Oversampled
from tasks.records.split import Split
from tasks.records.trained import Epoch
from tasks.training.fitting import fit
from tasks.training.learner import calibrate, examples, learner_of, work_of
from tasks.training.sources import sources_for

log = logging.getLogger(__name__)


def cross_estimate(
    run: Run,
    split: Split,
    oversampled: Oversampled,
    recipe: Recipe,
    classes: tuple[Diagnosis, ...],
) -> CrossEstimate:
    """Judge a recipe on all lesions, each by a model that saw neither the lesion nor its group.

    Raises:
        BadInput: A fold lacks a class that it needs. Raised before any training.
    """
    rows = read_parquet(run, split.parts)
    folds = dealt(rows, run.config.folds, run.config.seed)
    copies = read_parquet(run, oversampled.copies)
    copies = copies if recipe == "balanced" else copies.iloc[:0]
    tables, thresholds = [], []
    for number in range(run.config.folds):
        share = f"fold {number + 1} of {run.config.folds}"
        checkpoints = _checkpoints(
            run, work_of(run, "evaluate", recipe, (split, oversampled), share)
        )
        table, threshold = _judged(run, recipe, rows, folds, number, copies, classes, checkpoints)
        tables.append(table.assign(**{"fold": number + 1, THRESHOLD: threshold}))
        thresholds.append(threshold)
    predictions = pd.concat(tables, ignore_index=True).sort_values("image_id", ignore_index=True)
    found = figures(predictions, classes, None, run.config.prevalence)
    _tell(recipe, found)
    return CrossEstimate(
        folds=run.config.folds,
        thresholds=tuple(thresholds),
        figures=found,
        predictions=run.keep("out_of_fold.parquet", to_parquet(predictions)),
    )


def _checkpoints(run: Run, work: str) -> Checkpoints:
    folder = run.key(f"{CHECKPOINTS}/{work}")
    return Checkpoints(run.store, folder, run.config.checkpoint_minutes)


def _tell(recipe: Recipe, found: Figures) -> None:
    log.info(
        "Cross-validation of %s, an estimate of the procedure: of %d melanoma lesions, %d found; "
        "of %d other lesions, %d not called melanoma.",
        recipe, found.sensitivity.n, found.sensitivity.successes,
        found.specificity.n, found.specificity.successes,
    )  # fmt: skip


def dealt(rows: pd.DataFrame, folds: int, seed: int) -> pd.Series:
    """The fold of each row, int 0 to `folds` - 1. Groups stay whole; classes spread evenly.

    Args:
        rows: Rows with ``key``, ``label`` and ``group``, in any order.
        folds: Number of folds, at least 3.
        seed: Seed of the order in which groups are dealt.

    Raises:
        BadInput: A fold has no melanoma, or the training folds of a fold lack a class.
    """
    ordered = rows.sort_values("key")
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold_of = pd.Series(-1, ordered.index)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes with fewer images than folds: see below
            for number, (_, held) in enumerate(
                dealer.split(ordered, ordered["label"], ordered["group"])
            ):
                fold_of.iloc[held] = number
    except ValueError as error:  # more folds than images of every class
        raise _too_few(folds, str(error)) from error
    _check_every_fold_serves(ordered["label"], fold_of, folds)
    return fold_of.reindex(rows.index)


def _check_every_fold_serves(labels: pd.Series, fold_of: pd.Series, folds: int) -> None:
    for number in range(folds):
        if MELANOMA not in set(labels[fold_of == number]):
            raise _too_few(folds, f"no melanoma in fold {number + 1}")
        trained_on = labels[~fold_of.isin([number, (number + 1) % folds])]
        missing = sorted(set(labels) - set(trained_on))
        if missing:
            raise _too_few(
                folds, f"for fold {number + 1} no {' and no '.join(missing)} to train on"
            )


def _too_few(folds: int, received: str) -> BadInput:
    return BadInput(
        "There are too few lesions for the configured number of folds.",
        expected=f"melanoma in each of {folds} folds, and every class in the training folds of "
        "each",
        received=received,
        do='set folds lower (at least 3), deliver more lesions, or set evaluation to "test"',
    )


def _judged(
    run: Run,
    recipe: Recipe,
    rows: pd.DataFrame,
    folds: pd.Series,
    number: int,
    copies: pd.DataFrame,
    classes: tuple[Diagnosis, ...],
    checkpoints: Checkpoints,
) -> tuple[pd.DataFrame, float]:
    """Predictions for one fold by a model trained on other folds, and that model's threshold."""
    held = rows[folds == number].reset_index(drop=True)
    after = (number + 1) % run.config.folds
    tuning = rows[folds == after].reset_index(drop=True)
    rest = rows[~folds.isin([number, after])]
    own = copies[copies["source_key"].isin(rest["key"])]
    taught = pd.concat([rest, own])
    training = examples(run, taught, classes)
    validation = examples(run, tuning, classes)
    learner = learner_of(run, recipe, training, len(classes), sources_for(recipe, taught))
    fit(
        learner.model,
        learner.examples,
        validation,
        learner.plan,
        checkpoints=checkpoints,
        watch=_watch(run, number, learner.plan.epochs),
    )
    model, _, _ = calibrate(learner.finish(), validation)
    tuned = by_lesion(predicted(model, tuning, pixels_of(run, tuning), classes), classes)
    threshold = operating_threshold(tuned, run.config.target_sensitivity)
    return predicted(model, held, pixels_of(run, held), classes), threshold


def _watch(run: Run, number: int, epochs: int) -> Callable[[tuple[Epoch, ...]], None]:
    def watch(done: tuple[Epoch, ...]) -> None:
        text = f"fold {number + 1}/{run.config.folds}: epoch {len(done)}/{epochs}"
        log.info("%s, validation loss %.3f", text, done[-1].val_loss)
        run.progress(number * epochs + len(done), run.config.folds * epochs, text)

    return watch
