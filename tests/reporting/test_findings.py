"""Findings: each is said where its rule finds it, and nowhere else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.curve import fit_of
from tasks.records.balance import Balance
from tasks.records.figures import Estimate, Figures, Subgroup
from tasks.records.record import Artifact
from tasks.records.trained import Epoch, Trained, TrainedRecipe
from tasks.reporting.findings import Said, findings
from tasks.statistics.proportions import proportion
from tests.support.judged import evaluated_of, figures_of


def said(figures: Figures) -> dict[str, Said]:
    return {each.title: each for each in findings(None, None, evaluated_of(figures))}


def estimate(value: float, lower: float, upper: float) -> Estimate:
    return Estimate(value=value, lower=lower, upper=upper, n=100, method="")


def test_accuracy_that_always_answering_one_class_would_reach_is_called_so() -> None:
    poor = said(figures_of(5, 20, 78, 80))  # 83 of 100 are right, 80 would be by answering nevus
    good = said(figures_of(19, 20, 78, 80))

    text = poor["Accuracy says little here"].text
    assert "Always answering nevus would be right for 80\u00a0%" in text
    assert "find no melanoma" in text
    assert "Accuracy says little here" not in good
    assert good["Accuracy is better than the commonest answer"].tone == "good"


def test_recall_below_accuracy_is_said_to_count_more() -> None:
    found = said(figures_of(20, 40, 118, 120))

    assert "20 of 40 melanomas" in found["Recall counts more than accuracy"].text
    assert "Recall counts more than accuracy" not in said(figures_of(39, 40, 50, 60))


@pytest.mark.parametrize(("ratio", "title"), [(1.5, "even"), (9.7, "uneven")])
def test_imbalance_is_found_by_its_ratio(ratio: float, title: str) -> None:
    balance = Balance(
        counts={"melanoma": 10, "nevus": 97}, rarest="melanoma", dominating="nevus",
        imbalance_ratio=ratio, target=97, plan={}, capped=(), finding="nevus dominates",
    )  # fmt: skip
    assert findings(balance, None, None)[0].title == f"The classes are {title}"


def test_only_a_calibration_error_beyond_doubt_is_told() -> None:
    figures = figures_of(19, 20, 78, 80)

    def off_by(error: Estimate) -> dict[str, Said]:
        calibration = figures.calibration.model_copy(update={"expected_error": error})
        return said(figures.model_copy(update={"calibration": calibration}))

    assert "The probabilities are miscalibrated" in off_by(estimate(0.2, 0.15, 0.25))
    assert "The probabilities are miscalibrated" not in off_by(estimate(0.2, 0.05, 0.35))


def subgroup(spared: int, others: int, **changes: Any) -> Subgroup:
    values: dict[str, Any] = {
        "trait": "source", "value": "one archive", "lesions": others + 12,
        "sensitivity": proportion(12, 12), "specificity": proportion(spared, others),
        "auc": estimate(0.7, 0.6, 0.8), "sufficient": True,
    }  # fmt: skip
    return Subgroup(**values | changes)


def test_a_subgroup_that_does_worse_beyond_chance_is_named() -> None:
    figures = figures_of(19, 20, 78, 80)

    def with_group(group: Subgroup) -> dict[str, Said]:
        return said(figures.model_copy(update={"subgroups": (group,)}))

    title = "The model does worse on some subgroups"
    assert "source one archive: 4 of 59" in with_group(subgroup(4, 59))[title].text
    assert title not in with_group(subgroup(57, 59))
    assert title not in with_group(subgroup(4, 59, sufficient=False))


def test_what_is_not_known_is_not_told() -> None:
    assert findings(None, None, None) == []


def epoch(loss: float, accuracy: float, val_loss: float, val_accuracy: float) -> Epoch:
    return Epoch(
        loss=loss,
        accuracy=accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        val_balanced_accuracy=0.5,
        seconds=1.0,
    )


def trained(*epochs: Epoch, best: int, finding: str = "") -> Trained:
    fit = None if finding else fit_of(epochs, best, 2.0)
    nothing = Artifact(key="k", sha256="0" * 64, size_bytes=0)
    recipe = TrainedRecipe(
        recipe="best" if finding else "residual",  # sentences are of earlier versions
        model=nothing,
        parameters=1,
        images=1,
        epochs=epochs,
        best_epoch=best,
        fit=fit,
        finding=finding,
        mlflow_run="",
    )
    return Trained(classes=("melanoma", "nevus"), recipes=(recipe,))


@pytest.mark.parametrize(
    ("epochs", "best", "title"),
    [
        ([epoch(1.9, 0.3, 1.9, 0.3)], 1, "It underfits"),
        ([epoch(1, 0.6, 1.0, 0.6), epoch(0.1, 0.99, 1.5, 0.6)], 1, "It overfits"),
        ([epoch(1, 0.6, 1.0, 0.6), epoch(0.1, 0.99, 1.05, 0.6)], 1, "It overfits mildly"),
        ([epoch(1, 0.6, 1.0, 0.6), epoch(0.9, 0.65, 0.9, 0.6)], 2, "It had not finished learning"),
        ([epoch(1, 0.6, 1.0, 0.6), epoch(0.9, 0.65, 1.05, 0.6)], 1, "It fits"),
    ],
)
def test_the_title_comes_from_the_finding_and_not_from_its_words(
    epochs: list[Epoch], best: int, title: str
) -> None:
    said = findings(None, trained(*epochs, best=best), None)[0]
    assert said.title == title
    assert said.tone == ("good" if title == "It fits" else "warning")


@given(st.floats(0.2, 3.0), st.floats(0.2, 3.0), st.floats(0, 1), st.floats(0, 1))
def test_no_sentence_contradicts_its_figures(
    lowest: float, last: float, accuracy: float, val_accuracy: float
) -> None:
    """ "Validation loss has not risen" never stands beside figures that say it rose."""
    epochs = (epoch(1, 0.5, lowest, 0.5), epoch(0.3, accuracy, max(lowest, last), val_accuracy))
    text = findings(None, trained(*epochs, best=1), None)[0].text
    if "has not risen" in text:
        assert f"({lowest:.3f}) and ends at {lowest:.3f}" in text
    if "has risen by" in text:
        assert last > lowest


def test_a_sentence_of_an_earlier_version_keeps_its_title() -> None:
    for kind, title in (("overfits mildly", "It overfits mildly"), ("overfits", "It overfits")):
        old = trained(
            epoch(1, 1, 1, 1), best=1, finding=f"best {kind}: after 3 epochs it underfits"
        )
        assert findings(None, old, None)[0].title == title
