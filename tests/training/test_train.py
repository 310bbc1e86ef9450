"""train, evaluate, gate and register on a small drawn set, in this process."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.special import softmax

from tasks.curve import fit_of, in_words
from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.errors import Halt
from tasks.evaluation.scoring import by_lesion, operating_threshold
from tasks.intake.images import Decoded, decode
from tasks.intake.manifest import pixels_of
from tasks.lesions import MELANOMA
from tasks.model_file import from_bytes, to_bytes
from tasks.recipes import Recipe
from tasks.records.evaluated import Evaluated
from tasks.records.oversampled import Oversampled
from tasks.records.registered import Registered
from tasks.records.split import Split
from tasks.records.trained import Epoch, Trained
from tasks.training import learner
from tasks.training.calibration import at_temperature, calibration_error
from tasks.training.fitting import Plan, cross_entropy
from tasks.training.learner import learner_of
from tasks.training.network import shrink
from tasks.training.notebook_networks import build
from tests.support.approvals import promoted
from tests.support.deliveries import delivered, do, run_of, table_of
from tests.support.records import record_of

pytestmark = pytest.mark.slow

NOTEBOOKS: tuple[Recipe, ...] = ("baseline", "regularized", "balanced")
RECIPES = (*NOTEBOOKS, "residual")
BEFORE_TRAINING = ("ingest", "validate", "split", "check_balance", "oversample")


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run, up to the gate, with the lowest bars."""
    store = delivered(drawn, tmp_path_factory.mktemp("train") / "store")
    run = run_of(store, epochs=3, residual_epochs=12, minimum_groups=4, policy="smoke", seed=3)
    do(run, *BEFORE_TRAINING, "train", "evaluate", "gate")
    return run


def test_every_recipe_is_trained_with_curves_and_a_finding(run: Run) -> None:
    trained = record_of(run, Trained)
    assert [each.recipe for each in trained.recipes] == list(RECIPES)
    for each in trained.recipes:
        assert len(each.epochs) == (12 if each.recipe == "residual" else 3)
        assert each.epochs[0].loss > each.epochs[-1].loss
        losses = [epoch.val_loss for epoch in each.epochs]
        assert each.best_epoch == 1 + losses.index(min(losses))
        assert each.fit is not None
        assert (each.fit.epochs, each.fit.best) == (len(each.epochs), each.best_epoch)
        assert each.recipe in in_words(each)
        assert each.computed_on == "tensorflow on 1 cpu"
        assert each.finding == ""


def test_only_the_balanced_recipe_sees_the_copies(run: Run) -> None:
    split, oversampled = record_of(run, Split), record_of(run, Oversampled)
    seen = {each.recipe: each.images for each in record_of(run, Trained).recipes}
    training = sum(split.counts["train"].values())
    assert seen["baseline"] == seen["regularized"] == training
    assert seen["balanced"] == sum(oversampled.counts.values()) > training


def test_where_and_how_fast_a_recipe_was_trained_is_no_part_of_the_content(run: Run) -> None:
    trained = record_of(run, Trained)

    def with_all(format: int | None = None, **changed: Any) -> str:
        recipes = tuple(each.model_copy(update=changed) for each in trained.recipes)
        record = trained.model_copy(update={"recipes": recipes})
        assert record.provenance
        written = {"format": format or Trained.FORMAT}
        provenance = record.provenance.model_copy(update=written)
        return str(record.with_provenance(provenance).content_hash)

    epochs = trained.recipes[0].epochs
    slower = tuple(each.model_copy(update={"seconds": each.seconds + 1}) for each in epochs)
    worse = tuple(each.model_copy(update={"loss": each.loss + 1}) for each in epochs)
    assert with_all(computed_on="jax on 4 gpu") == trained.content_hash
    assert with_all(computed_on="") == trained.content_hash  # a record from before it was kept
    assert with_all(mlflow_run="elsewhere") == trained.content_hash
    assert with_all(epochs=slower) == with_all(epochs=epochs)
    assert with_all(epochs=worse) != with_all(epochs=epochs)
    assert with_all(finding="It fits.") != trained.content_hash

    before = with_all(format=3)  # such records keep their hash, in which both counted
    assert before != trained.content_hash
    assert with_all(format=3, computed_on="") == before
    assert with_all(format=3, mlflow_run="elsewhere") != before
    assert with_all(format=3, epochs=slower) != with_all(format=3, epochs=epochs)


