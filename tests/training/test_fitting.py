"""Fitting: what a kill changes, what a checkpoint is trusted for, how training ends early."""

import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tasks.engine.checkpoints import KEPT, Checkpoints
from tasks.engine.directory import DirectoryStore
from tasks.engine.store import Store
from tasks.errors import BadInput, Momentary
from tasks.model_file import to_bytes
from tasks.records.trained import Epoch
from tasks.training.fitting import Examples, Fitted, Plan, cross_entropy, fit
from tasks.training.memory import ran_out
from tasks.training.network import JIT
from tests.support.deaths import Deadly, Killed, checkpoints

pytestmark = pytest.mark.slow

PLAN = Plan(epochs=3, batch_size=8, seed=5)
STEPS = 3  # of an epoch: 20 images in batches of 8, 8 and 4


def examples(count: int, seed: int) -> Examples:
    """Noise with a bright corner for the second of two classes."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 200, (count, 16, 16, 3), np.uint8)
    labels = generator.integers(0, 2, count)
    images[labels == 1, :6, :6] = 255
    return images, labels


TRAINING, VALIDATION = examples(20, seed=1), examples(10, seed=2)


def network(learning_rate: float = 0.01) -> keras.Model:
    """All that has a state: weights, running averages, random generators, averaged weights."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image))
    x = layers.Dropout(0.3, seed=2)(layers.BatchNormalization(momentum=0.5)(x))
    x = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    compile_(model, learning_rate)
    return model


def compile_(model: keras.Model, learning_rate: Any) -> None:
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate, use_ema=True, ema_momentum=0.8),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=JIT,
    )


def takes_many_steps_at_once(model: keras.Model) -> list[int]:
    """As JAX lets it, only one after another; returns how many it takes in each call."""
    one, taken = model.train_on_batch, list[int]()

    def many(images: np.ndarray, labels: np.ndarray, return_dict: bool = True) -> dict[str, object]:
        taken.append(1 if labels.ndim == 1 else labels.shape[1])
        if labels.ndim == 1:
            return dict(one(images, labels, return_dict=True))
        steps = range(labels.shape[1])
        each = [one(images[:, step], labels[:, step], return_dict=True) for step in steps]
        return {name: np.array([logs[name] for logs in each]) for name in each[0]}

    model.train_on_batch = many
    return taken


def timeless(fitted: Fitted) -> list[Epoch]:
    return [epoch.model_copy(update={"seconds": 0.0}) for epoch in fitted.epochs]


