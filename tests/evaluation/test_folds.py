"""Cross-validation: each lesion judged once, by a model that saw neither it nor its group."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engine.run import Run
from tasks.errors import BadInput, Corrupt
from tasks.evaluation import folds as module
from tasks.evaluation.decision import beside
from tasks.evaluation.folds import cross_estimate, dealt
from tasks.evaluation.predictions import predicted
from tasks.evaluation.scoring import by_lesion
from tasks.lesions import MELANOMA
from tasks.recipes import recipe_now
from tasks.records.evaluated import CrossEstimate, Evaluated
from tasks.records.oversampled import Oversampled
from tasks.records.split import Split
from tasks.records.trained import Epoch
from tasks.records.verdict import Verdict
from tasks.release.evidence import keep_evidence
from tasks.release.verify import verify
from tasks.reporting.report import report
from tasks.training.fitting import fit
from tasks.training.learner import examples
from tests.support.bundles import linked_records, reseal
from tests.support.deliveries import BEFORE_REGISTER as BEFORE
from tests.support.deliveries import delivered, do, run_of, table_of
from tests.support.judged import evaluated_of, figures_of

pytestmark = pytest.mark.slow

FOLDS = 3


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Drawn lesions, the recipe with copies, one epoch, three folds; sealed."""
    store = delivered(drawn, tmp_path_factory.mktemp("folds") / "store")
    small: dict[str, Any] = {"epochs": 1, "minimum_groups": 6, "recipes": ("balanced",)}
    run = run_of(store, policy="smoke", evaluation="cross", folds=FOLDS, **small)
    do(run, *BEFORE)
    keep_evidence(run)
    return run


@pytest.fixture(scope="module")
def cross(run: Run) -> CrossEstimate:
    evaluated = run.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    assert evaluated.cross
    return evaluated.cross


def again(run: Run, **config: Any) -> CrossEstimate:
    """As the step does it, once more."""
    split, oversampled, evaluated = (run.record(n) for n in ("split", "oversample", "evaluate"))
    assert isinstance(split, Split)
    assert isinstance(oversampled, Oversampled)
    assert isinstance(evaluated, Evaluated)
    other = replace(run, step="evaluate", config=run.config.model_copy(update=config))
    recipe = recipe_now(evaluated.recipe)
    return cross_estimate(other, split, oversampled, recipe, evaluated.classes)


# Dealing out ------------------------------------------------------------------------------------


def drawn(seed: int, groups: int) -> pd.DataFrame:
    """Groups of one to four images, a third of them melanomas."""
    sizes = np.random.default_rng(seed).integers(1, 5, groups)
    rows = [
        {"group": f"G{n}", "label": MELANOMA if n % 3 == 0 else "nevus", "key": f"raw/{n}/{i}.jpg"}
        for n, size in enumerate(sizes)
        for i in range(size)
    ]
    return pd.DataFrame(rows)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(60, 120), st.integers(3, 6), st.integers(0, 99))
def test_no_group_straddles_folds_and_every_image_has_one(
    data: int, groups: int, folds: int, seed: int
) -> None:
    parts = drawn(data, groups)
    fold_of = dealt(parts, folds, seed)

    assert set(fold_of) == set(range(folds))
    assert (fold_of.groupby(parts["group"]).nunique() == 1).all()
    melanomas = fold_of[parts["label"] == MELANOMA].value_counts()
    assert melanomas.max() - melanomas.min() <= 8  # images; a group has up to four
    shuffled = parts.sample(frac=1, random_state=seed)
    assert (dealt(shuffled, folds, seed).sort_index() == fold_of).all()


def test_another_seed_deals_otherwise() -> None:
    parts = drawn(1, 90)
    assert (dealt(parts, 5, 1) == dealt(parts, 5, 1)).all()
    assert (dealt(parts, 5, 1) != dealt(parts, 5, 2)).any()