def test_the_saved_weights_are_those_of_the_best_epoch(run: Run) -> None:
    split, trained = record_of(run, Split), record_of(run, Trained)
    parts = table_of(run, split.parts)
    validation = parts[parts["side"] == "validation"]
    labels = validation["label"].map({name: n for n, name in enumerate(trained.classes)})
    pixels = shrink(pixels_of(run, validation), run.config.image_size)
    assert trained.recipes
    for each in trained.recipes:
        model = from_bytes(run.fetch(each.model))
        answers = model.predict(pixels, verbose=0)
        truth = labels.to_numpy(int)
        one_look = before = at_temperature(answers, 1 / each.temperature)
        if each.recipe == "residual":  # which is saved to look at eight turns of an image
            one_look = softmax(model.get_layer("residual").predict(pixels, verbose=0), axis=1)
        best = each.epochs[each.best_epoch - 1]
        assert cross_entropy(one_look, truth) == pytest.approx(best.val_loss, abs=1e-3)
        # What the temperature is for.
        assert cross_entropy(answers, truth) <= cross_entropy(before, truth) + 1e-6
        assert each.calibration_error
        assert each.calibration_error[1] == pytest.approx(
            calibration_error(answers, truth), abs=1e-3
        )


def test_mlflow_has_the_curves_the_recalls_the_data_and_the_configuration(run: Run) -> None:
    from tasks.registry.versions import mlflow_client

    trained, split = record_of(run, Trained), record_of(run, Split)
    with mlflow_client(run.store) as client:
        for each in trained.recipes:
            logged = client.get_run(each.mlflow_run)
            assert logged.info.status == "FINISHED"
            assert logged.data.params["epochs"] == "3"
            assert logged.data.tags["split_sha256"] == split.content_hash
            assert logged.data.tags["model_sha256"] == each.model.sha256
            for name in ("val_loss", f"val_recall/{MELANOMA}"):
                assert len(client.get_metric_history(each.mlflow_run, name)) == len(each.epochs)


def test_what_is_served_is_what_was_trained(run: Run) -> None:
    """A file as a clinician has it, decoded and packed, goes straight into the saved model."""
    model = from_bytes(run.fetch(record_of(run, Evaluated).model))
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)).save(
        buffer, "PNG"
    )
    decoded = decode(buffer.getvalue(), packed_px=48, maximum_megapixels=1)
    assert isinstance(decoded, Decoded)
    pixels = decoded.pixels
    answer = model.predict(pixels[None], verbose=0)
    assert answer.shape == (1, len(record_of(run, Trained).classes))
    assert answer.sum() == pytest.approx(1, abs=1e-5)


def test_the_frozen_test_part_is_scored_whole_and_nothing_else(run: Run) -> None:
    split, evaluated = record_of(run, Split), record_of(run, Evaluated)
    predictions = table_of(run, evaluated.predictions)
    parts = table_of(run, split.parts)
    test_ids = set(parts.loc[parts["side"] == "test", "image_id"])
    assert set(predictions["image_id"]) == test_ids
    assert evaluated.figures.images == len(predictions)
    figures = evaluated.figures
    lesions = predictions["lesion"].nunique()
    assert figures.sensitivity.n + figures.specificity.n == figures.lesions == lesions
    assert sum(map(sum, figures.confusion)) == lesions
    best = max(evaluated.validation_balanced_accuracy.values())
    assert evaluated.validation_balanced_accuracy[evaluated.recipe] == best


