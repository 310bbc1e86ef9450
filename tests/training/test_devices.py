"""Several devices: what one learns, four learn together. The devices are simulated, by XLA."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.training import devices
from tasks.training.devices import PIXELS_AT_ONCE, dealt_evenly, device_count, steps_at_once
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

# A campaign takes another, too. Each takes half a minute to compile, for each number of devices.
RECIPES = tuple(os.environ.get("RECIPES_ON_DEVICES", "residual").split())
KILLED = 9


def trained(
    folder: Path,
    count: int,
    lives: int = 10**6,
    at_once: int = 1,
    precision: str = "float32",
    recipes: tuple[str, ...] = RECIPES,
) -> dict[str, Any]:
    """The figures of a training on so many devices, of so many steps in one call; of one that was
    killed, nothing."""
    process = on_jax(count, __file__, folder, lives, at_once, precision, *recipes)
    assert process.returncode == (0 if lives == 10**6 else KILLED), process.stderr
    return dict(json.loads(process.stdout or "{}"))


def on_jax(count: int, *argv: object) -> subprocess.CompletedProcess[str]:
    """Python on so many devices."""
    return subprocess.run(
        [sys.executable, *map(str, argv)],
        env=os.environ
        | {
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return trained(tmp_path_factory.mktemp("one"), 1)


def agree(
    some: dict[str, Any], others: dict[str, Any], recipes: tuple[str, ...] = RECIPES, by: float = 1
) -> None:
    """As far as the order in which sums are rounded lets them: Adam makes much of little."""
    for recipe in recipes:
        pairs = list(zip(some[recipe], others[recipe], strict=True))
        assert len(pairs) == 3
        best = min(epoch["val_loss"] for epoch in some[recipe])
        assert some["loss of saved"][recipe] == pytest.approx(best, abs=1e-3), recipe
        for epoch, (one, other) in enumerate(pairs):
            away = by * (1e-3 if epoch == 0 else 2e-2)
            assert one["loss"] == pytest.approx(other["loss"], rel=away), (recipe, epoch)
            assert one["val_loss"] == pytest.approx(other["val_loss"], rel=away), (recipe, epoch)


def test_four_devices_learn_what_one_learns(tmp_path: Path, one: dict[str, Any]) -> None:
    four = trained(tmp_path, 4)
    assert (one["devices"], four["devices"]) == (1, 4)  # that the weights lie on
    assert (one["said"], four["said"]) == ("jax on 1 cpu", "jax on 4 cpu")
    agree(four, one)


def test_an_epoch_in_one_call_learns_what_its_steps_learn(
    tmp_path: Path, one: dict[str, Any]
) -> None:
    whole = trained(tmp_path, 4, at_once=2, recipes=("residual",))
    assert (whole["calls"]["residual"], one["calls"]["residual"]) == (
        3,
        6,
    )  # three epochs of two steps
    agree(whole, one, ("residual",))


def test_in_short_floats_it_learns_nearly_the_same_also_after_a_kill(
    tmp_path: Path, one: dict[str, Any]
) -> None:
    short: dict[str, Any] = {"at_once": 2, "precision": "mixed_bfloat16", "recipes": ("residual",)}
    assert trained(tmp_path, 4, lives=1, **short) == {}
    resumed = trained(tmp_path, 4, **short)
    assert resumed["resumed"] == ["residual"]
    assert resumed["calls"]["residual"] == 2  # the first epoch had been learned from before
    agree(resumed, one, ("residual",), by=10)
    assert resumed["residual"][-1]["loss"] != one["residual"][-1]["loss"]


def test_what_four_devices_began_one_ends(tmp_path: Path, one: dict[str, Any]) -> None:
    assert trained(tmp_path, 4, lives=3, recipes=("residual",)) == {}
    kept = list((tmp_path / "residual").rglob("*.npz"))
    assert kept
    alone = trained(tmp_path, 1, recipes=("residual",))
    assert alone["devices"] == 1
    agree(alone, one, ("residual",))
    assert alone["resumed"] == ["residual"]


@given(st.integers(1, 10**4), st.integers(1, 64))
def test_each_device_gets_as_many_images_and_at_least_one(images: int, count: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(devices, "device_count", lambda: count)
        even = dealt_evenly(images)
    assert even % count == 0
    assert even >= count
    assert even <= images or images < count
    assert images - even < count


def test_a_backend_that_cannot_deal_out_has_one_device() -> None:
    assert device_count() == 1  # TensorFlow, as the other tests have it
    assert [dealt_evenly(images) for images in (1, 7, 64)] == [1, 7, 64]


@given(st.integers(1, 4096), st.integers(32, 1024))
def test_an_accelerator_is_left_alone_with_as_much_work_as_one_may_wait_for(
    batch_size: int, side: int
) -> None:
    assert steps_at_once(batch_size, side) == 1  # on a CPU
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(devices, "is_accelerated", lambda: True)
        steps = steps_at_once(batch_size, side)
        assert steps_at_once(64, 96) == 128
    work = batch_size * side**2
    assert steps == 1 or steps * work <= PIXELS_AT_ONCE
    assert (steps + 1) * work > PIXELS_AT_ONCE


# What JAX leaves of a network whose step it began and could not end.
GIVEN_AWAY = """
import keras, numpy as np
from tasks.errors import BadInput
from tests.support.paths import ROOT
from tasks.training.fitting import Plan, fit