def test_a_group_of_two_labels_is_not_torn() -> None:
    parts = drawn(2, 60)
    parts["group"] = [f"G{int(name[1:]) // 2}" for name in parts["group"]]
    assert (dealt(parts, 4, 1).groupby(parts["group"]).nunique() == 1).all()


@pytest.mark.parametrize("melanomas", [2, 4])
def test_too_few_melanomas_for_the_folds_are_refused_and_enough_are_not(melanomas: int) -> None:
    rows = [("melanoma", n) for n in range(melanomas)] + [("nevus", n) for n in range(30)]
    parts = pd.DataFrame(
        [{"group": f"{label}{n}", "label": label, "key": f"{label}/{n}"} for label, n in rows]
    )
    if melanomas < FOLDS:
        with pytest.raises(BadInput, match="no melanoma in fold"):
            dealt(parts, FOLDS, 1)
    else:
        assert set(dealt(parts, FOLDS, 1)) == {0, 1, 2}


# Judging ----------------------------------------------------------------------------------------


def test_every_accepted_lesion_is_predicted_once_by_a_model_of_other_groups(
    run: Run, cross: CrossEstimate
) -> None:
    split = run.record("split")
    assert isinstance(split, Split)
    parts, table = table_of(run, split.parts), table_of(run, cross.predictions)

    assert sorted(table["image_id"]) == sorted(parts["image_id"])
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    assert set(table["fold"]) == {1, 2, 3}
    assert cross.figures.lesions == table["lesion"].nunique() > 0
    assert cross.figures.sensitivity.n + cross.figures.specificity.n == cross.figures.lesions


def test_each_lesion_counts_at_the_threshold_of_its_own_fold(
    run: Run, cross: CrossEstimate
) -> None:
    evaluated = run.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    table = table_of(run, cross.predictions)
    found = 0
    for number, threshold in enumerate(cross.thresholds):
        fold = table[table["fold"] == number + 1]
        assert set(fold["threshold"]) == {threshold}
        lesions = by_lesion(fold, evaluated.classes)
        found += int((lesions[lesions["label"] == MELANOMA][MELANOMA] >= threshold).sum())
    assert cross.figures.threshold is None
    assert cross.figures.sensitivity.successes == found


