"""The gate and its policy: bounds, not points; three answers; no model fools it by one figure."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config import PolicyName
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Momentary
from tasks.evaluation.bounds import proportion_rule
from tasks.evaluation.decision import decide, judge, warnings_of
from tasks.evaluation.gate import gate
from tasks.evaluation.policy import Policy, PolicyRule, parse_policy, policy_bytes, released
from tasks.evaluation.rules import Case
from tasks.evaluation.scoring import figures
from tasks.intake.manifest import read_parquet, table, to_parquet
from tasks.records.evaluated import Champion, Comparison, Evaluated
from tasks.records.figures import Estimate, Subgroup
from tasks.records.record import sha256
from tasks.records.split import Split
from tasks.records.verdict import Looks, Rule, Verdict
from tasks.splitting.looks import enter_look, hash_of_test_part, supersede
from tasks.statistics.proportions import proportion
from tests.support.deliveries import do, run_of
from tests.support.judged import (
    MELANOMA_POLICY,
    NOTHING,
    THRESHOLD,
    case_of,
    evaluated_of,
    figures_of,
    predictions,
)

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


@pytest.mark.parametrize(("left", "said"), [(10, True), (11, False)])
def test_a_test_part_that_is_nearly_spent_is_warned_of(left: int, said: bool) -> None:
    looks = Looks(look=3, confidence=0.99, left=left, left_at_this_rate=1, lesions_that_renew=101)
    told = warnings_of(MELANOMA_POLICY, case_of(good(), looks=looks))
    assert bool(told) is said
    assert all("101 new melanoma lesions" in each for each in told)


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


# The policy's file --------------------------------------------------------------------------------


def test_every_policy_can_be_read_and_chosen_and_is_named_like_its_file() -> None:
    assert released().keys() == set(get_args(PolicyName))
    for name, versions in released().items():
        assert versions == set(range(1, max(versions) + 1))
        for version in versions:
            policy = parse_policy(policy_bytes(name, version), name)
            assert (policy.name, policy.version) == (name, version)
        assert policy_bytes(name) == policy_bytes(name, max(versions))


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("melanoma", "403c7be9a5c1d786197b8a1c02fdd9b03ab88ce7b13344128dbf14df5946b2bb"),
        ("synthetic", "11a3f1c4d5121a8fc77262e54c3d8e80e6d928eb38544544c65661187e74b2bc"),
        ("smoke", "c31c7d96853a02152b9806fc6d445ab534ed3f207c2bc95d093945bf739d18d3"),
    ],
)
def test_a_released_policy_never_changes(name: str, digest: str) -> None:
    """Bundles were judged by these bytes."""
    assert sha256(policy_bytes(name, 1)) == digest


def test_a_policys_file_without_a_version_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = changed(name="mine", version=1)
    monkeypatch.setattr("tasks.evaluation.policy.FOLDER", tmp_path)
    (tmp_path / "mine.yaml").write_bytes(mine)
    with pytest.raises(BadInput, match="does not state the version"):
        policy_bytes("mine")
    (tmp_path / "mine.yaml").rename(tmp_path / "mine-1.yaml")
    assert policy_bytes("mine") == mine


def test_a_version_that_was_never_released_is_refused_by_number() -> None:
    with pytest.raises(BadInput, match="version 99"):
        policy_bytes("melanoma", 99)


BOMB = b"a: &a [x]\n" + b"".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n".encode()
    for n in range(9)
)


@pytest.mark.parametrize(
    ("data", "words"),
    [(BOMB, "alias"), (b"[" * 20_000, "recursion|expected|nest"), (b"#" * 70_000, "larger than")],
)
def test_a_policy_that_would_unfold_without_end_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=f"(?i){words}"):
        parse_policy(data, "melanoma")


def test_the_policy_for_patients_judges_everything_that_can_be_judged() -> None:
    kinds = get_args(get_args(PolicyRule)[0])

    assert set(RULES) == {get_args(kind.model_fields["rule"].annotation)[0] for kind in kinds}


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
        (changed(rules=[SENSITIVITY, dict(SENSITIVITY)]), "stand once"),
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


def made(tmp_path: Path, leak: bool = False, found: int = 96) -> tuple[Run, Split, Evaluated]:
    """A run that judges 100 melanomas and 300 nevi, with a lesion on two sides if wanted."""
    run = replace(run_of(open_store(str(tmp_path)), policy="melanoma"), step="gate")
    told = predictions(found, 100, 280, 300)
    rows = told[["image_id", "label"]].to_dict("records")
    rows += [{"image_id": f"TRAIN_{n}", "label": "nevus"} for n in range(20)]
    for number, row in enumerate(rows):
        row |= {"key": f"raw/{number}.jpg", "size_bytes": 1, "lesion_id": f"L{number}"}
        row |= {"pixel_hash": sha256(row["image_id"].encode())}
    if leak:
        rows[-1]["lesion_id"] = "L0"
    sides = {True: "train", False: "test"}
    parts = table(rows)
    parts["side"] = parts["image_id"].str.startswith("TRAIN").map(sides)
    kept = run.keep("parts.parquet", to_parquet(parts))
    split = Split(
        parts=kept, proof=kept, left_out=kept, counts={}, groups={}, strata=(), bridging=0
    )
    evaluated = good(
        test_part=hash_of_test_part(parts[parts["side"] == "test"]),
        predictions=run.keep("predictions.parquet", to_parquet(told)),
    )
    return run, split, evaluated


def judged_part(run: Run, split: Split) -> pd.DataFrame:
    parts = read_parquet(run, split.parts)
    return parts[parts["side"] == "test"]


def look(run: Run, rows: pd.DataFrame, model: str, threshold: float = THRESHOLD) -> None:
    enter_look(run, rows, model, threshold=threshold)


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
    run, split, evaluated = made(tmp_path)
    other = evaluated.model_copy(update={"test_part": "0" * 64})
    assert "not made on the test part" in gate(run, split, other).reason


def test_each_other_model_that_was_judged_on_these_images_is_counted_once(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    test = judged_part(run, split)
    for digest in ("a" * 64, "b" * 64, "b" * 64):
        look(run, test, digest)
    look(run, test.iloc[:200], "c" * 64)  # half of the same images
    nevi = test[test["label"] == "nevus"]
    look(run, nevi.iloc[:60], "d" * 64)  # another test part
    look(run, test, evaluated.model.sha256)
    look(run, test, "e" * 64)  # later than this model's own turn
    assert gate(run, split, evaluated).earlier_evaluations == 3


def test_melanomas_that_were_looked_at_count_however_many_others_are_new(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    test = judged_part(run, split)
    melanomas = test[test["label"] == "melanoma"]
    look(run, melanomas.iloc[:50], "a" * 64)
    look(run, melanomas.iloc[:49], "b" * 64)
    assert gate(run, split, evaluated).earlier_evaluations == 1
    whole = hash_of_test_part(test)
    for piece in (melanomas.iloc[:30], melanomas.iloc[30:60]):  # they count together
        enter_look(run, piece, "c" * 64, threshold=THRESHOLD, test_part=whole, by="score")
    assert gate(run, split, evaluated).earlier_evaluations == 2


def test_the_same_model_on_one_lesion_less_is_another_look(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    test = judged_part(run, split)
    look(run, test.iloc[1:], evaluated.model.sha256)
    assert gate(run, split, evaluated).earlier_evaluations == 1


def test_bounds_hold_with_the_confidence_that_the_looks_leave(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    first = gate(run, split, evaluated)
    for number in range(9):
        look(run, judged_part(run, split), f"{number + 1}" * 64)
    tenth = gate(run, split, evaluated)
    assert first.looks
    assert tenth.looks
    assert (first.looks.look, tenth.looks.look) == (1, 10)
    assert first.looks.confidence == pytest.approx(1 - 0.05 * 6 / math.pi**2)
    assert tenth.looks.confidence == pytest.approx(1 - 0.05 * 6 / math.pi**2 / 100)
    for name in ("melanoma sensitivity", "balanced accuracy", "calibration error"):
        early, late = ({r.name: r for r in v.rules}[name] for v in (first, tenth))
        assert late.lower < early.lower <= early.figure <= early.upper < late.upper
    assert "with 99.969 % confidence" in tenth.reason
    assert (first.looks.left or 0) - 9 == tenth.looks.left


def test_a_model_that_passes_at_its_first_look_may_need_more_at_a_later_one(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path, found=92)
    assert gate(run, split, evaluated).decision == "pass"
    for number in range(9):
        look(run, judged_part(run, split), f"{number + 1}" * 64)
    assert gate(run, split, evaluated).decision == "insufficient evidence"


# Lesions that were judged on --------------------------------------------------------------------


def later_without(
    run: Run, split: Split, evaluated: Evaluated, gone: list[str]
) -> tuple[Split, Evaluated]:
    """The records of a later run in which these images are delivered no more."""
    parts, told = read_parquet(run, split.parts), read_parquet(run, evaluated.predictions)
    parts = parts[~parts["image_id"].isin(gone)]
    told = told[~told["image_id"].isin(gone)]
    kept = run.keep("later.parquet", to_parquet(parts))
    return split.model_copy(update={"parts": kept}), evaluated.model_copy(
        update={
            "test_part": hash_of_test_part(parts[parts["side"] == "test"]),
            "predictions": run.keep("told.parquet", to_parquet(told)),
            "figures": figures(told, evaluated.classes, THRESHOLD, {"melanoma": 0.05}),
        }
    )


def test_a_missed_melanoma_that_left_is_named_and_still_counts_as_missed(tmp_path: Path) -> None:
    """Else whoever may deliver could rid a model of what it misses."""
    run, split, evaluated = made(tmp_path, found=86)
    look(run, judged_part(run, split), evaluated.model.sha256)
    before = gate(run, split, evaluated)
    missed = [f"ISIC_{n:07d}" for n in range(86, 100)]
    after = gate(run, *later_without(run, split, evaluated, missed))
    assert before.decision == after.decision == "insufficient evidence"
    assert [each.image_id for each in after.departed] == missed
    assert after.earlier_evaluations == 1  # the look is counted
    assert all(name in after.warnings[0] for name in missed[:10])
    kept = next(rule for rule in after.rules if rule.name == "judged lesions stay")
    assert all(name in kept.reason for name in missed)
    sensitivity = next(rule for rule in after.rules if rule.name == "melanoma sensitivity")
    assert (sensitivity.successes, sensitivity.n) == (86, 100)
    assert "each image that left as a miss" in sensitivity.reason


def test_what_others_were_judged_on_later_is_no_matter_of_this_model(tmp_path: Path) -> None:
    """A gate that is run again, or tried again, gives the verdict of the model's own turn."""
    run, split, evaluated = made(tmp_path)
    test = judged_part(run, split)
    own = enter_look(run, test, evaluated.model.sha256, threshold=THRESHOLD)
    then = evaluated.model_copy(update={"ledger": own.head})
    before = gate(run, split, then)
    grown = pd.concat([test, test.iloc[:1].assign(image_id="NEW", pixel_hash="9" * 64)])
    look(run, grown, "a" * 64)
    after = gate(run, split, then)
    assert after.departed == ()
    assert after.content_hash == before.content_hash
    assert gate(run, split, evaluated).departed  # without its own head it would be one


