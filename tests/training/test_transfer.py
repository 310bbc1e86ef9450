"""The recipe `transfer`: what it begins with, and what it refuses to begin with."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.engine.run import Run
from tasks.errors import BadInput, Momentary
from tasks.model_file import from_bytes, to_bytes
from tasks.records.evaluated import Evaluated
from tasks.records.trained import Trained
from tasks.training import pretrained
from tasks.training.fitting import Plan, fit
from tasks.training.transfer_network import BACKBONE, transfer_phases, transferred
from tests.support.deliveries import delivered, do, run_of
from tests.support.records import record_of

pytestmark = pytest.mark.slow

KEY = "pretrained/small.weights.h5"
SIDE = 32  # the least that the backbone takes


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small local file in the place of ImageNet's: random weights from a seed."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(7)
    backbone = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(SIDE, SIDE, 3)
    )
    path = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    backbone.save_weights(path)
    return path.read_bytes()


def kernels(model: keras.Model) -> list[np.ndarray]:
    return [np.array(each) for each in model.get_layer(BACKBONE).get_weights()]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_backbone_begins_with_the_given_weights(weights: bytes) -> None:
    first = transferred(SIDE, 3, weights, seed=1)
    second = transferred(SIDE, 3, weights, seed=2)
    assert same(kernels(first), kernels(second))
    heads = [model.layers[-1].get_weights()[0] for model in (first, second)]
    assert not np.array_equal(*heads)


def test_the_backbone_stands_still_at_first_and_learns_later(weights: bytes) -> None:
    generator = np.random.default_rng(0)
    examples = generator.integers(0, 255, (8, SIDE, SIDE, 3), np.uint8), np.arange(8) % 2
    model = transferred(SIDE, 2, weights, seed=1)
    before = kernels(model)
    phases = transfer_phases(epochs=4, learning_rate=0.01)
    assert sorted(phases) == [0, 1]
    frozen = Plan(epochs=1, batch_size=8, seed=0, phases=phases)
    fit(model, examples, examples, frozen)
    assert same(before, kernels(model))
    phases[1](model)
    model.fit(*examples, verbose=0)
    assert not same(before, kernels(model))


def test_what_is_saved_answers_as_what_was_trained(weights: bytes) -> None:
    model = transferred(SIDE, 2, weights, seed=1)
    pictures = np.random.default_rng(0).integers(0, 255, (2, 50, 60, 3), np.uint8)
    again = from_bytes(to_bytes(model))
    np.testing.assert_array_equal(
        model.predict(pictures, verbose=0), again.predict(pictures, verbose=0)
    )


@pytest.mark.parametrize("spoilt", ["no HDF5", "another network"])
def test_weights_that_do_not_fit_are_refused(spoilt: str, tmp_path: Path) -> None:
    data = b"not a file of weights"
    if spoilt == "another network":
        path = tmp_path / "other.weights.h5"
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
        data = path.read_bytes()
    with pytest.raises(BadInput, match=r"MobileNetV2(?s:.*)transfer_weights"):
        transferred(SIDE, 2, data, seed=1)


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory, weights: bytes) -> Run:
    store = delivered(drawn, tmp_path_factory.mktemp("transfer") / "store")
    store.create(KEY, weights)
    run = run_of(
        store, epochs=2, image_size=SIDE, minimum_groups=4, recipes=("transfer",),
        transfer_weights=KEY, policy="smoke",
    )  # fmt: skip
    do(run, "ingest", "validate", "split", "check_balance", "oversample", "train", "evaluate")
    return run


def test_transfer_goes_through_the_pipeline_from_a_file_in_the_store(run: Run) -> None:
    trained = record_of(run, Trained).recipes[0]
    assert trained.recipe == "transfer"
    assert len(trained.epochs) == 2
    assert all(np.isfinite(each.loss) for each in trained.epochs)
    assert record_of(run, Evaluated).recipe == "transfer"


def test_other_weights_under_the_same_key_are_another_training(run: Run, weights: bytes) -> None:
    then = pretrained.outside_state(run)
    run.store.replace(KEY, weights + b"\0")
    try:
        assert pretrained.outside_state(run) != then
    finally:
        run.store.replace(KEY, weights)
    assert pretrained.outside_state(run) == then


def test_weights_that_are_named_must_be_there_and_none_need_be_named(run: Run) -> None:
    missing = run.config.model_copy(update={"transfer_weights": "no/such.h5"})
    with pytest.raises(BadInput, match=r"no/such.h5"):
        pretrained.outside_state(replace(run, config=missing))
    unnamed = missing.model_copy(update={"transfer_weights": "imagenet"})
    assert pretrained.outside_state(replace(run, config=unnamed)) == "imagenet"
    another = missing.model_copy(update={"recipes": ("baseline",)})
    assert pretrained.outside_state(replace(run, config=another)) == ""


def test_a_way_out_that_fails_is_a_fault_of_the_moment_and_a_bad_file_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))  # nothing kept
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(Momentary, match="cannot be fetched"):
        transferred(SIDE, 3, None, seed=0)
    with pytest.raises(BadInput, match="cannot be read"):
        transferred(SIDE, 3, b"no weights at all", seed=0)