image = keras.Input((4, 4, 3))
x = keras.layers.Dropout(0.5, seed=1)(keras.layers.GlobalAveragePooling2D()(image))
model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
optimizer = keras.optimizers.AdamW(0.01)
model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=True)
step = model.train_on_batch

def cramped(inputs, labels, **named):
    if len(labels) > ROOM:
        for each in (*model.variables, *optimizer.variables):
            each.value.delete()
        raise MemoryError("no room")
    return step(inputs, labels, **named)

model.train_on_batch = cramped
examples = np.ones((20, 4, 4, 3), np.float32), np.zeros(20, int)
try:
    fit(model, examples, examples, Plan(epochs=1, batch_size=8, seed=0))
except BadInput as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("room", "advice"), [(3, "set batch_size to 2, which was tried"), (0, "not even one image")]
)
def test_the_batch_that_fits_is_found_though_the_failed_step_took_the_weights_with_it(
    room: int, advice: str
) -> None:
    assert advice in on_jax(1, "-c", GIVEN_AWAY.replace("ROOM", str(room))).stdout


# The training of one of these processes -----------------------------------------------------------


def train(
    folder: Path, lives: int, at_once: int, precision: str, recipes: list[str]
) -> dict[str, Any]:
    """Batches of 12, 12, 12 and 4, or of 16; and 10 images to judge by, which no four can share."""
    from scipy.special import softmax

    from tasks.engine.directory import DirectoryStore
    from tasks.model_file import from_bytes, to_bytes
    from tasks.recipes import recipe_now
    from tasks.training import learner as learning
    from tasks.training import residual_network
    from tasks.training.fitting import cross_entropy, fit
    from tests.support.deaths import Killed, checkpoints
    from tests.support.deliveries import run_of
    from tests.support.noise import TRAINING, VALIDATION

    vars(residual_network).update(STEM=8, STAGES=(8, 16))  # sooner compiled
    validation = VALIDATION[0][:10], VALIDATION[1][:10]
    vars(learning).update(steps_at_once=lambda *size: at_once, precision=lambda: precision)
    told: dict[str, Any] = {"resumed": [], "calls": dict.fromkeys(recipes, 0)}
    for recipe in recipes:
        store = DirectoryStore(folder / recipe)
        kept = checkpoints(store, lives)
        if list(kept.newest_first()):
            told["resumed"].append(recipe)
        run = run_of(store, residual_epochs=3, residual_batch_size=16, epochs=3, batch_size=12)
        learner = learning.learner_of(run, recipe_now(recipe), TRAINING, 3)
        model = learner.model
        call = model.train_on_batch

        def counted(*given: Any, own: tuple[Any, str] = (call, recipe), **named: Any) -> Any:
            told["calls"][own[1]] += 1
            return own[0](*given, **named)

        model.train_on_batch = counted
        try:
            fitted = fit(model, learner.examples, validation, learner.plan, checkpoints=kept)
        except Killed:
            os._exit(KILLED)
        told[recipe] = [epoch.model_dump() for epoch in fitted.epochs]
        saved = from_bytes(to_bytes(learner.finish()))
        if recipe == "residual":
            saved = saved.get_layer("residual")  # one look, as validation takes it
        answers = saved.predict(validation[0], verbose=0)
        answers = answers if recipe != "residual" else softmax(answers, axis=1)
        told["loss of saved"] = told.get("loss of saved", {}) | {
            recipe: float(cross_entropy(answers, validation[1]))
        }
        told["said"] = devices.computed_on()
        told["devices"] = len(model.trainable_variables[0].value.sharding.device_set)
    return told


if __name__ == "__main__":
    place, lives, at_once, precision, *recipes = sys.argv[1:]
    print(json.dumps(train(Path(place), int(lives), int(at_once), precision, recipes)))
