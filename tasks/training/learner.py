"""A recipe made ready to learn: examples, network, plan; and its temperature afterwards.

`train` keeps what comes of it; `tasks.evaluation.folds` judges by it and throws it away.
"""

import json
import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd

from tasks.config import Recipe
from tasks.engine.run import Run
from tasks.engine.sources import code_hash
from tasks.intake.manifest import by_shard
from tasks.lesions import Diagnosis
from tasks.model_file import answers_of
from tasks.pipeline import LEARNING, step_named
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
from tasks.training.network import (
    JIT,
    annealed,
    build,
    residual,
    served,
    shrink,
    transfer_phases,
    transferred,
)
from tasks.training.pretrained import outside_state, weights_of

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


def examples(run: Run, rows: pd.DataFrame, classes: tuple[Diagnosis, ...]) -> Examples:
    """Pixels, uint8 ``(n, image_size, image_size, 3)``, and classes, int ``(n,)``.

    Beyond what there is room for, the pixels lie in a file; never more than one shard of the store
    lies in memory.
    """
    labels = rows["label"].map({name: index for index, name in enumerate(classes)})
    pixels = space_for_images(len(rows), run.config.image_size)
    for places, packed in by_shard(run, rows):
        pixels[places] = shrink(packed, run.config.image_size)
    return pixels, labels.to_numpy(int)


@on_every_device()
def learner_of(
    run: Run, recipe: Recipe, training: Examples, classes: int
) -> tuple[keras.Model, Examples, Plan, Callable[[], keras.Model]]:
    """The model to fit, what to fit it on, and how; and what gives the model to save, to be called
    once that is done: that of `best` copies the weights as they then are."""
    config = run.config
    batch = dealt_evenly(config.batch_size)
    if recipe == "transfer":
        model = transferred(config.image_size, classes, weights_of(run), config.seed)
        phases = transfer_phases(config.epochs, config.learning_rate)
        plan = Plan(config.epochs, batch, config.seed, phases)
        return model, training, plan, lambda: model
    if recipe != "best":
        model = build(
            recipe,
            image_size=config.image_size,
            classes=classes,
            learning_rate=config.learning_rate,
            seed=config.seed,
        )
        plan = Plan(epochs=config.epochs, batch_size=batch, seed=config.seed)
        return model, training, plan, lambda: model
    pixels, labels = training
    batch = dealt_evenly(min(config.best_batch_size, len(labels)))
    whole = len(labels) // batch * batch  # batches of one size; each epoch leaves out others
    network = residual(classes, config.seed)
    resident = is_room_for(pixels.nbytes)
    # The host has a part in each step that streams its images, or after which a checkpoint is kept.
    each_step = not resident or config.checkpoint_minutes == 0
    together = 1 if each_step else steps_at_once(batch, config.image_size)
    kind = ShownAtOnce if together > 1 else Shown
    learner = kind(
        network,
        pixels if resident else None,
        labels,
        classes=classes,
        side=config.image_size,
        showing=SHOWING,
        seed=config.seed,
        precision=precision(),
    )
    steps = config.best_epochs * whole // batch
    learner.compile(annealed(steps, config.best_learning_rate), jit_compile=JIT)
    plan = Plan(
        epochs=config.best_epochs,
        batch_size=batch,
        seed=config.seed,
        draw=lambda generator: generator.permutation(len(labels))[:whole],
        together=together,
        batch_field="best_batch_size",
        rate_field="best_learning_rate",
    )
    shown = np.arange(len(labels), dtype=np.int32) if resident else Streamed(pixels, labels)

    def finished() -> keras.Model:
        return served(plain(network), config.image_size, recipe)

    return learner, (shown, labels), plan, finished


def work_of(
    run: Run, step: str, recipe: Recipe, records: tuple[Record, ...], part: str = ""
) -> str:
    """The hash of all that the trained weights depend on; what a checkpoint belongs to."""
    parts = {
        "recipe": recipe,
        "data": [record.content_hash for record in records],
        "code": code_hash(step_named(step).module),
        "part": part,
        "weights": outside_state(run) if recipe == "transfer" else "",
        "keras": [keras.__version__, keras.backend.backend(), precision()],
        "config": run.config.model_dump(mode="json", include=set(LEARNING)),
    }
    return sha256(json.dumps(parts, sort_keys=True).encode())


def calibrate(
    model: keras.Model, validation: Examples
) -> tuple[keras.Model, float, tuple[float, float]]:
    """The model with its temperature, and its calibration error before and after."""
    inputs, labels = validation
    answers = answers_of(model, inputs)
    temperature = fit_temperature(answers, labels)
    before = calibration_error(answers, labels)
    after = calibration_error(at_temperature(answers, temperature), labels)
    log.info(
        "A temperature of %.2f takes the calibration error on validation from %.3f to %.3f.",
        temperature, before, after,
    )  # fmt: skip
    return calibrated(model, temperature), temperature, (before, after)