def test_a_model_learns_from_nothing_of_what_it_is_judged_or_tuned_on(
    run: Run, cross: CrossEstimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither images nor lesions nor copies, else a fold would be judged by who knows it."""
    asked: list[pd.DataFrame] = []
    judged: list[pd.DataFrame] = []

    def load(run: Run, rows: pd.DataFrame, classes: Any) -> Any:
        asked.append(rows)
        return examples(run, rows, classes)

    def answer(model: Any, rows: pd.DataFrame, pixels: Any, classes: Any) -> pd.DataFrame:
        judged.append(rows)
        return predicted(model, rows, pixels, classes)

    monkeypatch.setattr(module, "examples", load)
    monkeypatch.setattr(module, "predicted", answer)
    other = again(run, seed=21)

    assert (len(asked), len(judged)) == (2 * FOLDS, 2 * FOLDS)
    for number in range(FOLDS):
        trained_on, watched = asked[2 * number : 2 * number + 2]
        threshold_from, held = judged[2 * number : 2 * number + 2]
        is_copy = trained_on["source_key"].notna()
        own, sources = trained_on[~is_copy], set(trained_on.loc[is_copy, "source_key"])
        assert sources
        assert sources <= set(own["key"])
        assert set(watched["key"]) == set(threshold_from["key"])
        for one, two in ((own, held), (own, watched), (watched, held)):
            assert not set(one["group"]) & set(two["group"])
        assert len(own) + len(watched) + len(held) == other.figures.images
    assert other.predictions.sha256 != cross.predictions.sha256  # another seed, other figures


def test_the_same_seed_gives_the_same_figures(run: Run, cross: CrossEstimate) -> None:
    """Once more from the start: what the record made superfluous was swept."""
    same = again(run)

    assert same.predictions.sha256 == cross.predictions.sha256
    assert same.figures == cross.figures


def test_a_stop_between_folds_and_a_retry_change_nothing(
    run: Run, cross: CrossEstimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[str] = []
    true = module._judged

    def stopped(*given: Any) -> Any:
        if given[4] == 1:
            raise SystemExit(143)
        return true(*given)

    def counted(*given: Any, watch: Callable[..., None], **named: Any) -> Any:
        def seen(done: tuple[Epoch, ...]) -> None:
            epochs.append("one")
            watch(done)

        return fit(*given, watch=seen, **named)

    for entry in list(run.store.list(f"runs/{run.name}/evaluate/checkpoints/")):
        run.store.delete(entry.key)
    monkeypatch.setattr(module, "fit", counted)
    monkeypatch.setattr(module, "_judged", stopped)
    with pytest.raises(SystemExit):
        again(run)
    monkeypatch.setattr(module, "_judged", true)

    assert again(run).predictions.sha256 == cross.predictions.sha256
    assert len(epochs) == FOLDS  # the first fold was not trained again


def test_by_default_nothing_is_trained_in_evaluate(run: Run) -> None:
    plain = Run(run.store, "plain", run.config.model_copy(update={"evaluation": "test"}))
    do(plain, *BEFORE)
    evaluated, verdict = plain.record("evaluate"), plain.record("gate")
    assert isinstance(evaluated, Evaluated)
    assert isinstance(verdict, Verdict)

    assert evaluated.cross is None
    assert "cross-validation" not in verdict.reason
    crossed = run.record("evaluate")
    assert isinstance(crossed, Evaluated)
    assert evaluated.figures == crossed.figures  # the test part is judged alike


# Telling ----------------------------------------------------------------------------------------


def test_the_gate_says_what_it_judged_and_the_estimate_never_decides(
    run: Run, cross: CrossEstimate
) -> None:
    verdict = run.record("gate")
    assert isinstance(verdict, Verdict)
    assert "The frozen test part alone was judged" in verdict.reason

    evaluated = evaluated_of(figures_of(3, 4, 40, 50), cross=cross)
    told = " ".join(beside("insufficient evidence", evaluated))
    assert f"of {cross.figures.sensitivity.n} melanoma lesions" in told
    assert "estimate of the procedure and not of this model" in told
    assert "estimate" not in " ".join(beside("fail", evaluated))
    assert beside("insufficient evidence", evaluated_of(figures_of(3, 4, 40, 50))) == []


def test_the_report_and_the_card_show_an_estimate_of_the_procedure(run: Run) -> None:
    page = run.store.read(report(run)).decode()
    card = Path(run.store.uri, "runs", run.name, "evidence/model_card.md").read_text()

    assert "an estimate of the procedure" in page
    assert "The gate judges only the figures on the frozen test part." in page
    assert "estimate of the procedure and not of this model" in card


def test_verify_makes_the_estimate_anew(run: Run, tmp_path: Path) -> None:
    sealed = Path(run.store.uri, "runs", run.name, "evidence")
    said = [each for each in verify(str(sealed)).held if "cross-validation follows" in each]
    assert len(said) == 1

    def embellish(content: Any) -> None:
        content["cross"]["figures"]["sensitivity"]["successes"] += 1

    def hide(content: Any) -> None:
        content["cross"] = None

    def boast(content: Any) -> None:
        content["cross"]["folds"] = 10

    for number, (change, words) in enumerate(
        [
            (embellish, "does not follow from its predictions"),
            (hide, "not as configured"),
            (boast, "not in as many folds as configured"),
        ]
    ):
        bundle = Path(shutil.copytree(sealed, tmp_path / str(number)))
        changes = linked_records(bundle, {"evaluate": change})
        assert json.loads(changes["gate/record.json"])
        reseal(bundle, changes)
        with pytest.raises(Corrupt, match=words):
            verify(str(bundle))
