"""The gate and its policy: bounds, not points; three answers; no model fools it by one figure."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from deliveries import do, run_of
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import MELANOMA_POLICY, NOTHING, case_of, evaluated_of, figures_of

from tasks.config import PolicyName
from tasks.contracts import (
    Champion,
    Comparison,
    Estimate,
    Evaluated,
    Rule,
    Split,
    Subgroup,
    Verdict,
)
from tasks.errors import BadInput, Momentary
from tasks.gate import gate
from tasks.ledger import enter_evaluation, hash_of_test_part
from tasks.manifest import read_parquet, table, to_parquet
from tasks.policy import FOLDER, Policy, parse_policy, policy_bytes
from tasks.rules import Case, decide, judge, judge_proportion, warnings_of
from tasks.run import Run, sha256
from tasks.statistics import proportion
from tasks.storage import open_store

RULES = [each.rule for each in MELANOMA_POLICY.rules]

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def good(**changes: Any) -> Evaluated:
    """A model that meets every rule of the policy for patients."""
    return evaluated_of(figures_of(96, 100, 280, 300), **changes)


def refused_by(case: Case, policy: Policy = MELANOMA_POLICY) -> set[str]:
    return {rule.name for rule in judge(policy, case) if rule.decision == "fail"}


def verdict_of(case: Case, policy: Policy = MELANOMA_POLICY) -> str:
    return decide(judge(policy, case))


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
    assert judge_proportion("x", proportion(found, n), minimum, "exact").decision == decision


@given(counts, st.floats(0.01, 0.99))
def test_a_rule_passes_only_on_its_bound(pair: tuple[int, int], minimum: float) -> None:
    rule = judge_proportion("melanoma sensitivity", proportion(*pair), minimum, "exact")
    assert rule.lower is not None
    assert rule.upper is not None
    assert (rule.decision == "pass") == (rule.lower >= minimum)
    assert (rule.decision == "fail") == (rule.upper < minimum)


def test_insufficient_evidence_says_how_many_more_lesions_would_do() -> None:
    rule = judge_proportion("melanoma sensitivity", proportion(13, 13), 0.80, "exact")
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


# Against the champion -----------------------------------------------------------------------------


def champion_of(
    gained: int, lost: int, both: int | None = None, n: int = 100, **changes: Any
) -> Champion:
    """A champion beside a model that finds `both` and `gained` of n melanomas; 96 if not said."""
    none = Estimate(value=0.0, lower=-0.01, upper=0.01, n=400, method="DeLong, paired")
    both = 96 - gained if both is None else both
    compared = Comparison(
        threshold=0.4,
        sensitivity=proportion(both + lost, n),
        specificity=proportion(250, 300),
        auc=Estimate(value=0.95, lower=0.9, upper=0.98, n=400, method="DeLong"),
        both_found=both,
        champion_only=lost,
        challenger_only=gained,
        neither_found=n - both - gained - lost,
        auc_difference=none,
        lost=(),
    )
    return Champion(
        **{
            "version": 3,
            "run": "store/runs/earlier",
            "model_sha256": "1" * 64,
            "classes": ("melanoma", "nevus"),
            "learned_from": 0,
            "problem": None,
            "comparison": compared,
        }
        | changes
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
    policy = without("sensitivity", "subgroup_sensitivity", "auc_against_champion")
    worse = evaluated_of(figures_of(72, 100, 280, 300), champion=champion_of(0, 25, both=72))
    assert refused_by(case_of(worse), policy) == {"melanoma sensitivity against the champion"}


def without(*kinds: str) -> Policy:
    """The policy for patients, less some rules; no longer one that could be loaded."""
    kept = tuple(each for each in MELANOMA_POLICY.rules if each.rule not in kinds)
    return MELANOMA_POLICY.model_copy(update={"rules": kept})


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


NAN = float("nan")
BROKEN: list[tuple[str, Any]] = [
    ("sensitivity", None),
    ("sensitivity", proportion(1, 2).model_copy(update={"successes": 3})),
    ("sensitivity", proportion(1, 2).model_copy(update={"successes": NAN})),
    ("specificity", None),
    ("balanced_accuracy", None),
    ("balanced_accuracy", Estimate(value=NAN, lower=0.5, upper=0.6, n=9, method="")),
    ("balanced_accuracy", Estimate(value=0.5, lower=NAN, upper=0.6, n=9, method="")),
    ("balanced_accuracy", Estimate(value=0.5, lower=0.8, upper=0.9, n=9, method="")),
    ("balanced_accuracy", Estimate(value=float("inf"), lower=0.8, upper=0.9, n=9, method="")),
    ("calibration", None),
    ("per_class", {}),
    ("per_class", None),
    ("within_source", None),
    ("subgroups", None),
]


@pytest.mark.parametrize(("name", "value"), BROKEN, ids=lambda value: str(value)[:30])
def test_a_figure_that_is_missing_or_unreadable_refuses(name: str, value: Any) -> None:
    measured = good().figures.model_copy(update={name: value})
    assert verdict_of(case_of(good(figures=measured))) == "fail"


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


# The policy's file --------------------------------------------------------------------------------


def test_every_policy_can_be_read_and_chosen_and_is_named_like_its_file() -> None:
    files = {path.stem for path in FOLDER.glob("*.yaml")}
    assert files == set(get_args(PolicyName))
    for name in files:
        assert parse_policy(policy_bytes(name), name).name == name


def test_the_policy_for_patients_judges_everything_that_can_be_judged() -> None:
    from tasks.rules import _JUDGES

    assert set(RULES) == set(_JUDGES)


def changed(**fields: Any) -> bytes:
    return yaml.safe_dump(yaml.safe_load(policy_bytes("melanoma")) | fields).encode()


SENSITIVITY = yaml.safe_load(policy_bytes("melanoma"))["rules"][1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"- a list", "not a table"),
        (b"{", "expected"),
        (changed(extra=1), "extra"),
        (changed(rules=[]), "rules"),
        (changed(rules=[SENSITIVITY]), "no_leak, specificity"),
        (changed(rules=[SENSITIVITY, SENSITIVITY]), "stand once"),
        (changed(rules=[SENSITIVITY | {"at_least": 1.2}]), "less than 1"),
        (changed(rules=[SENSITIVITY | {"at_least": NAN}]), "at_least"),
        (changed(rules=[SENSITIVITY | {"method": "by eye"}]), "Clopper-Pearson"),
        (changed(rules=[SENSITIVITY | {"rule": "kindness"}]), "kindness"),
        (changed(version="first"), "version"),
    ],
)
def test_a_policy_that_says_something_else_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        parse_policy(data, "melanoma")


def test_a_policy_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="melanoma or smoke or synthetic"):
        policy_bytes("../config")


# The step -----------------------------------------------------------------------------------------


def made(tmp_path: Path, leak: bool = False) -> tuple[Run, Split, Evaluated]:
    """A run whose split, if wanted, has a lesion on two sides."""
    run = replace(run_of(open_store(str(tmp_path))), step="gate")
    rows = [
        {
            "key": f"raw/{n}.jpg",
            "image_id": f"ISIC_{n:07d}",
            "pixel_hash": sha256(str(n).encode()),
            "label": "melanoma" if n % 2 else "nevus",
            "lesion_id": "the same" if leak and n in (0, 39) else f"lesion {n}",
            "size_bytes": 1,
        }
        for n in range(40)
    ]
    parts = table(rows).assign(side=["train"] * 20 + ["test"] * 20)
    kept = run.keep("parts.parquet", to_parquet(parts))
    split = Split(
        parts=kept, proof=kept, left_out=kept, counts={}, groups={}, strata=(), bridging=0
    )
    test = parts[parts["side"] == "test"]
    return run, split, good(test_part=hash_of_test_part(test))


def test_the_step_names_the_policy_that_judged_by_its_bytes(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    said = gate(run, split, evaluated)
    assert said.decision == "pass"
    assert said.policy.sha256 == sha256(policy_bytes("melanoma"))
    assert (said.policy.name, said.policy.version) == ("melanoma", MELANOMA_POLICY.version)
    assert Verdict.model_validate_json(said.model_dump_json()) == said


def test_the_step_finds_a_lesion_on_both_sides_by_itself(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path, leak=True)
    said = gate(run, split, evaluated)
    assert (said.decision, said.leaks) == ("fail", 1)
    assert "more than one side" in said.reason


def test_figures_of_another_test_part_are_refused(tmp_path: Path) -> None:
    run, split, _ = made(tmp_path)
    assert "not made on the test part" in gate(run, split, good()).reason


def test_each_other_model_that_was_judged_on_these_images_is_counted_once(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    parts = read_parquet(run, split.parts)
    test = parts[parts["side"] == "test"]
    for digest in ("a" * 64, "b" * 64, "b" * 64, evaluated.model.sha256):
        enter_evaluation(run, test, digest)
    enter_evaluation(run, test.iloc[:11], "c" * 64)  # half of the same images
    enter_evaluation(run, test.iloc[:5], "d" * 64)  # another test part
    assert gate(run, split, evaluated).earlier_evaluations == 3


def test_a_verdict_stands_and_is_reused_only_while_the_ledger_stands(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    parts = read_parquet(run, split.parts)
    for name in ("test", "later", "last"):
        for step, record in (("split", split), ("evaluate", evaluated)):
            key = f"runs/{name}/{step}/record.json"
            run.store.replace(key, record.model_dump_json().encode())
    first = do(run, "gate")
    enter_evaluation(run, parts[parts["side"] == "test"], "a" * 64)

    again = do(run, "gate")
    later = do(replace(run, name="later"), "gate")
    last = do(replace(run, name="last"), "gate")

    assert again == first
    assert (first.earlier_evaluations, later.earlier_evaluations) == (0, 1)
    assert later.provenance.reused_from is None
    assert last.provenance.reused_from == "later"


def test_a_world_that_changes_under_a_step_is_a_fault_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, split, evaluated = made(tmp_path)
    for step, record in (("split", split), ("evaluate", evaluated)):
        run.store.replace(run.key("record.json", step), record.model_dump_json().encode())
    states = iter(["then", "now"])
    monkeypatch.setattr("tasks.ledger.outside_state", lambda run: next(states))
    with pytest.raises(Momentary, match="changed while it ran"):
        do(run, "gate")
    assert run.record("gate") is None


def test_a_rule_survives_json() -> None:
    for rule in judge(MELANOMA_POLICY, case_of(good(champion=champion_of(2, 2)))):
        assert Rule.model_validate_json(rule.model_dump_json()) == rule
