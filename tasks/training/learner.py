"""Make a recipe ready to learn: examples, network, plan; and calibrate the trained model.

`train` keeps the trained model; `tasks.evaluation.folds` judges by it and throws it away.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd

from tasks.engine.run import Run
from tasks.engine.sources import code_hash
from tasks.intake.manifest import by_shard
from tasks.lesions import Diagnosis
from tasks.model_file import answers_of
from tasks.pipeline import LEARNING, step_named
from tasks.recipes import Recipe
from tasks.records.record import Record, sha256
from tasks.training.batches import SHOWING, Shown, ShownAtOnce, Streamed
from tasks.training.calibration import (
    at_temperature,
    calibrated,
    calibration_error,
    fit_temperature,
)
from tasks.training.devices import dealt_evenly, on_every_device, precision, steps_at_once
from tasks.training.fitting import Examples, Plan
from tasks.training.harmonic import plain
from tasks.training.memory import is_room_for, space_for_images
from tasks.training.network import JIT, shrink
from tasks.training.notebook_networks import build
from tasks.training.pretrained import outside_state, weights_of
from tasks.training.residual_network import annealed, residual, served
from tasks.training.sources import cells_of
from tasks.training.transfer_network import transfer_phases, transferred

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


def examples(run: Run, rows: pd.DataFrame, classes: tuple[Diagnosis, ...]) -> Examples:
    """Pixels, uint8 ``(n, image_size, image_size, 3)``, and classes, int ``(n,)``.

    If memory has no room for the pixels, they lie in a mapped file. At most one shard of the store
    is in memory at a time.
    """
    labels = rows["label"].map({name: index for index, name in enumerate(classes)})
    pixels = space_for_images(len(rows), run.config.image_size)
    for places, packed in by_shard(run, rows):
        pixels[places] = shrink(packed, run.config.image_size)
    return pixels, labels.to_numpy(int)


@dataclass(frozen=True)
class Learner:
    """A recipe that is ready to learn.

    Attributes:
        recipe: The recipe.
        model: The model to fit: `fit` takes it with the examples and the plan.
        examples: Inputs of the model, and classes, int ``(n,)``.
        plan: How to fit the model.
    """

    recipe: Recipe
    model: keras.Model
    examples: Examples
    plan: Plan

    def finish(self) -> keras.Model:
        """The model to save, with the current weights of the fitted model."""
        if isinstance(self.model, Shown):
            return served(plain(self.model.network), self.model.side, self.recipe)
        return self.model


@on_every_device()
def learner_of(
    run: Run, recipe: Recipe, training: Examples, classes: int, sources: Array | None = None
) -> Learner:
    """Make a recipe ready to learn.

    Args:
        run: Its configuration holds the choices, such as the weights that `transfer` begins with.
        recipe: The recipe.
        training: Pixels and classes, as `examples` gives them.
        classes: Number of classes.
        sources: The source of each example, int ``(n,)``, see `sources_of`; only `travel` looks at
            it. None: all examples are of one.

    Raises:
        BadInput: The weights to begin with do not fit.
        Momentary: The weights to begin with cannot be fetched.
    """
    of_one = np.zeros(len(training[1]), int)
    given = of_one if sources is None else sources
    return BUILDERS[recipe](run, recipe, training, classes, given)


def _notebooks(
    run: Run, recipe: Recipe, training: Examples, classes: int, _sources: Array
) -> Learner:
    config = run.config
    model = build(
        recipe,
        image_size=config.image_size,
        classes=classes,
        learning_rate=config.learning_rate,
        seed=config.seed,
    )
    return Learner(
        recipe, model, training, Plan(config.epochs, dealt_evenly(config.batch_size), config.seed)
    )


def _transfer(
    run: Run, recipe: Recipe, training: Examples, classes: int, _sources: Array
) -> Learner:
    config = run.config
    model = transferred(config.image_size, classes, weights_of(run), config.seed)
    phases = transfer_phases(config.epochs, config.learning_rate)
    plan = Plan(config.epochs, dealt_evenly(config.batch_size), config.seed, phases)
    return Learner(recipe, model, training, plan)


def _residual(
    run: Run, recipe: Recipe, training: Examples, classes: int, _sources: Array
) -> Learner:
    return _shown(run, recipe, training, training[1], classes)


def _travel(run: Run, recipe: Recipe, training: Examples, classes: int, sources: Array) -> Learner:
    """`residual`, whose loss knows how often the source of an image shows each class."""
    return _shown(run, recipe, training, cells_of(training[1], sources, classes), classes)


def _shown(run: Run, recipe: Recipe, training: Examples, cells: Array, classes: int) -> Learner:
    config = run.config
    pixels, labels = training
    batch = dealt_evenly(min(config.residual_batch_size, len(labels)))
    whole = len(labels) // batch * batch  # batches of one size; each epoch leaves out others
    resident = is_room_for(pixels.nbytes)
    # Steps that stream their images, or that a checkpoint follows, need the host each time.
    each_step = not resident or config.checkpoint_minutes == 0
    together = 1 if each_step else steps_at_once(batch, config.image_size)
    model = (ShownAtOnce if together > 1 else Shown)(
        residual(classes, config.seed),
        pixels if resident else None,
        cells,
        classes=classes,
        side=config.image_size,
        showing=SHOWING,
        seed=config.seed,
        precision=precision(),
    )
    steps = config.residual_epochs * whole // batch
    model.compile(annealed(steps, config.residual_learning_rate), jit_compile=JIT)
    plan = Plan(
        epochs=config.residual_epochs,
        batch_size=batch,
        seed=config.seed,
        draw=lambda generator: generator.permutation(len(labels))[:whole],
        together=together,
        batch_field="residual_batch_size",
        rate_field="residual_learning_rate",
    )
    shown = np.arange(len(labels), dtype=np.int32) if resident else Streamed(pixels, cells)
    return Learner(recipe, model, (shown, labels), plan)


BUILDERS: dict[Recipe, Callable[[Run, Recipe, Examples, int, Array], Learner]] = {
    "baseline": _notebooks,
    "regularized": _notebooks,
    "balanced": _notebooks,
    "residual": _residual,
    "travel": _travel,
    "transfer": _transfer,
}


def work_of(
    run: Run, step: str, recipe: Recipe, records: tuple[Record, ...], part: str = ""
) -> str:
    """The hash of everything that the trained weights depend on. It names the checkpoints."""
    depends_on = {
        "recipe": recipe,
        "data": [record.content_hash for record in records],
        "code": code_hash(step_named(step).module),
        "format": step_named(step).gives.FORMAT,  # a checkpoint holds epochs as the record does
        "part": part,
        "weights": outside_state(run) if recipe == "transfer" else "",
        "keras": [keras.__version__, keras.backend.backend(), precision()],
        "config": run.config.model_dump(mode="json", include=set(LEARNING)),
    }
    return sha256(json.dumps(depends_on, sort_keys=True).encode())


def calibrate(
    model: keras.Model, validation: Examples
) -> tuple[keras.Model, float, tuple[float, float]]:
    """The calibrated model, its temperature, and its calibration error before and after."""
    inputs, labels = validation
    answers = answers_of(model, inputs)
    temperature = fit_temperature(answers, labels)
    before = calibration_error(answers, labels)
    after = calibration_error(at_temperature(answers, temperature), labels)
    log.info(
        "A temperature of %.2f changes the calibration error on validation from %.3f to %.3f.",
        temperature, before, after,
    )  # fmt: skip
    return calibrated(model, temperature), temperature, (before, after)
