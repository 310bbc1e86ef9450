"""Fitting one network, so that a kill at any moment changes nothing but the time it takes.

Whatever is random is a function of the seed and of how far the work is: the order of the images
of an epoch is drawn from (seed, epoch), and the generators of dropout and augmentation are
variables of the model, which a checkpoint holds. Only Keras's own interface is used, so that it
runs on each of its backends.
"""

import io
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np

from tasks.engine.checkpoints import Checkpoints
from tasks.errors import BadInput
from tasks.records.trained import Epoch
from tasks.training.devices import dealt_evenly, on_every_device
from tasks.training.memory import out_of_memory, ran_out

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
Examples = tuple[Any, Array]  # what indexes like an array, first axis n; int classes ``(n,)``

SCORED_AT_ONCE = 256  # images

# Variables under this path are data that lie on the device, the same in every attempt.
DATA = "data/"


@dataclass(frozen=True)
class Plan:
    """How to fit.

    Attributes:
        epochs: Passes over the training examples.
        batch_size: Examples in one step of the optimizer; as many for each device.
        seed: Of the order of the examples.
        phases: What is done to the model before the epoch of this number (from 0): it may freeze
            layers and must compile. A model without phases is compiled already.
        draw: The examples of an epoch, as indices in their order, from a generator of its own;
            all of them, shuffled, if None.
        together: Steps that the model takes in one call, if they are as many: it is then given
            inputs ``(batch, steps, ...)`` and classes ``(batch, steps)``.
        batch_field: The field of the configuration to change if a batch does not fit,
        rate_field: and if the loss diverges.
    """

    epochs: int
    batch_size: int
    seed: int
    phases: Mapping[int, Callable[[keras.Model], None]] = field(default_factory=dict)
    draw: Callable[[np.random.Generator], Array] | None = None
    together: int = 1
    batch_field: str = "batch_size"
    rate_field: str = "learning_rate"


@dataclass(frozen=True)
class Fitted:
    """The curves, and the epoch (from 1) of the lowest validation loss, whose weights the model
    holds."""

    epochs: tuple[Epoch, ...]
    best_epoch: int


@on_every_device()
def fit(
    model: keras.Model,
    training: Examples,
    validation: Examples,
    plan: Plan,
    *,
    checkpoints: Checkpoints | None = None,
    watch: Callable[[tuple[Epoch, ...]], None] = lambda epochs: None,
) -> Fitted:
    """Fit a network that gives class probabilities, from its newest whole checkpoint on.

    Args:
        model: Compiled, with the metric ``accuracy``, or compiled by the first phase. It ends with
            the weights of the epoch of the lowest validation loss; where the optimizer averages
            weights (EMA), with their averages.
        training: Inputs ``(n, ...)`` and classes, int ``(n,)``.
        validation: The same, to be scored after each epoch.
        plan: How.
        checkpoints: Where they are kept; None for work that is begun anew after a kill.
        watch: Called after each epoch with all epochs so far.

    Raises:
        BadInput: The loss is no longer a number, or the memory does not suffice; says which batch
            would fit.
        SystemExit: SIGTERM came; a checkpoint was written first.
    """
    with _sigterm_noted() as noted:
        fitting = _Fitting(model, training, validation, plan, checkpoints, watch, noted)
        with suppress(_Stopped):
            return fitting.run()
    log.info("Stopped in epoch %d.", len(fitting.epochs) + 1)
    signal.raise_signal(signal.SIGTERM)  # to whoever had the word before
    raise SystemExit(128 + signal.SIGTERM)  # it was ignored there


class _Stopped(Exception):
    """SIGTERM was noted, and the step of the optimizer that it came in has ended."""


@contextmanager
def _sigterm_noted() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGTERM came, instead of what SIGTERM does otherwise."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGTERM, before)


