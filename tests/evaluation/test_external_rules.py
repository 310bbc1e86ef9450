"""A verdict on the own archive does not carry over: each set elsewhere is judged by itself."""

from dataclasses import replace
from typing import Any

import pytest

from tasks.evaluation.decision import decide, judge
from tasks.evaluation.policy import Policy, parse_policy, policy_bytes
from tasks.evaluation.rules import Elsewhere
from tasks.records.figures import Estimate
from tasks.records.record import Provenance
from tasks.records.verdict import Rule
from tests.support.judged import (
    MELANOMA_POLICY,
    RULES,
    case_of,
    champion_of,
    elsewhere_of,
    good,
    refused_by,
    verdict_of,
)
from tests.support.records import incomplete


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


# Beside the champion ------------------------------------------------------------------------------


def compared(gained: int, lost: int, **changes: Any) -> dict[str, Rule]:
    """A set of 100 melanomas of which the model finds 90."""
    there = replace(
        elsewhere_of(90, 100, 280, 300),
        comparison=champion_of(gained, lost, both=90 - gained, n=100).comparison,
    )
    case = case_of(good(champion=champion_of(2, 2)), external=(replace(there, **changes),))
    return {rule.name: rule for rule in judge(MELANOMA_POLICY, case)}


PAIRED = "melanoma sensitivity on clinic-b against the champion"


@pytest.mark.parametrize(
    ("lost", "decision"), [(0, "pass"), (4, "pass"), (10, "insufficient evidence")]
)
def test_a_model_may_not_lose_elsewhere_what_the_champion_finds(lost: int, decision: str) -> None:
    assert compared(0, lost)[PAIRED].decision == decision


def test_a_model_that_finds_much_less_elsewhere_than_the_champion_is_refused() -> None:
    there = replace(
        elsewhere_of(60, 100, 280, 300), comparison=champion_of(0, 38, both=60, n=100).comparison
    )
    assert PAIRED in refused_by(case_of(good(champion=champion_of(2, 2)), external=(there,)))


def test_the_area_elsewhere_is_compared_too() -> None:
    worse = Estimate(value=-0.2, lower=-0.25, upper=-0.15, n=400, method="DeLong, paired")
    found = champion_of(0, 0, both=90, n=100).comparison
    assert found is not None
    rules = compared(0, 0, comparison=found.model_copy(update={"auc_difference": worse}))
    rule = rules["melanoma AUC on clinic-b against the champion, difference"]
    assert (rule.decision, rule.threshold) == ("fail", -0.1)
    assert compared(0, 0)[rule.name].decision == "pass"


NAME = "comparison with the champion elsewhere"


def test_without_a_champion_or_a_set_there_is_nothing_to_compare() -> None:
    alone = judged(elsewhere_of(97, 100, 280, 300))[NAME]
    assert (alone.decision, "no champion yet" in alone.reason) == ("not applicable", True)
    champion = champion_of(2, 2)
    case = case_of(good(champion=champion), external=())
    rule = next(rule for rule in judge(MELANOMA_POLICY, case) if rule.name == NAME)
    assert (rule.decision, "no external set" in rule.reason) == ("not applicable", True)


def test_a_champion_that_did_not_answer_elsewhere_refuses_the_model() -> None:
    assert compared(0, 0, comparison=None)["external comparison"].decision == "fail"


def test_an_earlier_version_of_the_policy_does_not_compare_elsewhere() -> None:
    before, since = (
        {each.rule for each in parse_policy(policy_bytes("melanoma", version), "melanoma").rules}
        for version in (3, 4)
    )
    assert since - before == {"external_comparison", "shortcut_probes"}
    assert since - set(RULES) == set()


def test_a_reason_speaks_of_the_set_and_in_older_records_of_the_test_part() -> None:
    few = elsewhere_of(18, 20, 280, 300)
    name = "drop of the melanoma sensitivity on clinic-b"
    assert "in this set would reach it" in judged(few)[name].reason
    older = good(provenance=provenance_of(4))
    rules = {rule.name: rule for rule in judge(MELANOMA_POLICY, case_of(older, external=(few,)))}
    assert "in the test part would reach it" in rules[name].reason


def provenance_of(number: int) -> Provenance:
    """Of a record that was written in this format."""
    return incomplete(Provenance, step="evaluate", format=number)