def test_the_threshold_reaches_its_target_on_validation(run: Run) -> None:
    reached = record_of(run, Evaluated).validation_sensitivity
    assert reached.successes / reached.n >= run.config.target_sensitivity


def test_the_same_seed_gives_the_same_first_steps(run: Run) -> None:
    one, two, other = (
        build("balanced", image_size=32, classes=3, learning_rate=0.01, seed=seed).get_weights()
        for seed in (1, 1, 2)
    )
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_message_says_to_change_changes_the_training(recipe: Recipe, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    store = DirectoryStore(tmp_path)

    def begun(**changes: Any) -> tuple[Plan, object]:
        run = run_of(store, image_size=32, **changes)
        learner = learner_of(run, recipe, (pixels, np.arange(40) % 3), 3)
        return learner.plan, learner.model.optimizer.get_config()["learning_rate"]

    plan, rate = begun()
    assert begun(**{plan.batch_field: 8})[0].batch_size == 8 != plan.batch_size
    assert begun(**{plan.rate_field: 0.5})[1] != rate


@pytest.mark.parametrize(("minutes", "steps"), [(5, 7), (0, 1)])
def test_many_steps_in_one_call_never_pass_over_a_checkpoint_that_is_asked_for_after_each(
    minutes: float, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "steps_at_once", lambda *size: 7)
    pixels = np.zeros((80, 32, 32, 3), np.uint8)
    run = run_of(DirectoryStore(tmp_path), image_size=32, checkpoint_minutes=minutes)
    plan = learner_of(run, "residual", (pixels, np.arange(80) % 3), 3).plan
    assert plan.together == steps


@pytest.mark.parametrize("recipe", NOTEBOOKS)
def test_a_saved_network_answers_as_before(recipe: Recipe) -> None:
    model = build(recipe, image_size=32, classes=3, learning_rate=0.01, seed=1)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 50, 50, 3), np.uint8)
    again = from_bytes(to_bytes(model))
    assert again.predict(pixels, verbose=0) == pytest.approx(model.predict(pixels, verbose=0))


def test_shrinking_before_training_is_what_the_first_layer_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    model = build("baseline", image_size=32, classes=3, learning_rate=0.01, seed=1)
    small = shrink(pixels, 32)
    assert small.shape == (3, 32, 32, 3)
    assert model.predict(small, verbose=0) == pytest.approx(
        model.predict(pixels, verbose=0), abs=0.01
    )


def test_a_passing_model_is_registered_once_and_unchanged_data_register_nothing(run: Run) -> None:
    first = do(run, "register")
    assert (first.version, first.newly) == (1, True)
    again = Run(run.store, "again", run.config)
    do(again, *BEFORE_TRAINING, "train", "evaluate", "gate")
    with pytest.raises(Halt, match="nothing is new"):
        do(again, "register")
    provenance = record_of(again, Trained).provenance
    assert provenance
    assert provenance.reused_from == run.name
    assert record_of(again, Registered).version == 1


def test_the_registered_version_is_the_model_that_was_judged(run: Run) -> None:
    from tasks.registry.versions import mlflow_client

    do(run, "register")
    evaluated = record_of(run, Evaluated)
    with mlflow_client(run.store) as client:
        version = client.get_model_version_by_alias("melanoma_classifier", "challenger")
        import mlflow.keras

        loaded = mlflow.keras.load_model("models:/melanoma_classifier@challenger")
    assert version.tags["model_sha256"] == evaluated.model.sha256
    pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    judged = from_bytes(run.fetch(evaluated.model))
    assert loaded.predict(pixels, verbose=0) == pytest.approx(judged.predict(pixels, verbose=0))


