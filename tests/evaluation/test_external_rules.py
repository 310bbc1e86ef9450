"""A verdict on the own archive does not carry over: each set elsewhere is judged by itself."""

import pytest

from tasks.evaluation.decision import decide, judge
from tasks.evaluation.policy import Policy, parse_policy, policy_bytes
from tasks.evaluation.rules import Elsewhere
from tasks.records.verdict import Rule
from tests.support.judged import (
    MELANOMA_POLICY,
    case_of,
    elsewhere_of,
    good,
    refused_by,
    verdict_of,
)


def judged(*sets: Elsewhere, policy: Policy = MELANOMA_POLICY) -> dict[str, Rule]:
    return {rule.name: rule for rule in judge(policy, case_of(good(), external=sets))}


def test_without_a_set_the_best_verdict_is_insufficient_evidence() -> None:
    case = case_of(good(), external=())
    assert verdict_of(case) == "insufficient evidence"
    (said,) = [r for r in judge(MELANOMA_POLICY, case) if r.decision == "insufficient evidence"]
    assert said.name == "external sets"
    assert "judged on its own archive only" in said.reason
    assert verdict_of(case_of(good())) == "pass"


def test_a_policy_of_another_name_may_permit_it() -> None:
    asked = next(each for each in MELANOMA_POLICY.rules if each.rule == "external_sets")
    others = tuple(each for each in MELANOMA_POLICY.rules if each.rule != "external_sets")
    permits = asked.model_copy(update={"at_least": 0})
    own = MELANOMA_POLICY.model_copy(update={"name": "own", "rules": (*others, permits)})
    rules = judge(own, case_of(good(), external=()))
    assert decide(rules) == "pass"
    said = next(rule for rule in rules if rule.name == "external sets")
    assert said.decision == "not applicable"
    assert "judged on its own archive only" in said.reason


def test_an_earlier_version_of_the_policy_asked_for_no_set() -> None:
    before = parse_policy(policy_bytes("melanoma", 2), "melanoma-2")
    assert verdict_of(case_of(good(), external=()), before) == "pass"


@pytest.mark.parametrize("melanomas", [0, 19])
def test_a_set_of_few_melanomas_does_not_count(melanomas: int) -> None:
    few = judged(elsewhere_of(melanomas, melanomas, 280, 300))
    assert few["external sets"].decision == "insufficient evidence"
    assert "0 sets" in few["external sets"].reason
    assert judged(elsewhere_of(20, 20, 280, 300))["external sets"].decision == "pass"


def test_a_model_that_finds_too_few_melanomas_elsewhere_is_refused() -> None:
    poor = elsewhere_of(66, 100, 280, 300)
    assert {
        "melanoma sensitivity on clinic-b",
        "drop of the melanoma sensitivity on clinic-b",
    } <= refused_by(case_of(good(), external=(poor,)))


def test_each_set_is_judged_by_itself() -> None:
    """A good set does not make up for a poor one."""
    sets = (elsewhere_of(99, 100, 280, 300), elsewhere_of(66, 100, 280, 300, name="clinic-c"))
    rules = judged(*sets)
    assert rules["melanoma sensitivity on clinic-b"].decision == "pass"
    assert rules["melanoma sensitivity on clinic-c"].decision == "fail"


def test_a_model_that_ranks_no_better_than_chance_elsewhere_is_refused() -> None:
    """A sensitivity of 97 %, bought with calling nearly everything melanoma."""
    bought = judged(elsewhere_of(97, 100, 15, 300))
    assert bought["melanoma AUC on clinic-b"].decision == "fail"
    assert bought["melanoma sensitivity on clinic-b"].decision == "pass"


def test_a_small_set_shows_neither_a_drop_nor_that_there_is_none() -> None:
    rule = judged(elsewhere_of(18, 20, 280, 300))["drop of the melanoma sensitivity on clinic-b"]
    assert rule.decision == "insufficient evidence"
    sound = judged(elsewhere_of(97, 100, 280, 300))
    assert sound["drop of the melanoma sensitivity on clinic-b"].decision == "pass"
