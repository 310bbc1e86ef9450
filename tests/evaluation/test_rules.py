"""Each rule refuses the model that it is there for, and no order or company of rules matters."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluation.bounds import proportion_rule
from tasks.evaluation.decision import decide, judge
from tasks.evaluation.policy import parse_policy, policy_bytes
from tasks.evaluation.rules import Case
from tasks.records.figures import Estimate, Subgroup
from tasks.records.verdict import Rule
from tasks.statistics.proportions import proportion
from tests.support.judged import (
    MELANOMA_POLICY,
    NAN,
    RULES,
    case_of,
    champion_of,
    evaluated_of,
    figures_of,
    good,
    refused_by,
    verdict_of,
    without,
)

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


# One figure ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "n", "minimum", "decision"),
    [
        (14, 14, 0.80, "pass"),  # 0.8 ** 14 is 4.4 %
        (13, 13, 0.80, "insufficient evidence"),  # 0.8 ** 13 is 5.5 %
        (84, 88, 0.80, "pass"),
        (70, 88, 0.80, "insufficient evidence"),
        (50, 88, 0.80, "fail"),
        (0, 0, 0.80, "insufficient evidence"),
        (0, 5, 0.80, "fail"),
        (0, 0, 0.0, "pass"),
    ],
)
def test_a_rule_has_three_answers(found: int, n: int, minimum: float, decision: str) -> None:
    assert proportion_rule("x", proportion(found, n), minimum, "exact").decision == decision


@given(counts, st.floats(0.01, 0.99))
def test_a_rule_passes_only_on_its_bound(pair: tuple[int, int], minimum: float) -> None:
    rule = proportion_rule("melanoma sensitivity", proportion(*pair), minimum, "exact")
    assert rule.lower is not None
    assert rule.upper is not None
    assert (rule.decision == "pass") == (rule.lower >= minimum)
    assert (rule.decision == "fail") == (rule.upper < minimum)


def test_insufficient_evidence_says_how_many_more_lesions_would_do() -> None:
    rule = proportion_rule("melanoma sensitivity", proportion(13, 13), 0.80, "exact")
    assert rule.more_needed == 1
    assert "1 more lesion " in rule.reason


def test_a_number_of_lesions_that_no_test_part_will_hold_is_not_named() -> None:
    def compared(value: float) -> Rule:
        auc = Estimate(value=value, lower=-0.09, upper=-0.01, n=334, method="DeLong, paired")
        champion = champion_of(2, 2)
        assert champion.comparison is not None
        told = champion.comparison.model_copy(update={"auc_difference": auc})
        case = case_of(good(champion=champion.model_copy(update={"comparison": told})))
        judged = {rule.name: rule for rule in judge(MELANOMA_POLICY, case)}
        return judged["melanoma AUC against the champion, difference"]

    assert compared(-0.0499).more_needed is None
    assert "not even 10,000 further lesions" in compared(-0.0499).reason
    assert compared(-0.03).more_needed == 2672


# Models that each rule is there for ---------------------------------------------------------------


def test_a_good_model_passes_every_rule_that_applies() -> None:
    judged = judge(MELANOMA_POLICY, case_of(good()))
    assert {rule.decision for rule in judged} == {"pass", "not applicable"}
    assert decide(judged) == "pass"


def test_a_model_that_calls_everything_melanoma_is_refused_by_specificity() -> None:
    degenerate = evaluated_of(figures_of(100, 100, 0, 300))
    assert "melanoma specificity" in refused_by(case_of(degenerate))
    assert "melanoma sensitivity" not in refused_by(case_of(degenerate))
    assert verdict_of(case_of(degenerate)) == "fail"


def test_a_model_that_calls_nothing_melanoma_is_refused_by_sensitivity() -> None:
    blind = evaluated_of(figures_of(0, 100, 300, 300))
    assert {"melanoma sensitivity", "every class recalled"} <= refused_by(case_of(blind))


def test_a_perfect_score_on_too_few_melanomas_is_insufficient() -> None:
    few = evaluated_of(figures_of(10, 10, 290, 300))
    assert verdict_of(case_of(few)) == "insufficient evidence"
    judged = {rule.name: rule for rule in judge(MELANOMA_POLICY, case_of(few))}
    assert judged["melanoma sensitivity"].more_needed == 4


def test_a_failing_rule_outweighs_a_lack_of_evidence() -> None:
    assert verdict_of(case_of(evaluated_of(figures_of(10, 10, 0, 300)))) == "fail"


def test_a_model_that_tells_archives_apart_and_not_lesions_is_refused() -> None:
    within = good().figures.within_source[0]
    chance = Estimate(value=0.52, lower=0.45, upper=0.59, n=200, method="DeLong")
    measured = good().figures.model_copy(
        update={"within_source": (within.model_copy(update={"auc": chance}),)}
    )
    assert refused_by(case_of(good(figures=measured))) == {
        "melanoma against nevus within ISIC, not HAM10000 (AUC)"
    }


def test_without_two_classes_in_one_archive_nothing_excludes_the_shortcut() -> None:
    measured = good().figures.model_copy(update={"within_source": ()})
    assert verdict_of(case_of(good(figures=measured))) == "insufficient evidence"


def test_a_model_whose_probabilities_mean_nothing_is_refused_by_calibration() -> None:
    off = Estimate(value=0.30, lower=0.25, upper=0.35, n=400, method="bootstrap")
    calibration = good().figures.calibration.model_copy(update={"expected_error": off})
    measured = good().figures.model_copy(update={"calibration": calibration})
    assert refused_by(case_of(good(figures=measured))) == {"calibration error"}


def test_a_model_that_fails_a_subgroup_is_refused_and_a_tiny_subgroup_refuses_nothing() -> None:
    def with_subgroup(found: int, n: int) -> Case:
        failed = Subgroup(
            trait="sex",
            value="female",
            lesions=n + 50,
            sensitivity=proportion(found, n),
            specificity=proportion(40, 50),
            auc=Estimate(value=None, lower=None, upper=None, n=0, method=""),
            sufficient=True,
        )
        return case_of(good(figures=good().figures.model_copy(update={"subgroups": (failed,)})))

    assert refused_by(with_subgroup(5, 40)) == {"melanoma sensitivity, sex female"}
    assert verdict_of(with_subgroup(0, 5)) == "pass"


def test_a_model_with_leaking_images_is_refused_by_the_rule_made_for_it() -> None:
    assert refused_by(case_of(good(), leaks=1)) == {"no leak"}
    assert refused_by(case_of(good(), same_test_part=False)) == {"no leak"}


def test_a_policy_for_drawn_lesions_lets_no_model_of_real_ones_pass() -> None:
    for name in ("synthetic", "smoke"):
        policy = parse_policy(policy_bytes(name), name)
        assert verdict_of(case_of(good()), policy) == "fail"
        assert verdict_of(case_of(good(), synthetic=True), policy) == "pass"


# Laws ---------------------------------------------------------------------------------------------

ORDER = {"fail": 0, "insufficient evidence": 1, "pass": 2}


@settings(max_examples=40)
@given(st.integers(0, 29), st.integers(0, 30), st.integers(0, 30))
def test_one_more_melanoma_found_never_lowers_the_verdict(
    found: int, gained: int, lost: int
) -> None:
    """Whether the champion finds it too or not."""
    policy = without("subgroup_sensitivity", "balanced_accuracy", "within_source_auc")
    gained, lost = min(gained, found), min(lost, 29 - found)

    def verdict(found: int, gained: int, lost: int) -> int:
        champion = champion_of(gained, lost, both=found - gained, n=30)
        measured = good().figures.model_copy(update={"sensitivity": proportion(found, 30)})
        return ORDER[verdict_of(case_of(evaluated_of(measured, champion=champion)), policy)]

    before = verdict(found, gained, lost)
    if found + lost < 30:
        assert verdict(found + 1, gained + 1, lost) >= before  # a melanoma that both missed
    if lost:
        assert verdict(found + 1, gained, lost - 1) >= before  # one that the champion found


@given(st.permutations(MELANOMA_POLICY.rules), st.sampled_from(["good", "blind", "few"]))
def test_the_order_of_the_rules_means_nothing(order: list[Any], which: str) -> None:
    models = {"good": (96, 100, 280, 300), "blind": (0, 100, 300, 300), "few": (5, 5, 290, 300)}
    case = case_of(evaluated_of(figures_of(*models[which])))
    shuffled = MELANOMA_POLICY.model_copy(update={"rules": tuple(order)})
    assert verdict_of(case, shuffled) == verdict_of(case)
    assert refused_by(case, shuffled) == refused_by(case)


BROKEN: list[tuple[str, Any]] = [
    ("sensitivity", proportion(1, 2).model_copy(update={"successes": 3})),
    ("sensitivity", proportion(1, 2).model_copy(update={"successes": NAN})),
    ("balanced_accuracy", Estimate(value=NAN, lower=0.5, upper=0.6, n=9, method="")),
    ("balanced_accuracy", Estimate(value=0.5, lower=NAN, upper=0.6, n=9, method="")),
    ("balanced_accuracy", Estimate(value=0.5, lower=0.8, upper=0.9, n=9, method="")),
    ("balanced_accuracy", Estimate(value=float("inf"), lower=0.8, upper=0.9, n=9, method="")),
    ("per_class", {}),
]


@pytest.mark.parametrize(("name", "value"), BROKEN, ids=lambda value: str(value)[:30])
def test_a_figure_that_is_unreadable_refuses(name: str, value: Any) -> None:
    measured = good().figures.model_copy(update={name: value})
    assert verdict_of(case_of(good(figures=measured))) == "fail"


@pytest.mark.parametrize("name", ["sensitivity", "per_class", "within_source", "subgroups"])
def test_a_bug_shows_as_a_bug_and_not_as_a_verdict(name: str) -> None:
    """No record can hold such a figure: pydantic refuses it."""
    measured = good().figures.model_copy(update={name: None})
    with pytest.raises((AttributeError, TypeError)):
        judge(MELANOMA_POLICY, case_of(good(figures=measured)))


def test_no_rule_at_all_is_no_pass() -> None:
    assert decide(()) == "insufficient evidence"
    quiet = [rule for rule in judge(MELANOMA_POLICY, case_of(good())) if rule.decision != "pass"]
    assert decide(tuple(quiet)) == "insufficient evidence"


@given(st.sets(st.sampled_from(RULES), min_size=1))
def test_a_rule_that_fails_alone_fails_in_any_company(kinds: set[str]) -> None:
    case = case_of(evaluated_of(figures_of(0, 100, 0, 300)))
    some = MELANOMA_POLICY.model_copy(
        update={"rules": tuple(each for each in MELANOMA_POLICY.rules if each.rule in kinds)}
    )
    if refused_by(case, some):
        assert verdict_of(case) == "fail"


def test_a_rule_survives_json() -> None:
    for rule in judge(MELANOMA_POLICY, case_of(good(champion=champion_of(2, 2)))):
        assert Rule.model_validate_json(rule.model_dump_json()) == rule
