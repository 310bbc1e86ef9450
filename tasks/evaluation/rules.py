"""The rules of a policy, applied to what was measured. A function of records only, so that a
verdict can be recomputed anywhere.

A rule passes if the bound of its figure reaches what is asked; it fails if even the other bound
does not; between the two, the test part is too small to tell. A figure that is missing, is not a
number or contradicts itself refuses the model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tasks.evaluation import policy as of
from tasks.evaluation.policy import Policy
from tasks.figures import at_least, at_most, confident, down, listed, percent, plural, up
from tasks.lesions import MELANOMA
from tasks.records.evaluated import Champion, Comparison, Evaluated
from tasks.records.figures import Estimate, Proportion
from tasks.records.verdict import Decision, Departed, Looks, Rule, Superseded
from tasks.statistics import (
    CONFIDENCE,
    MOST_LOOKS,
    cases_needed,
    lower_bound,
    noninferiority_p,
    paired_bounds,
    upper_bound,
)

NO_CHAMPION = "There is no champion yet, so the absolute rules decide."
THE_CHAMPION = "This very model is the champion."

# More lesions than any test part will ever hold; to name a number beyond it would be false hope.
MOST_LESIONS = 10_000
SOON = 10  # runs, ten weeks of a weekly schedule: time enough to have new lesions labelled


@dataclass(frozen=True)
class Case:
    """What the rules judge.

    Attributes:
        evaluated: The figures.
        leaks: Groups of images that stand on more than one side of the split.
        same_test_part: Whether the figures were made on this split's test part.
        earlier_evaluations: Models judged on at least half of the test part before this one.
        synthetic: Whether every image was drawn.
        drawn: Whether any image was drawn, under a policy of version 2 or later.
        confidence: Of every bound, 0 to 1.
        looks: What the looks at the test part leave; None under a policy that spends nothing.
        departed: Images that models were judged on and that are not in the test part any more.
        superseded: Lesions that were judged under another label before.
        told_as: What is judged, if it is not the test part as it stands.
    """

    evaluated: Evaluated
    leaks: int
    same_test_part: bool
    earlier_evaluations: int
    synthetic: bool
    drawn: bool = False
    confidence: float = CONFIDENCE
    looks: Looks | None = None
    departed: tuple[Departed, ...] = ()
    superseded: tuple[Superseded, ...] = ()
    told_as: str = ""


class _Unreadable(ValueError):
    """A figure that is missing, not a number, or contradicts itself."""


def judge(policy: Policy, *cases: Case) -> tuple[Rule, ...]:
    """One or more judged rules for each rule of the policy, in its order.

    Args:
        policy: The policy.
        cases: What is judged; of several ways to see the same lesions the worse counts, rule by
            rule.
    """
    judged: dict[str, Rule] = {}
    for case in cases:
        for rule in _judged(policy, case):
            worst = judged.setdefault(rule.name, rule)
            if _WORSE.index(rule.decision) > _WORSE.index(worst.decision):
                reason = f"{rule.reason} This is {case.told_as}." if case.told_as else rule.reason
                judged[rule.name] = rule.model_copy(update={"reason": reason})
    return tuple(judged.values())


_WORSE = ("not applicable", "pass", "insufficient evidence", "fail")


def _judged(policy: Policy, case: Case) -> list[Rule]:
    judged = [_fits(policy, case), *_kept(case)]
    for asked in policy.rules:
        try:
            judged += _JUDGES[asked.rule](asked, case)
        except _Unreadable as error:  # all else is a bug, and shows as one
            judged.append(_unreadable(asked, error))
    return judged


def decide(rules: tuple[Rule, ...]) -> Decision:
    """One failed rule fails; else one that cannot tell leaves it open; else it is a pass."""
    decisions = {rule.decision for rule in rules}
    if "fail" in decisions:
        return "fail"
    if "insufficient evidence" in decisions or "pass" not in decisions:
        return "insufficient evidence"
    return "pass"


def reason_of(rules: tuple[Rule, ...], evaluated: Evaluated) -> str:
    """Why the decision is what it is, in words."""
    return " ".join([told(rules), *beside(decide(rules), evaluated)])


def told(rules: tuple[Rule, ...]) -> str:
    """Why, in words: the rules that decided, or that all hold."""
    decision = decide(rules)
    if decision == "pass":
        passed = [rule for rule in rules if rule.decision == "pass"]
        first = next((rule for rule in passed if rule.successes is not None), passed[0])
        return f"All {len(passed)} rules that apply hold; {first.reason}"
    return " ".join(rule.reason for rule in rules if rule.decision == decision)


def beside(decision: Decision, evaluated: Evaluated) -> list[str]:
    """What was judged, where there is more than one thing that could be; and where the test part
    cannot tell, what cross-validation found."""
    cross = evaluated.cross
    if cross is None:
        return []
    said = ["The frozen test part alone was judged, not cross-validation."]
    if decision == "insufficient evidence":
        found, spared = cross.figures.sensitivity, cross.figures.specificity
        said.append(
            f"Beside it, {cross.folds}-fold cross-validation, an estimate of the procedure and not "
            f"of this model: of {found.n} melanoma lesions {found.successes} are found "
            f"({percent(found.estimate)}), of {spared.n} others {spared.successes} are not called "
            f"it ({percent(spared.estimate)})."
        )
    return said


def warnings_of(policy: Policy, case: Case) -> tuple[str, ...]:
    """What a person must know who relies on the verdict."""
    found = []
    if case.departed:
        found.append(
            f"{plural(len(case.departed), 'image')} that models were judged on left the test part: "
            f"{listed([each.image_id for each in case.departed])}. Find out why."
        )
    if case.superseded:
        found.append(
            f"The labels of {plural(len(case.superseded), 'judged lesion')} were superseded: "
            + "; ".join(
                f"{each.lesion}, {each.judged_as}, is {each.label} by {each.by} ({each.reason})"
                for each in case.superseded
            )
            + "."
        )
    if case.looks and case.looks.left is not None and case.looks.left <= SOON:
        found.append(f"The test part is nearly spent. {_outlook(case.looks)}")
    reuse = next((each for each in policy.rules if each.rule == "test_part_reuse"), None)
    if isinstance(reuse, of.TestPartReuse) and case.earlier_evaluations > reuse.warn_above:
        found.append(
            f"The test part is wearing out: {case.earlier_evaluations} other models were judged "
            f"on it, more than {reuse.warn_above}. Deliver new lesions before relying on it."
        )
    champion = case.evaluated.champion
    if champion and champion.comparison and champion.learned_from:
        found.append(
            f"The champion learned from {champion.learned_from} images of this test part, so that "
            "the comparison favours it."
        )
    if champion and champion.comparison and champion.learned_from is None:
        found.append(
            "Which images the champion learned from is not known: the comparison may favour it."
        )
    return tuple(found)


# Single figures ----------------------------------------------------------------------------------


def judge_proportion(
    name: str,
    counted: Proportion,
    minimum: float,
    method: str,
    confidence: float = CONFIDENCE,
) -> Rule:
    """One proportion against the least that is asked, both 0 to 1, by its exact bounds."""
    if not 0 <= counted.successes <= counted.n:
        raise _Unreadable(f"{counted.successes} of {counted.n}")
    lower = lower_bound(counted.successes, counted.n, confidence)
    upper = upper_bound(counted.successes, counted.n, confidence)
    sure = confident(confidence)
    low, high, asked = at_least(lower, 1), at_most(upper, 1), percent(minimum, 1)
    said = f"{name}: {counted.successes} of {counted.n} lesions;"
    more = None
    if lower >= minimum:
        decision: Decision = "pass"
        reason = f"{said} with {sure} confidence at least {low}, and {asked} is asked."
    elif upper < minimum:
        decision = "fail"
        reason = f"{said} with {sure} confidence at most {high}, and {asked} is asked."
    else:
        decision = "insufficient evidence"
        cases = cases_needed(counted.successes, counted.n, minimum, MOST_LESIONS, confidence)
        more = None if cases is None else cases - counted.n
        reason = (
            f"{said} the true figure may be {low} or {high}, and {asked} is asked. {_wanted(more)}"
        )
    return Rule(
        name=name,
        figure=counted.successes / counted.n if counted.n else None,
        lower=lower,
        upper=upper,
        threshold=minimum,
        asks="at least",
        successes=counted.successes,
        n=counted.n,
        decision=decision,
        reason=reason,
        method=method,
        more_needed=more,
    )


def judge_estimate(
    name: str,
    measured: Estimate,
    threshold: float,
    method: str,
    asks: Literal["at least", "at most"] = "at least",
    confidence: float = CONFIDENCE,
) -> Rule:
    """One figure against what is asked of it, by the bounds of its interval."""
    figures = measured.value, measured.lower, measured.upper
    if any(each is not None and not math.isfinite(each) for each in figures):
        raise _Unreadable(f"{name} is {measured.value} ({measured.lower} to {measured.upper})")
    value, lower, upper = figures
    if value is None or lower is None or upper is None:
        reason = f"{name}: the test part holds too few lesions to measure it."
        return _rule(name, measured, threshold, asks, "insufficient evidence", reason, method)
    if not lower <= value <= upper:
        raise _Unreadable(f"{name} is {value}, outside of {lower} to {upper}")
    good, bad = (lower, upper) if asks == "at least" else (-upper, -lower)
    asked = threshold if asks == "at least" else -threshold
    said = (
        f"{name}: {value:.3f}, {confident(confidence)} interval {down(lower)} to {up(upper)}; "
        f"{asks} {threshold:g} is asked."
    )
    more = None
    if good >= asked:
        decision: Decision = "pass"
    elif bad < asked:
        decision = "fail"
    else:
        decision = "insufficient evidence"
        more = _more_for(measured.n, abs(value - (lower if asks == "at least" else upper)),
                         (value if asks == "at least" else -value) - asked)  # fmt: skip
        said += f" {_wanted(more)}"
    return _rule(name, measured, threshold, asks, decision, said, method, more)


def _rule(
    name: str,
    measured: Estimate,
    threshold: float,
    asks: Literal["at least", "at most"],
    decision: Decision,
    reason: str,
    method: str,
    more: int | None = None,
) -> Rule:
    return Rule(
        name=name,
        figure=measured.value,
        lower=measured.lower,
        upper=measured.upper,
        threshold=threshold,
        asks=asks,
        successes=None,
        n=measured.n,
        decision=decision,
        reason=reason,
        method=method,
        more_needed=more,
    )


def _more_for(n: int, reach: float, distance: float) -> int | None:
    """How many more lesions make an interval that reaches so far short enough: its width falls
    with the square root of their number."""
    if distance <= 0:
        return None
    more = n * (reach / distance) ** 2 - n
    return max(1, math.ceil(more)) if more <= MOST_LESIONS else None


def _wanted(more: int | None) -> str:
    if more is None:
        return f"At this rate not even {MOST_LESIONS:,} further lesions would reach it."
    lesions = "1 more lesion" if more == 1 else f"about {more} more lesions"
    return f"At this rate, {lesions} in the test part would reach it."


def _looked(
    name: str,
    method: str,
    decision: Decision | Literal["not applicable"],
    reason: str,
    n: int = 0,
    figure: float | None = None,
    threshold: float | None = None,
) -> Rule:
    """A rule without bounds."""
    return Rule(
        name=name,
        figure=figure,
        lower=None,
        upper=None,
        threshold=threshold,
        asks="at most",
        successes=None,
        n=n,
        decision=decision,
        reason=reason,
        method=method,
        more_needed=None,
    )


def _unreadable(asked: Any, error: Exception) -> Rule:
    name = asked.rule.replace("_", " ")
    reason = f"{name}: its figure is missing or cannot be read ({error}), which counts against it."
    return _looked(name, asked.method, "fail", reason)


# The rules, one function for each kind -----------------------------------------------------------


def _fits(policy: Policy, case: Case) -> Rule:
    name, method = "policy fits the data", "kind of data, by source of each image"
    if policy.data == "synthetic" and not case.synthetic:
        reason = f"policy fits the data: {policy.name} is for drawn lesions, and these are not all."
        return _looked(name, method, "fail", reason)
    if policy.data == "real" and case.drawn:
        reason = f"policy fits the data: {policy.name} is for real lesions, and some are drawn."
        return _looked(name, method, "fail", reason)
    reason = f"policy fits the data: {policy.name} is for {policy.data} lesions."
    return _looked(name, method, "not applicable", reason)


def _kept(case: Case) -> list[Rule]:
    """A lesion that a model was judged on leaves the test part only by name."""
    if not case.departed:
        return []
    name = "judged lesions stay"
    reason = (
        f"{name}: {plural(len(case.departed), 'image')} that models were judged on left the test "
        f"part: {listed([f'{each.image_id} ({each.label})' for each in case.departed], 50)}. Every "
        "rule is judged without them, and with each of them as a miss; the worse counts."
    )
    method = "comparison with the ledger of evaluations"
    return [_looked(name, method, "not applicable", reason, len(case.departed))]


def _no_leak(asked: of.NoLeak, case: Case) -> list[Rule]:
    name = "no leak"
    if not case.same_test_part:
        reason = "no leak: the figures were not made on the test part of this split."
        return [_looked(name, asked.method, "fail", reason)]
    if case.leaks:
        reason = (
            f"no leak: {case.leaks} groups of images that show the same thing stand on more than "
            "one side of the split, so that the model may have seen what it is judged on."
        )
        return [_looked(name, asked.method, "fail", reason, figure=case.leaks, threshold=0)]
    reason = "no leak: no group of images stands on more than one side of the split."
    return [_looked(name, asked.method, "pass", reason, figure=0, threshold=0)]


def _sensitivity(asked: of.Sensitivity, case: Case) -> list[Rule]:
    counted = case.evaluated.figures.sensitivity
    return [
        judge_proportion(
            "melanoma sensitivity", counted, asked.at_least, asked.method, case.confidence
        )
    ]


def _specificity(asked: of.Specificity, case: Case) -> list[Rule]:
    counted = case.evaluated.figures.specificity
    return [
        judge_proportion(
            "melanoma specificity", counted, asked.at_least, asked.method, case.confidence
        )
    ]


def _balanced_accuracy(asked: of.BalancedAccuracy, case: Case) -> list[Rule]:
    measured = case.evaluated.figures.balanced_accuracy
    return [
        judge_estimate(
            "balanced accuracy",
            measured,
            asked.at_least,
            asked.method,
            confidence=case.confidence,
        )
    ]


def _within_source_auc(asked: of.WithinSourceAuc, case: Case) -> list[Rule]:
    judged = [
        judge_estimate(
            f"melanoma against nevus within {each.source} (AUC)",
            each.auc,
            asked.at_least,
            asked.method,
            confidence=case.confidence,
        )
        for each in case.evaluated.figures.within_source
        if min(each.melanomas, each.nevi) >= asked.fewest
    ]
    if judged:
        return judged
    reason = (
        f"melanoma against nevus within one source (AUC): no archive has {asked.fewest} melanomas "
        "and as many nevi in the test part, so that nothing shows that the model tells lesions "
        "apart and not archives."
    )
    name = "melanoma against nevus within one source (AUC)"
    return [_looked(name, asked.method, "insufficient evidence", reason)]


def _calibration(asked: of.CalibrationError, case: Case) -> list[Rule]:
    measured = case.evaluated.figures.calibration.expected_error
    return [
        judge_estimate(
            "calibration error",
            measured,
            asked.at_most,
            asked.method,
            "at most",
            case.confidence,
        )
    ]


def _every_class_recalled(asked: of.EveryClassRecalled, case: Case) -> list[Rule]:
    name = "every class recalled"
    recalls = {known: each.recall for known, each in case.evaluated.figures.per_class.items()}
    absent = set(case.evaluated.classes) - set(recalls)
    if absent or not recalls:
        raise _Unreadable(f"no recall of {', '.join(sorted(absent)) or 'any class'}")
    unseen = {known: each.n for known, each in recalls.items() if not each.successes}
    if not unseen:
        reason = f"{name}: each of {len(recalls)} classes was found at least once."
        return [_looked(name, asked.method, "pass", reason, len(recalls))]
    listed = ", ".join(f"{known} (0 of {n})" for known, n in unseen.items())
    enough = any(n >= asked.fewest for n in unseen.values())
    decision: Decision = "fail" if enough else "insufficient evidence"
    reason = f"{name}: never found were {listed}."
    if not enough:
        reason += f" Fewer than {asked.fewest} lesions of a class do not tell."
    return [_looked(name, asked.method, decision, reason, len(recalls))]


def _subgroup_sensitivity(asked: of.SubgroupSensitivity, case: Case) -> list[Rule]:
    judged = [
        judge_proportion(
            f"melanoma sensitivity, {each.trait} {each.value}",
            each.sensitivity,
            asked.at_least,
            asked.method,
            case.confidence,
        )
        for each in case.evaluated.figures.subgroups
        if each.sensitivity.n >= asked.fewest
    ]
    if judged:
        return judged
    reason = f"subgroups: none holds {asked.fewest} melanomas, so that none is judged."
    return [_looked("melanoma sensitivity, subgroups", asked.method, "not applicable", reason)]


def _compared(champion: Champion | None, evaluated: Evaluated) -> Comparison | str:
    """The comparison, or why there is none to judge."""
    if champion is None:
        return NO_CHAMPION
    if champion.model_sha256 == evaluated.model.sha256:
        return THE_CHAMPION
    if champion.comparison is None:
        raise _Unreadable(
            f"champion version {champion.version} could not be compared with: {champion.problem}"
        )
    return champion.comparison


def _sensitivity_against_champion(asked: of.SensitivityAgainstChampion, case: Case) -> list[Rule]:
    name = "melanoma sensitivity against the champion"
    compared = _compared(case.evaluated.champion, case.evaluated)
    if isinstance(compared, str):
        return [_looked(name, asked.method, "not applicable", f"{name}: {compared}")]
    gained, lost = compared.challenger_only, compared.champion_only
    n = compared.both_found + gained + lost + compared.neither_found
    if n != case.evaluated.figures.sensitivity.n or min(gained, lost) < 0:
        raise _Unreadable(f"{n} melanomas were compared, of {case.evaluated.figures.sensitivity.n}")
    return [_paired(name, gained, lost, n, asked, case.confidence)]


def _paired(
    name: str,
    gained: int,
    lost: int,
    n: int,
    asked: of.SensitivityAgainstChampion,
    confidence: float,
) -> Rule:
    lower, upper = paired_bounds(gained, lost, n, confidence)
    difference = (gained - lost) / n if n else None
    said = (
        f"{name}: of {n} melanomas the challenger found {gained} that the champion missed, and "
        f"missed {lost} that the champion found; with {confident(confidence)} confidence its "
        f"sensitivity differs by at least {_signed(lower, math.floor)} and at most "
        f"{_signed(upper, math.ceil)}, and at least {_signed(-asked.margin)} is asked."
    )
    alpha, more = 1 - confidence, None
    if noninferiority_p(gained, lost, n, asked.margin) <= alpha:
        decision: Decision = "pass"
    elif n and noninferiority_p(lost, gained, n, -asked.margin) <= alpha:
        decision = "fail"
    else:
        decision = "insufficient evidence"
        if difference is not None:
            more = _more_for(n, difference - lower, difference + asked.margin)
        said += f" {_wanted(more)}"
    return Rule(
        name=name,
        figure=difference,
        lower=lower,
        upper=upper,
        threshold=-asked.margin,
        asks="at least",
        successes=None,
        n=n,
        decision=decision,
        reason=said,
        method=asked.method,
        more_needed=more,
    )


def _signed(difference: float, towards: Callable[[float], float] = round) -> str:
    """A difference of shares in percentage points; a bound is rounded away from the figure."""
    tenths = towards(round(1000 * difference, 6))
    return f"{tenths / 10:+.1f}\u00a0points"


def _auc_against_champion(asked: of.AucAgainstChampion, case: Case) -> list[Rule]:
    name = "melanoma AUC against the champion, difference"
    compared = _compared(case.evaluated.champion, case.evaluated)
    if isinstance(compared, str):
        return [_looked(name, asked.method, "not applicable", f"{name}: {compared}")]
    return [judge_estimate(name, compared.auc_difference, -asked.margin, asked.method,
                           confidence=case.confidence)]  # fmt: skip


def _classes_kept(asked: of.ClassesKept, case: Case) -> list[Rule]:
    name, champion = "classes kept", case.evaluated.champion
    if champion is None:
        return [_looked(name, asked.method, "not applicable", f"{name}: {NO_CHAMPION}")]
    if not champion.classes or MELANOMA not in case.evaluated.classes:
        raise _Unreadable("the classes of the champion or of the challenger are not known")
    lost = [known for known in champion.classes if known not in case.evaluated.classes]
    if lost:
        reason = f"{name}: the champion knows {', '.join(lost)}, and this model does not."
        return [_looked(name, asked.method, "fail", reason, len(champion.classes))]
    reason = f"{name}: all {len(champion.classes)} classes of the champion are among its own."
    return [_looked(name, asked.method, "pass", reason, len(champion.classes))]


def _test_part_reuse(asked: of.TestPartReuse, case: Case) -> list[Rule]:
    name, count = "reuse of the test part", case.earlier_evaluations
    if case.looks is None:
        reason = f"{name}: {count} other models were judged on at least half of these images"
        reason += f"; a warning is given above {asked.warn_above}."
    else:
        reason = f"{name}: {_spent(case.looks)}"
    rule = _looked(
        name, asked.method, "not applicable", reason, figure=count, threshold=asked.warn_above
    )
    return [rule]


def _spent(looks: Looks) -> str:
    """How much of the test part is used up, in words."""
    said = (
        f"{plural(looks.look - 1, 'other model') if looks.look > 1 else 'no other model'} had been "
        f"judged on it before, so that bounds hold with {confident(looks.confidence)} confidence."
    )
    return said if looks.left is None else f"{said} {_outlook(looks)}"


def _outlook(looks: Looks) -> str:
    """When the test part is used up, and what renews it, in words."""
    left = looks.left or 0
    if left >= MOST_LOOKS:
        return "It is practically never spent."
    return (
        f"After {plural(left, 'more run')} even a model that misses none of these melanomas cannot "
        f"pass; after {looks.left_at_this_rate or 0}, one that misses as many as this one cannot. "
        f"The test part is renewed by {plural(looks.lesions_that_renew, 'new melanoma lesion')}."
    )


_JUDGES: dict[str, Callable[[Any, Case], list[Rule]]] = {
    "no_leak": _no_leak,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "balanced_accuracy": _balanced_accuracy,
    "within_source_auc": _within_source_auc,
    "calibration": _calibration,
    "every_class_recalled": _every_class_recalled,
    "subgroup_sensitivity": _subgroup_sensitivity,
    "sensitivity_against_champion": _sensitivity_against_champion,
    "auc_against_champion": _auc_against_champion,
    "classes_kept": _classes_kept,
    "test_part_reuse": _test_part_reuse,
}
