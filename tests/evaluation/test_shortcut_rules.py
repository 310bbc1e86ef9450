"""The rule about shortcuts has three answers, and counts what is missing against the model."""

import pytest

from tasks.evaluation.bounds import Unreadable
from tasks.evaluation.shortcut_rules import ShortcutProbes
from tasks.records.figures import Estimate
from tasks.records.shortcuts import Change, Probe, Probes, Turned
from tests.support.judged import case_of, good

RULE = ShortcutProbes(
    rule="shortcut_probes",
    changes=("ruler drawn on", "black corners taken off"),
    margin=0.15,
    fewest=20,
    method="exact unconditional test of the score statistic, one-sided, paired by lesion",
    why="A model that looks at rulers is of no use where nobody lays any.",
)
AREA = Estimate(value=0.9, lower=0.8, upper=0.95, n=180, method="DeLong")


def turned(lost: int, n: int = 80, gained: int = 0) -> Turned:
    return Turned(lesions=n, right_before=n - gained, lost=lost, gained=gained, lower=-1, upper=1)


def probed(change: Change, melanomas: Turned, others: Turned) -> Probe:
    return Probe(change=change, melanomas=melanomas, others=others, auc=AREA)


def decisions(*probes: Probe) -> dict[str, str]:
    found = Probes(images=180, melanomas=80, others=100, probes=probes)
    return {each.name: each.decision for each in RULE.judge(case_of(good(shortcuts=found)))}


@pytest.mark.parametrize(
    ("lost", "decision"), [(0, "pass"), (4, "pass"), (10, "insufficient evidence"), (30, "fail")]
)
def test_the_rule_has_three_answers(lost: int, decision: str) -> None:
    assert decisions(probed("ruler drawn on", turned(lost), turned(0, 100))) == {
        "melanoma sensitivity, ruler drawn on": decision,
        "melanoma specificity, ruler drawn on": "pass",
    }


def test_others_that_become_melanomas_count_too() -> None:
    found = decisions(probed("ruler drawn on", turned(0), turned(50, 100)))
    assert found["melanoma specificity, ruler drawn on"] == "fail"
    assert found["melanoma sensitivity, ruler drawn on"] == "pass"


def test_taking_off_is_judged_where_it_was_recognized_often_enough() -> None:
    ruler = probed("ruler drawn on", turned(0), turned(0, 100))
    few = probed("black corners taken off", turned(10, 10), turned(25, 30))
    assert decisions(ruler, few) == {
        "melanoma sensitivity, ruler drawn on": "pass",
        "melanoma specificity, ruler drawn on": "pass",
        "melanoma specificity, black corners taken off": "fail",
    }


def test_a_change_that_the_policy_does_not_name_decides_nothing() -> None:
    ruler = probed("ruler drawn on", turned(0), turned(0, 100))
    grey = probed("in grey", turned(80), turned(100, 100))
    assert set(decisions(ruler, grey).values()) == {"pass"}


def test_a_model_that_was_not_asked_is_refused() -> None:
    with pytest.raises(Unreadable, match="not asked"):
        RULE.judge(case_of(good(shortcuts=None)))
    with pytest.raises(Unreadable, match="not asked: ruler drawn on"):
        decisions(probed("in grey", turned(0), turned(0, 100)))


@pytest.mark.parametrize("odd", [turned(-1), turned(81), turned(60, 80, gained=40)])
def test_counts_that_contradict_themselves_are_refused(odd: Turned) -> None:
    with pytest.raises(Unreadable):
        decisions(probed("ruler drawn on", odd, turned(0, 100)))


def test_the_reason_says_what_turned_and_what_is_asked() -> None:
    found = Probes(
        images=180,
        melanomas=80,
        others=100,
        probes=(probed("ruler drawn on", turned(30), turned(0, 100)),),
    )
    (first, _) = RULE.judge(case_of(good(shortcuts=found)))
    assert "of 80 lesions 30 lost their right answer and 0 gained it" in first.reason
    assert "15.0" in first.reason