class _Fitting:
    """The work, and how far it is.

    The loop over the steps is our own: ``keras.Model.fit`` begins a pipeline of TensorFlow's for
    each epoch, and to end it took 2.5 s after every other epoch of 3 s.
    """

    def __init__(
        self,
        model: keras.Model,
        training: Examples,
        validation: Examples,
        plan: Plan,
        checkpoints: Checkpoints | None,
        watch: Callable[[tuple[Epoch, ...]], None],
        noted: list[int],
    ) -> None:
        self.model, self.training, self.validation = model, training, validation
        self.plan, self.checkpoints, self.watch, self.noted = plan, checkpoints, watch, noted
        self.epochs: list[Epoch] = []
        self.best: list[Array] = []  # values of self._variables
        self.phase = -1
        self.rehearsed: int | None = None  # for this phase
        self.learned = 0  # examples, in all epochs
        self.saved_at = time.monotonic()
        self._begin_epoch()

    def run(self) -> Fitted:
        self._resume()
        while len(self.epochs) < self.plan.epochs:
            self._enter_phase()
            self._pass()
            self.epochs.append(self._judge())
            self.watch(tuple(self.epochs))
            self._begin_epoch()  # the time of telling others is not that of learning
            self._look_up(due=len(self.epochs) == self.plan.epochs)
        _assign(self._variables, self.best)
        losses = [epoch.val_loss for epoch in self.epochs]
        return Fitted(tuple(self.epochs), 1 + int(np.argmin(losses)))

    # One epoch -----------------------------------------------------------------------------------

    def _begin_epoch(self) -> None:
        self.since = time.monotonic()
        self.images = 0  # of this epoch, that were learned from
        self.sums = {"loss": 0.0, "accuracy": 0.0, "seconds": 0.0}

    def _enter_phase(self) -> None:
        due = max((first for first in self.plan.phases if first <= len(self.epochs)), default=-1)
        if due != self.phase:
            self.plan.phases[due](self.model)
            self.phase = due

    def _order(self) -> Array:
        generator = np.random.default_rng([self.plan.seed, len(self.epochs)])
        if self.plan.draw:
            return self.plan.draw(generator)
        return generator.permutation(len(self.training[1]))

    def _pass(self) -> None:
        """Learn from what this epoch has not learned from yet."""
        order = self._order()
        order = order[: dealt_evenly(len(order))]  # each epoch leaves out others
        while self.images < len(order):
            try:
                self._rehearse(order)
                self._steps(order[self.images :])
            except Exception as error:
                if ran_out(error):
                    size, name = self.plan.batch_size, self.plan.batch_field
                    raise out_of_memory(error, self._attempt, size, name) from error
                raise
            self._look_up()

    def _rehearse(self, order: Array) -> None:
        """Show the model both sizes of its batches, once and before it learns from any.

        TensorFlow makes graphs by the sizes that it has met so far, and rounds otherwise in each:
        what comes after a kill would depend on the step that the kill came in.
        """
        rest = len(order) % self.plan.batch_size
        if not rest or self.rehearsed == self.phase:
            return
        self.model.optimizer.build(self.model.trainable_variables)
        variables = [*self._variables, *self.model.optimizer.variables]
        kept = _values(variables)
        for size in (self.plan.batch_size, rest):
            inputs, labels = self.training
            self.model.train_on_batch(inputs[order[:size]], labels[order[:size]])
        _assign(variables, kept)
        self.rehearsed = self.phase

    def _steps(self, ahead: Array) -> None:
        """One step of the optimizer, or many, on the first of the examples of these numbers."""
        inputs, labels = self.training
        size = self.plan.batch_size
        steps = min(self.plan.together, len(ahead) // size)
        chosen = ahead[:size]
        if steps > 1:
            chosen = ahead[: steps * size].reshape(steps, size).T
        # The figures are of each step alone: their sums outlive a kill bit for bit, and a loss
        # that is not a number is seen in its own step.
        logs = self.model.train_on_batch(inputs[chosen], labels[chosen], return_dict=True)
        losses, accuracies = np.atleast_1d(logs["loss"]), np.atleast_1d(logs["accuracy"])
        for number, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), start=1):
            self.images += len(chosen)
            self.learned += len(chosen)
            self.sums["loss"] += float(loss) * len(chosen)
            self.sums["accuracy"] += float(accuracy) * len(chosen)
            if not math.isfinite(loss):
                taken_since = len(losses) - number
                raise self._diverged(f"a loss of {float(loss)}", taken_since)

    def _attempt(self, images: int) -> None:
        """One step, which leaves the weights of no more use."""
        # A step that failed on JAX may have given away the arrays that it was to change.
        for each in (*self.model.variables, *self.model.optimizer.variables):
            each.assign(keras.ops.zeros(each.shape, each.dtype))
        inputs, labels = self.training
        images = dealt_evenly(images)
        self.model.train_on_batch(inputs[:images], labels[:images])

    def _judge(self) -> Epoch:
        """Score validation; keep the weights if they are the best so far."""
        labels = self.validation[1]
        try:
            with self._averaged():
                answers = self._answers()
                if not np.isfinite(answers).all():
                    raise self._diverged("answers that are not numbers")
                loss = cross_entropy(answers, labels)
                if all(loss < earlier.val_loss for earlier in self.epochs):
                    self.best = _values(self._variables)
        except _Stopped:
            self._save()
            raise
        self._count_time()
        return self._figures(answers, labels, loss)

    def _answers(self) -> Array:
        """Probabilities ``(n, classes)`` for validation; each device computes all of them."""
        numbers = np.arange(len(self.validation[1]))
        starts = range(0, len(numbers), SCORED_AT_ONCE)
        return np.concatenate([self._score(numbers[at : at + SCORED_AT_ONCE]) for at in starts])

    def _score(self, chosen: Array) -> Array:
        answers = np.asarray(self.model.predict_on_batch(self.validation[0][chosen]))
        if self.noted:
            raise _Stopped
        return answers

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averages of the weights in their place, where the optimizer keeps averages."""
        kept = _values(self.model.trainable_variables)
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        # On JAX the weights now are the averages, not a copy, and scoring gives their memory away.
        _assign(self.model.trainable_variables, _values(self.model.trainable_variables))
        try:
            yield
        finally:
            _assign(self.model.trainable_variables, kept)

    def _figures(self, answers: Array, labels: Array, loss: float) -> Epoch:
        right = answers.argmax(axis=1) == labels
        recalls = [
            float(right[labels == number].mean()) if (labels == number).any() else None
            for number in range(answers.shape[1])
        ]
        return Epoch(
            loss=self.sums["loss"] / self.images,
            accuracy=self.sums["accuracy"] / self.images,
            val_loss=loss,
            val_accuracy=float(right.mean()),
            val_balanced_accuracy=float(np.mean([each for each in recalls if each is not None])),
            val_recall=tuple(recalls),
            seconds=self.sums["seconds"],
        )

    def _count_time(self) -> None:
        now = time.monotonic()
        self.sums["seconds"] += now - self.since
        self.since = now

    def _diverged(self, received: str, taken_since: int = 0) -> BadInput:
        iterations = self.model.optimizer.iterations  # which the rate may depend on
        iterations.assign(iterations - taken_since)
        step = math.ceil(self.images / self.plan.batch_size)
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        return BadInput(
            "Training has diverged.",
            expected="a finite loss",
            received=f"{received} in epoch {len(self.epochs) + 1}, step {step}, at a learning "
            f"rate of {rate:.3g}",
            do=f"lower {self.plan.rate_field}; a retry would end in the same place",
        )

    # Checkpoints ---------------------------------------------------------------------------------

    def _look_up(self, *, due: bool = False) -> None:
        """Between two steps: keep a checkpoint if it is time, and stop if that is wanted."""
        kept = self.checkpoints
        if kept and time.monotonic() - self.saved_at >= 60 * kept.minutes:
            due = True
        if due or self.noted:
            self._save()
        if self.noted:
            raise _Stopped

    def _save(self) -> None:
        """Keep a checkpoint of this moment, which lies between two steps."""
        if self.checkpoints:
            self._count_time()
            # More images, or as many and one more epoch: each later state has a higher number.
            self.checkpoints.save(self.learned + len(self.epochs), self._packed())
            self.saved_at = time.monotonic()

    def _packed(self) -> bytes:
        """An ``.npz`` file: ``about`` (JSON, as bytes), and the arrays in their order."""
        about = {
            "epochs": [epoch.model_dump() for epoch in self.epochs],
            "phase": self.phase,
            "learned": self.learned,
            "images": self.images,
            "sums": self.sums,
        }
        arrays = {
            f"{kind}/{number}": value
            for kind, values in self._arrays().items()
            for number, value in enumerate(values)
        }
        file = io.BytesIO()
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        np.savez(file, allow_pickle=False, about=text, **arrays)
        return file.getvalue()

    def _arrays(self) -> dict[str, list[Array]]:
        return {
            "model": _values(self._variables),
            "optimizer": _values(self.model.optimizer.variables),
            "best": self.best,
        }

    def _resume(self) -> None:
        """Go back to the newest checkpoint that is whole and fits this model."""
        for data in self.checkpoints.newest_first() if self.checkpoints else ():
            try:
                self._unpack(data)
            except (ValueError, KeyError, OSError, BadZipFile) as error:
                log.warning("A checkpoint is refused: %s", error)
                continue
            log.info("Resumed in epoch %d, after %d images.", len(self.epochs) + 1, self.images)
            return

    def _unpack(self, data: bytes) -> None:
        """Take the place that a checkpoint describes; wholly, or not at all with a ValueError."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            arrays: dict[str, list[Array]] = {"model": [], "optimizer": [], "best": []}
            for name in file.files[1:]:
                arrays[name.partition("/")[0]].append(file[name])
        epochs = [Epoch.model_validate(each) for each in about["epochs"]]
        if about["phase"] != self.phase:
            self.plan.phases[about["phase"]](self.model)
            self.phase = about["phase"]
        self.model.optimizer.build(self.model.trainable_variables)
        optimizer = self.model.optimizer.variables
        wanted = [each.shape for each in (*self._variables, *optimizer)]
        if wanted != [each.shape for each in (*arrays["model"], *arrays["optimizer"])]:
            raise ValueError("its arrays are not those of this network")
        _assign(self._variables, arrays["model"])
        _assign(optimizer, arrays["optimizer"])
        self.best, self.epochs = arrays["best"], epochs
        self.learned, self.images, self.sums = about["learned"], about["images"], about["sums"]

    @property
    def _variables(self) -> list[Any]:
        """Weights, running averages of batch normalization, states of random generators."""
        return [each for each in self.model.variables if not each.path.startswith(DATA)]


def cross_entropy(probabilities: Array, labels: Array) -> float:
    """Mean cross-entropy, in nats, of probabilities ``(n, classes)`` with int classes ``(n,)``."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(of_truth, 1e-7, 1)).mean())


def _values(variables: list[Any]) -> list[Array]:
    return [np.array(keras.ops.convert_to_numpy(each)) for each in variables]


def _assign(variables: list[Any], values: list[Array]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
