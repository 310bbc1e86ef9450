"""Training: what ends it before its end, and its figures."""

import os
import signal
import time
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from tasks.engine.directory import DirectoryStore
from tasks.errors import BadInput
from tasks.model_file import to_bytes
from tasks.records.trained import Epoch
from tasks.training.fitting import Fitted, Plan, fit
from tasks.training.memory import ran_out
from tests.support.deaths import Deadly, checkpoints
from tests.support.fitted import (
    PLAN,
    TRAINING,
    VALIDATION,
    compile_,
    network,
    takes_many_steps_at_once,
    timeless,
)

pytestmark = pytest.mark.slow


# Ends before the end ----------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["_steps", "_scored"])
def test_sigterm_keeps_a_checkpoint_and_then_does_what_it_did(
    place: DirectoryStore,
    unbroken: tuple[Fitted, bytes],
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tasks.training import fitting

    def stop(number: int, frame: object) -> None:
        raise SystemExit(75)

    original = getattr(fitting, moment)

    def terminate(*given: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*given)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        kept = Deadly(place, "runs/a", minutes=60)
        monkeypatch.setattr(fitting, moment, terminate)
        with pytest.raises(SystemExit) as end:
            fit(network(), TRAINING, VALIDATION, PLAN, checkpoints=kept)
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
        monkeypatch.undo()
    assert end.value.code == 75
    assert kept.kept == [8 if moment == "_steps" else 20]
    model = network()
    resumed = fit(model, TRAINING, VALIDATION, PLAN, checkpoints=Deadly(place, "runs/a", 60))
    assert timeless(resumed) == timeless(unbroken[0])
    assert to_bytes(model) == unbroken[1]


@pytest.mark.parametrize("together", [1, 2])
def test_a_loss_that_is_not_a_number_ends_training_at_its_step(
    place: DirectoryStore, together: int
) -> None:
    model, plan = network(1e30), replace(PLAN, together=together)
    takes_many_steps_at_once(model)
    with pytest.raises(BadInput) as caught:
        fit(model, TRAINING, VALIDATION, plan, checkpoints=checkpoints(place))
    assert caught.value.exit_code == 64
    assert "a loss of nan in epoch 1, step 2, at a learning rate of 1e+30" in str(caught.value)


def test_the_learning_rate_of_a_divergence_is_that_of_its_step() -> None:
    falling = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.25])
    model = network()
    compile_(model, falling)
    takes_many_steps_at_once(model)
    nothing = np.full(TRAINING[0].shape, np.nan, np.float32), TRAINING[1]
    with pytest.raises(BadInput, match=r"epoch 1, step 1, at a learning rate of 0\.5\b"):
        fit(model, nothing, VALIDATION, replace(PLAN, together=2))


def test_answers_that_are_not_numbers_end_training(place: DirectoryStore) -> None:
    whole = Plan(epochs=3, batch_size=20, seed=5)  # one step: its loss was taken before it broke
    with pytest.raises(BadInput, match="answers that are not numbers in epoch 1, step 1"):
        fit(network(1e38), TRAINING, VALIDATION, whole)


class Cramped(layers.Layer):
    """As a device that has room for so many images at a time would, it says that it has none.

    TensorFlow on a CPU does not say so but crashes, so that no real lack can be tested here.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def call(self, images: object) -> object:
        import tensorflow as tf

        def check(count: int) -> int:
            if count > self.room:
                raise MemoryError(f"no room for {count} images")
            return count

        count = tf.numpy_function(check, [tf.shape(images)[0]], tf.int32)
        with tf.control_dependencies([count]):
            return tf.identity(images)


@pytest.mark.parametrize(
    ("room", "advice"),
    [(3, "set residual_batch_size to 2, which was tried"), (0, "not even one image")],
)
def test_too_little_memory_is_told_with_the_batch_that_fits(room: int, advice: str) -> None:
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(Cramped(room)(image))
    model = keras.Model(image, layers.Dense(2, activation="softmax")(x))
    compile_(model, 0.01)
    with pytest.raises(BadInput, match=advice) as caught:
        fit(model, TRAINING, VALIDATION, replace(PLAN, batch_field="residual_batch_size"))
    assert caught.value.exit_code == 64
    assert "room for a step over 8 images" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "is_memory"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes", True),
        ("INTERNAL: Failed to load in-memory CUBIN: CUDA_ERROR_OUT_OF_MEMORY", True),
        ("INTERNAL: CUDNN_STATUS_ALLOC_FAILED", True),
        ("INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS", False),
    ],
)
def test_only_errors_of_jax_that_speak_of_memory_lead_to_the_search_for_a_batch(
    said: str, is_memory: bool
) -> None:
    error = type("JaxRuntimeError", (RuntimeError,), {})
    assert ran_out(error(said)) == is_memory
    assert not ran_out(RuntimeError(said))


# Figures ----------------------------------------------------------------------------------------


def test_the_time_of_telling_others_is_not_that_of_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, told = time.monotonic, [0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 10**6 * told[0])

    def watch(epochs: tuple[Epoch, ...]) -> None:
        told[0] += 1  # takes a million seconds

    fitted = fit(network(), TRAINING, VALIDATION, PLAN, watch=watch)
    assert told == [PLAN.epochs]
    assert len(fitted.epochs) == PLAN.epochs
    assert all(0 < epoch.seconds < 10**6 for epoch in fitted.epochs)


def test_a_class_that_validation_lacks_has_no_recall() -> None:
    images, labels = VALIDATION
    only = labels == 0
    fitted = fit(network(), TRAINING, (images[only], labels[only]), Plan(1, 8, seed=5))
    assert fitted.epochs[0].val_recall[1] is None
    assert fitted.epochs[0].val_balanced_accuracy == fitted.epochs[0].val_recall[0]


def test_examples_may_be_drawn_otherwise_and_the_loss_is_theirs() -> None:
    drawn: list[int] = []

    def balanced(generator: np.random.Generator) -> np.ndarray:
        drawn.append(int(generator.integers(1000)))
        return np.repeat(np.flatnonzero(TRAINING[1] == 1)[:4], 3)

    fitted = fit(network(), TRAINING, VALIDATION, Plan(2, 8, seed=5, draw=balanced))
    assert len(set(drawn)) == 2  # another generator for each epoch
    assert fitted.epochs[-1].loss > 0
