"""The recipe `travel`: `residual`, whose loss knows the shares of the classes in each source."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.engine.directory import DirectoryStore
from tasks.model_file import from_bytes
from tasks.recipes import Recipe
from tasks.records.evaluated import Evaluated
from tasks.records.trained import Trained
from tasks.training import memory
from tasks.training.fitting import fit
from tasks.training.learner import learner_of
from tests.support.deliveries import delivered, do, run_of
from tests.support.records import record_of

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(2)
PIXELS = RANDOM.integers(0, 256, (48, 32, 32, 3), np.uint8)
LABELS = np.arange(48) % 3
# The first source holds classes 0 and 1, the second 1 and 2.
TWO = np.where(LABELS == 1, np.arange(48) // 3 % 2, LABELS // 2)


def learned(recipe: Recipe, to: Path, sources: np.ndarray | None = None) -> keras.Model:
    run = run_of(DirectoryStore(to), residual_epochs=2, residual_batch_size=16, image_size=32)
    learner = learner_of(run, recipe, (PIXELS, LABELS), 3, sources)
    fit(learner.model, learner.examples, (PIXELS[:6], LABELS[:6]), learner.plan)
    return learner.finish()


def same(one: keras.Model, other: keras.Model) -> bool:
    weights = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in weights)


def test_of_one_source_it_learns_what_residual_learns_and_of_two_it_does_not(
    tmp_path: Path,
) -> None:
    usual = learned("residual", tmp_path)
    assert same(learned("residual", tmp_path, TWO), usual)
    assert same(learned("travel", tmp_path), usual)
    assert not same(learned("travel", tmp_path, TWO), usual)


def test_streamed_images_of_several_sources_make_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = learned("travel", tmp_path, TWO)
    monkeypatch.setattr(memory, "SHARE_FOR_IMAGES", 0.0)
    assert same(learned("travel", tmp_path, TWO), resident)


def test_a_run_trains_it_and_is_judged(drawn: Path, tmp_path: Path) -> None:
    store = delivered(drawn, tmp_path / "store")
    run = run_of(store, recipes=("travel",), residual_epochs=1, minimum_groups=4, policy="smoke")
    do(run, "ingest", "validate", "split", "check_balance", "oversample", "train", "evaluate")
    (trained,) = record_of(run, Trained).recipes
    assert trained.recipe == record_of(run, Evaluated).recipe == "travel"
    assert from_bytes(run.fetch(trained.model)).name == "travel"
