"""Fitting: what a kill changes, and what a checkpoint is trusted for."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from tasks.engine.checkpoints import KEPT, Checkpoints
from tasks.engine.directory import DirectoryStore
from tasks.engine.store import Store
from tasks.errors import Momentary
from tasks.model_file import to_bytes
from tasks.training.fitting import Fitted, Plan, cross_entropy, fit
from tests.support.deaths import Deadly, Killed, checkpoints
from tests.support.fitted import (
    PLAN,
    STEPS,
    TRAINING,
    VALIDATION,
    compile_,
    network,
    takes_many_steps_at_once,
    timeless,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the checkpoints after the first and the second step."""
    folder = tmp_path_factory.mktemp("broken")
    broken_after(DirectoryStore(folder), 2)
    return folder


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
    spoil: Callable[[bytes], bytes],
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
