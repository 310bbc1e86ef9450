"""The rule about refusals has three answers, and judges the kind that is refused least."""

from typing import Any

import pytest

from tasks.evaluation.bounds import Unreadable
from tasks.evaluation.policy import parse_policy, policy_bytes, released
from tasks.evaluation.refusal_kinds import EACH, WITHOUT_SKIN
from tasks.evaluation.refusal_rules import Refusals as Rule
from tasks.records.refusals import Answered, Refusals, RefusedKind
from tasks.statistics.proportions import lower_bound, proportion
from tests.support.judged import MELANOMA_POLICY, NOTHING, case_of, good

RULE = Rule(
    rule="refusals",
    answered_at_least=0.85,
    not_skin_at_least=0.90,
    others_at_least=0.70,
    method="Clopper-Pearson, one-sided, by lesion and by image",
    why="A network answers about a photograph of a cat too.",
)


def kind(name: str, refused: int, *, skin: bool, n: int = 100) -> RefusedKind:
    return RefusedKind(
        kind=name,
        origin="drawn",
        skin=skin,
        refused=proportion(refused, n),
        at_least=lower_bound(refused, n),
        target=0.8,
        grounds={},
    )


def told(*kinds: RefusedKind, refused: int = 15, name: str = "") -> Refusals:
    none = proportion(0, 0)
    own = Answered(
        name=name,
        refused=proportion(refused, 400),
        melanomas_refused=none,
        sensitivity=none,
        specificity=none,
    )
    return Refusals(
        judge=NOTHING,
        learned_from=100,
        fit_kinds=("clouds",),
        allowed=0.05,
        validation=proportion(5, 100),
        lesions=(own,),
        kinds=kinds,
        not_measured=(),
    )


def decisions(found: Refusals | None) -> dict[str, str]:
    return {each.name: each.decision for each in RULE.judge(case_of(good(refusals=found)))}


SKIN = kind("blurred", 95, skin=True)
CATS = kind("cats", 100, skin=False)


@pytest.mark.parametrize(
    ("refused", "decision"),
    [(15, "pass"), (30, "pass"), (55, "insufficient evidence"), (120, "fail")],
)
def test_of_sound_lesions_few_may_be_refused(refused: int, decision: str) -> None:
    found = decisions(told(SKIN, CATS, refused=refused))
    assert found["lesions answered about"] == decision
    assert found["refused of images without skin"] == "pass"


@pytest.mark.parametrize(
    ("refused", "decision"), [(100, "pass"), (92, "insufficient evidence"), (70, "fail")]
)
def test_the_kind_that_is_refused_least_decides(refused: int, decision: str) -> None:
    found = decisions(told(SKIN, CATS, kind("dogs", refused, skin=False)))
    assert found["refused of images without skin"] == decision
    assert found["refused of images of skin that are unsound"] == "pass"


def test_kinds_of_skin_are_asked_by_their_own_minimum() -> None:
    found = decisions(told(SKIN, CATS, kind("hue", 40, skin=True)))
    assert found["refused of images of skin that are unsound"] == "fail"
    assert found["refused of images without skin"] == "pass"


def test_few_images_of_a_kind_prove_little() -> None:
    found = decisions(told(SKIN, CATS, kind("dogs", 10, skin=False, n=10)))
    assert found["refused of images without skin"] == "insufficient evidence"


def test_without_a_judge_or_without_a_kind_there_is_no_evidence() -> None:
    assert decisions(None) == {"refusals": "insufficient evidence"}
    assert decisions(told(SKIN))["refused of images without skin"] == "insufficient evidence"


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(Unreadable):
        decisions(told(SKIN, CATS, name="clinic-b"))
    odd: Any = proportion(5, 100).model_copy(update={"successes": 101})
    with pytest.raises(Unreadable, match="cats: 101 of 100"):
        decisions(told(SKIN, CATS.model_copy(update={"refused": odd})))


def test_the_reason_names_the_kind_its_count_and_what_is_asked() -> None:
    (_, first, _) = RULE.judge(case_of(good(refusals=told(SKIN, kind("dogs", 70, skin=False)))))
    assert "least of dogs, 70 of 100 images" in first.reason
    assert "90.0" in first.reason


@pytest.mark.parametrize(("name", "first"), [("melanoma", 5), ("synthetic", 4)])
def test_a_released_policy_holds_the_rule_since_a_version(name: str, first: int) -> None:
    for version in released()[name]:
        rules = parse_policy(policy_bytes(name, version), name).rules
        assert ("refusals" in {each.rule for each in rules}) == (version >= first)


def of_patients(look: int, *kinds: RefusedKind, refused: int = 12) -> dict[str, str]:
    """What the policy for patients says of refusals at a look, from 1, at one test part."""
    (rule,) = (each for each in MELANOMA_POLICY.rules if each.rule == "refusals")
    assert isinstance(rule, Rule)
    found = told(*kinds, refused=refused)
    case = case_of(good(refusals=found), confidence=MELANOMA_POLICY.confidence(look))
    return {each.name: each.decision for each in rule.judge(case)}


def test_the_policy_for_patients_can_be_met_at_many_looks_with_the_images_that_are_made() -> None:
    skin = kind("blurred", EACH, skin=True, n=EACH)
    drawn = kind("noise", WITHOUT_SKIN, skin=False, n=WITHOUT_SKIN)
    assert set(of_patients(29, skin, drawn).values()) == {"pass"}
    assert of_patients(30, skin, drawn)["refused of images without skin"] != "pass"
    few = kind("noise", 100, skin=False)
    assert of_patients(2, skin, few)["refused of images without skin"] == "pass"
    assert of_patients(3, skin, few)["refused of images without skin"] == "insufficient evidence"


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"refused": 90}, "lesions answered about"),
        ({"noise": 180}, "refused of images without skin"),
        ({"blurred": 70}, "refused of images of skin that are unsound"),
    ],
)
def test_the_policy_for_patients_fails_a_judge_of_images_that_does_not_do_it(
    wrong: dict[str, int], name: str
) -> None:
    made = {"noise": 200, "blurred": 100} | wrong
    skin = kind("blurred", made["blurred"], skin=True)
    drawn = kind("noise", made["noise"], skin=False, n=200)
    said = of_patients(1, skin, drawn, refused=wrong.get("refused", 12))
    assert {each for each, decision in said.items() if decision == "fail"} == {name}
