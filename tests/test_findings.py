"""Findings: each is said where its rule finds it, and nowhere else."""

from typing import Any

import pytest
from judged import evaluated_of, figures_of

from tasks.contracts import Balance, Estimate, Figures, Subgroup
from tasks.findings import Said, findings
from tasks.statistics import proportion


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

    assert "Its probabilities are not chances" in off_by(estimate(0.2, 0.15, 0.25))
    assert "Its probabilities are not chances" not in off_by(estimate(0.2, 0.05, 0.35))


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

    title = "It does worse on some"
    assert "source one archive: 4 of 59" in with_group(subgroup(4, 59))[title].text
    assert title not in with_group(subgroup(57, 59))
    assert title not in with_group(subgroup(4, 59, sufficient=False))


def test_what_is_not_known_is_not_told() -> None:
    assert findings(None, None, None) == []