def test_lesions_of_which_nothing_left_are_judged_once(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    look(run, judged_part(run, split), evaluated.model.sha256)
    said = gate(run, split, evaluated)
    assert said.departed == said.superseded == ()
    assert not any("as it was judged before" in rule.reason for rule in said.rules)


def test_a_superseded_label_is_judged_both_ways_and_the_worse_counts(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path, found=86)
    look(run, judged_part(run, split), evaluated.model.sha256)
    told = read_parquet(run, evaluated.predictions)
    for number in range(86, 100):  # every miss is declared a nevus
        supersede(run, f"ISIC_{number:07d}", "nevus", "Dr. Example", "second histology")
        told.loc[number, "label"] = "nevus"
    parts = read_parquet(run, split.parts)
    labels = told.set_index("image_id")["label"]
    parts["label"] = parts["image_id"].map(labels).fillna(parts["label"])
    later = evaluated.model_copy(
        update={
            "test_part": hash_of_test_part(parts[parts["side"] == "test"]),
            "predictions": run.keep("told.parquet", to_parquet(told)),
        }
    )
    parts_kept = run.keep("later.parquet", to_parquet(parts))
    said = gate(run, split.model_copy(update={"parts": parts_kept}), later)
    assert said.decision == "insufficient evidence"
    assert len(said.superseded) == 14
    assert said.superseded[0].by == "Dr. Example"
    assert "Dr. Example" in " ".join(said.warnings)


def test_two_lesions_that_a_table_joins_later_are_judged_apart_too(tmp_path: Path) -> None:
    """Else a missed melanoma could hide in the mean with one that is found."""
    run, split, evaluated = made(tmp_path, found=86)
    look(run, judged_part(run, split), evaluated.model.sha256)
    told = read_parquet(run, evaluated.predictions)
    for number in range(86, 100):
        told.loc[number, ["lesion", "melanoma", "nevus"]] = [f"L{number - 86}", 0.45, 0.55]
        told.loc[number - 86, ["melanoma", "nevus"]] = [0.99, 0.01]
    later = evaluated.model_copy(update={"predictions": run.keep("told.parquet", to_parquet(told))})
    sensitivity = next(
        rule for rule in gate(run, split, later).rules if rule.name == "melanoma sensitivity"
    )
    assert (sensitivity.successes, sensitivity.n) == (86, 100)


def test_a_label_is_superseded_by_name_and_for_a_reason_only(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    look(run, judged_part(run, split), evaluated.model.sha256)
    for by, reason in (("", "histology"), ("Dr. Example", " ")):
        with pytest.raises(BadInput, match="a name and a reason"):
            supersede(run, "ISIC_0000001", "nevus", by, reason)
    with pytest.raises(BadInput, match="not judged on yet"):
        supersede(run, "ISIC_9999999", "nevus", "Dr. Example", "histology")
    with pytest.raises(BadInput, match="melanoma already"):
        supersede(run, "ISIC_0000001", "melanoma", "Dr. Example", "histology")
    assert supersede(run, "ISIC_0000001", "nevus", "Dr. Example", "histology") == (
        *("L1", "melanoma", "nevus"),
    )


def test_a_verdict_stands_and_is_reused_only_while_the_ledger_stands(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    for name in ("test", "later", "last"):
        for step, record in (("split", split), ("evaluate", evaluated)):
            key = f"runs/{name}/{step}/record.json"
            run.store.replace(key, record.model_dump_json().encode())
    first = do(run, "gate")
    look(run, judged_part(run, split), "a" * 64)

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
    monkeypatch.setattr("tasks.engine.ledger.outside_state", lambda run: next(states))
    with pytest.raises(Momentary, match="changed while the step ran"):
        do(run, "gate")
    assert run.record("gate") is None


def test_a_rule_survives_json() -> None:
    for rule in judge(MELANOMA_POLICY, case_of(good(champion=champion_of(2, 2)))):
        assert Rule.model_validate_json(rule.model_dump_json()) == rule