@pytest.fixture(scope="module")
def unbroken() -> tuple[Fitted, bytes]:
    model = network()
    return fit(model, TRAINING, VALIDATION, PLAN), to_bytes(model)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the checkpoints after the first and the second step."""
    folder = tmp_path_factory.mktemp("broken")
    broken_after(DirectoryStore(folder), 2)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def broken_after(store: Store, *lives: int) -> None:
    for each in lives:
        with pytest.raises(Killed):
            fit(network(), TRAINING, VALIDATION, PLAN, checkpoints=checkpoints(store, each))


def files(store: DirectoryStore) -> list[Path]:
    return sorted((store.root / "runs").rglob("*.npz"))


# A kill -----------------------------------------------------------------------------------------


def test_a_kill_changes_neither_a_figure_nor_a_byte(
    place: DirectoryStore, unbroken: tuple[Fitted, bytes]
) -> None:
    """In an epoch, before its validation, after it, and in the next."""
    broken_after(place, 1, STEPS - 1, 1, 1)
    model, seen = network(), list[int]()
    resumed = fit(
        model,
        TRAINING,
        VALIDATION,
        PLAN,
        checkpoints=checkpoints(place),
        watch=lambda epochs: seen.append(len(epochs)),
    )
    assert timeless(resumed) == timeless(unbroken[0])
    assert to_bytes(model) == unbroken[1]
    assert seen == [2, 3]  # what was done is not done again


@pytest.mark.parametrize("steps", range(1, STEPS + 2))
def test_a_kill_after_any_step_changes_no_byte(
    place: DirectoryStore, unbroken: tuple[Fitted, bytes], steps: int
) -> None:
    """Also before the last batch of an epoch, which is smaller than the others."""
    broken_after(place, steps)
    model = network()
    fit(model, TRAINING, VALIDATION, PLAN, checkpoints=checkpoints(place))
    assert to_bytes(model) == unbroken[1]


def test_many_steps_in_one_call_change_neither_a_figure_nor_a_byte(
    place: DirectoryStore, unbroken: tuple[Fitted, bytes]
) -> None:
    together = replace(PLAN, together=2)
    broken = network()
    takes_many_steps_at_once(broken)
    with pytest.raises(Killed):
        fit(broken, TRAINING, VALIDATION, together, checkpoints=checkpoints(place, lives=1))
    model = network()
    taken = takes_many_steps_at_once(model)
    fitted = fit(model, TRAINING, VALIDATION, together, checkpoints=checkpoints(place))
    rehearsal = [1, 1]
    assert taken == [*rehearsal, 1, 2, 1, 2, 1]  # two steps had been taken before the kill
    assert timeless(fitted) == timeless(unbroken[0])
    assert to_bytes(model) == unbroken[1]


def test_another_seed_gives_another_model(unbroken: tuple[Fitted, bytes]) -> None:
    model = network()
    fit(model, TRAINING, VALIDATION, Plan(epochs=3, batch_size=8, seed=6))
    assert to_bytes(model) != unbroken[1]


def test_the_last_two_are_kept_and_what_is_done_is_not_done_again(
    place: DirectoryStore, unbroken: tuple[Fitted, bytes]
) -> None:
    kept = checkpoints(place)
    fit(network(), TRAINING, VALIDATION, PLAN, checkpoints=kept)
    assert len(kept.kept) == 3 * (STEPS + 1)  # after each step and each epoch
    assert sorted(set(kept.kept)) == kept.kept
    assert [int(path.name[:12]) for path in files(place)] == kept.kept[-KEPT:]

    model, again = network(), checkpoints(place)
    assert timeless(fit(model, TRAINING, VALIDATION, PLAN, checkpoints=again)) == timeless(
        unbroken[0]
    )
    assert again.kept == []
    assert to_bytes(model) == unbroken[1]


def test_a_second_phase_goes_on_with_its_own_optimizer(place: DirectoryStore) -> None:
    def frozen(model: keras.Model) -> None:
        model.layers[2].trainable = False
        compile_(model, 0.01)

    def free(model: keras.Model) -> None:
        model.layers[2].trainable = True
        compile_(model, 0.001)

    plan = Plan(epochs=3, batch_size=8, seed=5, phases={0: frozen, 1: free})
    model = network()
    before = [np.array(each) for each in model.layers[2].get_weights()]
    epochs_seen: list[bool] = []
    whole = fit(
        model,
        TRAINING,
        VALIDATION,
        plan,
        watch=lambda epochs: epochs_seen.append(
            all(map(np.array_equal, before, model.layers[2].get_weights()))
        ),
    )
    assert epochs_seen == [True, False, False]
    for lives in (STEPS + 1, 1):  # at the border of the phases, and one step into the second
        with pytest.raises(Killed):
            fit(network(), TRAINING, VALIDATION, plan, checkpoints=checkpoints(place, lives))
    again = network()
    resumed = fit(again, TRAINING, VALIDATION, plan, checkpoints=checkpoints(place))
    assert timeless(resumed) == timeless(whole)
    assert to_bytes(again) == to_bytes(model)


# What a checkpoint is trusted for ---------------------------------------------------------------


def cut_short(data: bytes) -> bytes:
    return data[: len(data) // 2]


def tampered_with(data: bytes) -> bytes:
    return data[:-300] + bytes([data[-300] ^ 1]) + data[-299:]


@pytest.mark.parametrize("spoil", [cut_short, tampered_with])
def test_a_spoilt_checkpoint_is_refused_and_the_one_before_it_is_used(
    place: DirectoryStore,
    broken: Path,
    unbroken: tuple[Fitted, bytes],
    spoil: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(broken, place.root, dirs_exist_ok=True)
    newest = files(place)[-1]
    newest.write_bytes(spoil(newest.read_bytes()))
    model, kept = network(), checkpoints(place)
    resumed = fit(model, TRAINING, VALIDATION, PLAN, checkpoints=kept)
    assert f"{newest.name} is refused" in caplog.text
    assert kept.kept[0] == 16  # the one before stood at 8 images
    assert timeless(resumed) == timeless(unbroken[0])
    assert to_bytes(model) == unbroken[1]


def test_a_checkpoint_of_another_network_is_refused(
    place: DirectoryStore, broken: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(broken, place.root, dirs_exist_ok=True)
    image = keras.Input((None, None, 3))
    x = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(image))
    other = keras.Model(image, x)
    compile_(other, 0.01)
    fitted = fit(other, TRAINING, VALIDATION, PLAN, checkpoints=checkpoints(place))
    assert caplog.text.count("not those of this network") == KEPT
    assert len(fitted.epochs) == 3


def test_time_decides_when_one_is_kept(place: DirectoryStore) -> None:
    kept = Deadly(place, "runs/a", minutes=60)
    fit(network(), TRAINING, VALIDATION, PLAN, checkpoints=kept)
    assert len(kept.kept) == 1  # the last state, for a kill between training and the record


def test_checkpoints_lie_on_every_kind_of_store(store: Store) -> None:
    kept = Checkpoints(store, "runs/a/train/checkpoints/x", minutes=5)
    assert list(kept.newest_first()) == []
    for number in (3, 20, 100):
        kept.save(number, f"state {number}".encode())
    kept.save(100, b"state 100")  # by another attempt, that came as far
    assert list(kept.newest_first()) == [b"state 100", b"state 20"]
    newest = list(store.list("runs/a/"))[-1].key
    store.replace(newest, b"state 1")
    assert list(kept.newest_first()) == [b"state 20"]


def test_a_store_that_fails_costs_checkpoints_but_not_the_training(
    place: DirectoryStore,
    unbroken: tuple[Fitted, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise Momentary("the store is away")

    monkeypatch.setattr(place, "create", fail)
    model = network()
    fit(model, TRAINING, VALIDATION, PLAN, checkpoints=checkpoints(place))
    assert to_bytes(model) == unbroken[1]
    assert "the store is away" in caplog.text


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


def test_the_figures_are_those_of_the_answers(unbroken: tuple[Fitted, bytes]) -> None:
    from sklearn.metrics import balanced_accuracy_score, recall_score

    from tasks.model_file import from_bytes

    fitted, saved = unbroken
    images, labels = VALIDATION
    answers = from_bytes(saved).predict(images, verbose=0)
    best = fitted.epochs[fitted.best_epoch - 1]
    assert best.val_loss == min(epoch.val_loss for epoch in fitted.epochs)
    assert best.val_loss == pytest.approx(cross_entropy(answers, labels), abs=1e-5)
    chosen = answers.argmax(axis=1)
    assert best.val_balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, chosen))
    assert best.val_recall == pytest.approx(recall_score(labels, chosen, average=None))


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
