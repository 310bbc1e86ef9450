"""A model beside the champion, and what is only warned of."""

import pytest

from tasks.evaluation.decision import judge, warnings_of
from tasks.records.figures import Estimate
from tasks.records.verdict import Looks
from tests.support.judged import (
    MELANOMA_POLICY,
    NOTHING,
    case_of,
    champion_of,
    evaluated_of,
    figures_of,
    good,
    refused_by,
    verdict_of,
    without,
)


def test_a_model_as_good_as_the_champion_passes() -> None:
    assert verdict_of(case_of(good(champion=champion_of(2, 2)))) == "pass"


def test_a_worse_than_champion_model_is_refused_by_the_rule_made_for_it() -> None:
    worse = evaluated_of(figures_of(88, 100, 280, 300), champion=champion_of(0, 12, both=88))
    refusing = {
        rule.name
        for rule in judge(without("subgroup_sensitivity"), case_of(worse))
        if rule.decision in ("fail", "insufficient evidence")
    }
    assert refusing == {"melanoma sensitivity against the champion"}


def test_a_model_that_misses_a_quarter_of_what_the_champion_finds_fails() -> None:
    policy = without(
        "sensitivity", "subgroup_sensitivity", "auc_against_champion", "mixed_archives"
    )  # fmt: skip
    worse = evaluated_of(figures_of(72, 100, 280, 300), champion=champion_of(0, 25, both=72))
    assert refused_by(case_of(worse), policy) == {"melanoma sensitivity against the champion"}


def test_a_lower_auc_than_the_champions_is_refused() -> None:
    lower = Estimate(value=-0.10, lower=-0.13, upper=-0.07, n=400, method="DeLong, paired")
    champion = champion_of(2, 2)
    assert champion.comparison is not None
    compared = champion.comparison.model_copy(update={"auc_difference": lower})
    evaluated = good(champion=champion.model_copy(update={"comparison": compared}))
    assert refused_by(case_of(evaluated)) == {"melanoma AUC against the champion, difference"}


def test_a_class_of_the_champion_may_not_be_lost() -> None:
    champion = champion_of(2, 2, classes=("melanoma", "nevus", "dermatofibroma"))
    assert refused_by(case_of(good(champion=champion))) == {"classes kept"}


def test_without_a_champion_the_paired_rule_says_so_and_the_absolute_rules_decide() -> None:
    judged = {rule.name: rule for rule in judge(MELANOMA_POLICY, case_of(good()))}
    paired = judged["melanoma sensitivity against the champion"]
    assert paired.decision == "not applicable"
    assert "no champion yet" in paired.reason


def test_the_champion_itself_is_not_compared_with_itself() -> None:
    champion = champion_of(0, 0, model_sha256=NOTHING.sha256, both=96)
    judged = {rule.name: rule for rule in judge(MELANOMA_POLICY, case_of(good(champion=champion)))}
    assert "very model" in judged["melanoma sensitivity against the champion"].reason


def test_a_champion_that_cannot_be_asked_refuses_the_model() -> None:
    champion = champion_of(0, 0, both=96, comparison=None, problem="its file is gone")
    refused = refused_by(case_of(good(champion=champion)))
    assert "sensitivity against champion" in refused


def test_a_champion_that_learned_from_test_images_is_warned_of() -> None:
    known = case_of(good(champion=champion_of(2, 2, learned_from=7)))
    unknown = case_of(good(champion=champion_of(2, 2, learned_from=None)))
    assert "7 images" in warnings_of(MELANOMA_POLICY, known)[0]
    assert "not known" in warnings_of(MELANOMA_POLICY, unknown)[0]
    assert warnings_of(MELANOMA_POLICY, case_of(good(champion=champion_of(2, 2)))) == ()


def test_a_worn_test_part_is_warned_of() -> None:
    assert warnings_of(MELANOMA_POLICY, case_of(good(), earlier_evaluations=20)) == ()
    assert "wearing out" in warnings_of(MELANOMA_POLICY, case_of(good(), earlier_evaluations=21))[0]


@pytest.mark.parametrize(("left", "said"), [(10, True), (11, False)])
def test_a_test_part_that_is_nearly_spent_is_warned_of(left: int, said: bool) -> None:
    looks = Looks(look=3, confidence=0.99, left=left, left_at_this_rate=1, lesions_that_renew=101)
    told = warnings_of(MELANOMA_POLICY, case_of(good(), looks=looks))
    assert bool(told) is said
    assert all("101 new melanoma lesions" in each for each in told)
