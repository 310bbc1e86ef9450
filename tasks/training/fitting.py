"""Fit one network, so that a kill at any moment costs time but does not change the result.

All random numbers depend only on the seed and the progress. The order of the images of an epoch is
drawn from (seed, epoch). The generators of dropout and augmentation are variables of the model, and
a checkpoint holds them. The code uses only Keras's own interface, so it runs on every backend.
"""

import logging
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from tasks.engine.checkpoints import Checkpoints
from tasks.errors import BadInput
from tasks.records.trained import Epoch
from tasks.training.devices import dealt_evenly, on_every_device
from tasks.training.memory import out_of_memory, ran_out
from tasks.training.state import State, assign, values_of
from tasks.training.stopping import Keeper, Stopped, sigterm_noted

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
Examples = tuple[Any, Array]  # what indexes like an array, first axis n; int classes ``(n,)``

SCORED_AT_ONCE = 256  # images


@dataclass(frozen=True)
class Plan:
    """How to fit.

    Attributes:
        epochs: Passes over the training examples.
        batch_size: Examples in one step of the optimizer; equally many for each device.
        seed: Seed of the order of the examples.
        phases: Function to apply to the model before an epoch, by number of the epoch (from 0). It
            may freeze layers and must compile the model. A model without phases must be compiled.
        draw: Function from a random generator to the examples of an epoch, as indices in order.
            None: all examples, shuffled.
        together: Steps that the model takes in one call, while so many are left: it then gets
            inputs ``(batch, steps, ...)`` and classes ``(batch, steps)``.
        batch_field: Field of the configuration to change if a batch does not fit into memory.
        rate_field: Field of the configuration to change if the loss diverges.
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
    """The curves, and the epoch (from 1) with the lowest validation loss. The model holds the
    weights of that epoch."""

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
    """Fit a network that gives class probabilities, starting from the newest valid checkpoint.

    Args:
        model: Compiled with the metric ``accuracy``, or compiled by the first phase. Afterwards it
            holds the weights of the epoch with the lowest validation loss; if the optimizer
            averages weights (EMA), the averages.
        training: Inputs ``(n, ...)`` and classes, int ``(n,)``.
        validation: Inputs and classes to score after each epoch.
        plan: How to fit.
        checkpoints: Where to keep checkpoints; None for work that starts again after a kill.
        watch: Called after each epoch with all epochs so far.

    Raises:
        BadInput: The loss is no longer a number; or the memory does not suffice, and the message
            names the batch that would fit.
        SystemExit: SIGTERM came; a checkpoint was written first.
    """
    state = State(model, plan.phases)
    with sigterm_noted() as noted, suppress(Stopped):
        return _fit(state, training, validation, plan, Keeper(state, checkpoints, noted), watch)
    log.info("Stopped in epoch %d.", len(state.epochs) + 1)
    signal.raise_signal(signal.SIGTERM)  # to whoever had the word before
    raise SystemExit(128 + signal.SIGTERM)  # it was ignored there


def _fit(
    state: State,
    training: Examples,
    validation: Examples,
    plan: Plan,
    keeper: Keeper,
    watch: Callable[[tuple[Epoch, ...]], None],
) -> Fitted:
    """The loop.

    It replaces ``keras.Model.fit``, which starts a TensorFlow pipeline for each epoch. Ending the
    pipeline took 2.5 s after every other epoch of 3 s.
    """
    keeper.resume()
    while len(state.epochs) < plan.epochs:
        state.enter_phase()
        order = _order(plan, len(state.epochs), len(training[1]))
        while state.images < len(order):  # what this epoch has not learned from yet
            with _lack_of_memory_told(state.model, training, plan):
                _rehearse(state, training, plan, order)
                _steps(state, training, plan, order[state.images :])
            keeper.between_steps()
        state.epochs.append(_validated(state, validation, plan, keeper))
        watch(tuple(state.epochs))
        state.begin_epoch()  # the time of an epoch does not include reporting
        keeper.between_steps(due=len(state.epochs) == plan.epochs)
    assign(state.variables, state.best)
    losses = [epoch.val_loss for epoch in state.epochs]
    return Fitted(tuple(state.epochs), 1 + int(np.argmin(losses)))


# Learning ---------------------------------------------------------------------------------------


def _order(plan: Plan, epoch: int, examples: int) -> Array:
    """The examples of an epoch (from 0), as indices; equally many for each device."""
    generator = np.random.default_rng([plan.seed, epoch])
    order = plan.draw(generator) if plan.draw else generator.permutation(examples)
    return order[: dealt_evenly(len(order))]  # each epoch leaves out others


def _rehearse(state: State, training: Examples, plan: Plan, order: Array) -> None:
    """Show the model both sizes of its batches, once in each phase, before it learns.

    TensorFlow builds graphs by the sizes that it has met so far, and each graph rounds in its own
    way. Without the rehearsal, the result after a kill would depend on the step of the kill.
    """
    rest = len(order) % plan.batch_size
    if not rest or state.rehearsed == state.phase:
        return
    model = state.model
    model.optimizer.build(model.trainable_variables)
    variables = [*state.variables, *model.optimizer.variables]
    kept = values_of(variables)
    for size in (plan.batch_size, rest):
        inputs, labels = training
        model.train_on_batch(inputs[order[:size]], labels[order[:size]])
    assign(variables, kept)
    state.rehearsed = state.phase


def _steps(state: State, training: Examples, plan: Plan, ahead: Array) -> None:
    """Take one step of the optimizer, or several, on the first examples of `ahead`."""
    inputs, labels = training
    size = plan.batch_size
    steps = min(plan.together, len(ahead) // size)
    chosen = ahead[:size]
    if steps > 1:
        chosen = ahead[: steps * size].reshape(steps, size).T
    # The figures belong to single steps. So their sums survive a kill bit for bit, and a loss that
    # is not a number shows in its own step.
    logs = state.model.train_on_batch(inputs[chosen], labels[chosen], return_dict=True)
    losses, accuracies = np.atleast_1d(logs["loss"]), np.atleast_1d(logs["accuracy"])
    for number, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), start=1):
        state.count_step(len(chosen), float(loss), float(accuracy))
        if not math.isfinite(loss):
            taken_since = len(losses) - number
            raise _diverged(state, plan, f"a loss of {float(loss)}", taken_since)


@contextmanager
def _lack_of_memory_told(model: keras.Model, training: Examples, plan: Plan) -> Iterator[None]:
    """Report which batch would fit, if a step does not fit into memory.

    Raises:
        BadInput: The memory does not suffice.
    """

    def attempt(images: int) -> None:
        """Take one step, after which the weights are useless."""
        # A failed step on JAX may have freed the arrays that it should change.
        for each in (*model.variables, *model.optimizer.variables):
            each.assign(keras.ops.zeros(each.shape, each.dtype))
        inputs, labels = training
        images = dealt_evenly(images)
        model.train_on_batch(inputs[:images], labels[:images])

    try:
        yield
    except Exception as error:
        if ran_out(error):
            raise out_of_memory(error, attempt, plan.batch_size, plan.batch_field) from error
        raise


def _diverged(state: State, plan: Plan, received: str, taken_since: int = 0) -> BadInput:
    """The error to raise; `taken_since` steps of the optimizer followed the step that failed."""
    optimizer = state.model.optimizer
    optimizer.iterations.assign(optimizer.iterations - taken_since)  # the rate may depend on it
    step = math.ceil(state.images / plan.batch_size)
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    return BadInput(
        "Training has diverged.",
        expected="a finite loss",
        received=f"{received} in epoch {len(state.epochs) + 1}, step {step}, at a learning "
        f"rate of {rate:.3g}",
        do=f"lower {plan.rate_field}; a retry would end in the same place",
    )


# Validation -------------------------------------------------------------------------------------


def _validated(state: State, validation: Examples, plan: Plan, keeper: Keeper) -> Epoch:
    """Score validation; keep the weights if they are the best so far."""
    labels = validation[1]
    try:
        with _averaged(state.model):
            answers = _answers(state.model, validation, keeper)
            if not np.isfinite(answers).all():
                raise _diverged(state, plan, "answers that are not numbers")
            loss = cross_entropy(answers, labels)
            if all(loss < earlier.val_loss for earlier in state.epochs):
                state.best = values_of(state.variables)
    except Stopped:
        keeper.save()
        raise
    state.count_time()
    return _figures(state, answers, labels, loss)


def _answers(model: keras.Model, validation: Examples, keeper: Keeper) -> Array:
    """Probabilities ``(n, classes)`` for validation; each device computes all of them."""
    numbers, answers = np.arange(len(validation[1])), []
    for start in range(0, len(numbers), SCORED_AT_ONCE):
        chosen = numbers[start : start + SCORED_AT_ONCE]
        answers.append(_scored(model, validation[0][chosen]))
        if keeper.noted:
            raise Stopped
    return np.concatenate(answers)


def _scored(model: keras.Model, inputs: Any) -> Array:
    return np.asarray(model.predict_on_batch(inputs))


@contextmanager
def _averaged(model: keras.Model) -> Iterator[None]:
    """Put averages in the place of the weights, if the optimizer keeps averages."""
    kept = values_of(model.trainable_variables)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    # On JAX the weights now are the averages, not a copy, and scoring gives their memory away.
    assign(model.trainable_variables, values_of(model.trainable_variables))
    try:
        yield
    finally:
        assign(model.trainable_variables, kept)


def _figures(state: State, answers: Array, labels: Array, loss: float) -> Epoch:
    right = answers.argmax(axis=1) == labels
    recalls = [
        float(right[labels == number].mean()) if (labels == number).any() else None
        for number in range(answers.shape[1])
    ]
    return Epoch(
        loss=state.sums["loss"] / state.images,
        accuracy=state.sums["accuracy"] / state.images,
        val_loss=loss,
        val_accuracy=float(right.mean()),
        val_balanced_accuracy=float(np.mean([each for each in recalls if each is not None])),
        val_recall=tuple(recalls),
        seconds=state.sums["seconds"],
    )


def cross_entropy(probabilities: Array, labels: Array) -> float:
    """Mean cross-entropy, in nats, of probabilities ``(n, classes)`` with int classes ``(n,)``."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(of_truth, 1e-7, 1)).mean())