def test_a_refused_model_is_not_registered(run: Run) -> None:
    untaught = {"policy": "synthetic", "recipes": ("baseline",), "epochs": 1}
    strict = Run(run.store, "strict", run.config.model_copy(update=untaught))
    do(strict, *BEFORE_TRAINING, "train", "evaluate", "gate")
    with pytest.raises(Halt, match="Nothing is registered"):
        do(strict, "register")
    assert strict.record("register") is None


def test_people_move_the_champion_and_only_to_what_was_registered(run: Run) -> None:
    from tasks.errors import BadInput
    from tasks.registry.versions import mlflow_client
    from tasks.release.promote import promote

    do(run, "register")
    assert promoted(run) == 1
    with mlflow_client(run.store) as client:
        champion = client.get_model_version_by_alias("melanoma_classifier", "champion")
    assert int(champion.version) == 1
    with pytest.raises(BadInput, match="nothing to promote"):
        promote(Run(run.store, "strict", run.config))


# Rules ------------------------------------------------------------------------------------------


def epochs(*figures: tuple[float, float, float, float]) -> tuple[Epoch, ...]:
    """Loss, accuracy, validation loss, validation accuracy of each."""
    names = ("loss", "accuracy", "val_loss", "val_accuracy")
    rest = {"val_balanced_accuracy": 0.5, "seconds": 1.0}
    return tuple(Epoch(**dict(zip(names, each, strict=True)), **rest) for each in figures)


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        ([(2.0, 0.3, 1.9, 0.3), (1.9, 0.3, 1.9, 0.3)], "underfits"),
        ([(1.0, 0.6, 1.0, 0.6), (0.1, 0.99, 2.0, 0.6)], "overfits"),
        ([(1.0, 0.6, 1.0, 0.6), (0.5, 0.9, 1.05, 0.65)], "overfits mildly"),
        ([(1.0, 0.6, 1.0, 0.6), (0.8, 0.7, 0.9, 0.68)], "had not finished learning"),
        ([(1.0, 0.6, 0.8, 0.7), (0.8, 0.7, 0.82, 0.69)], "neither over- nor underfits"),
    ],
)
def test_the_finding_follows_from_the_curve(
    curve: list[tuple[float, float, float, float]], words: str
) -> None:
    losses = [each[2] for each in curve]
    fit = fit_of(epochs(*curve), 1 + losses.index(min(losses)), prior_loss=2.0)
    assert fit.kind == words


scores = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(scores, st.floats(0.5, 1.0))
def test_the_operating_threshold_is_the_highest_that_reaches_the_target(
    melanomas: list[float], target: float
) -> None:
    lesions = pd.DataFrame(
        {MELANOMA: [*melanomas, 0.5], "label": [MELANOMA] * len(melanomas) + ["nevus"]}
    )
    threshold = operating_threshold(lesions, target)
    share = np.mean(np.array(melanomas) >= threshold)
    assert share >= target - 1e-9
    higher = [score for score in melanomas if score > threshold]
    assert not higher or np.mean(np.array(melanomas) >= min(higher)) < target


def test_a_lesion_counts_once_by_the_mean_of_its_images() -> None:
    predictions = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "lesion": ["L1", "L1", "L2"],
            "label": [MELANOMA, MELANOMA, "nevus"],
            MELANOMA: [0.2, 0.6, 0.1],
        }
        | {trait: [None] * 3 for trait in ("source", "age_years", "sex", "site")}
        | {measure: [0.5] * 3 for measure in ("skin_tone", "sharpness")}
    )
    lesions = by_lesion(predictions, (MELANOMA,))
    assert list(lesions[MELANOMA]) == pytest.approx([0.4, 0.1])
    assert list(lesions["label"]) == [MELANOMA, "nevus"]
    assert list(lesions["image_ids"]) == [("a", "b"), ("c",)]


def test_a_model_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import keras

    image = keras.Input((4,))
    outside = keras.Model(image, keras.layers.Lambda(lambda x: x)(image))
    with pytest.raises(ValueError, match=r"[Ll]ambda"):
        from_bytes(to_bytes(outside))
