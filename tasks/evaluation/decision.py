"""Decide by a policy whether a model passes.

A model fails if a figure is missing, is not a number or contradicts itself. The decision depends
only on records, so anybody can recompute a verdict.
"""

from tasks.evaluation.bounds import Unreadable, decided, rule_of
from tasks.evaluation.policy import Policy, PolicyRule
from tasks.evaluation.rules import NAMES_SETS, Case, TestPartReuse, outlook
from tasks.figures import listed, percent, plural
from tasks.records.evaluated import Champion, Evaluated
from tasks.records.verdict import Decision, Relabelled, Rule

SOON = 10  # runs: ten weeks of a weekly schedule, enough to have new lesions labelled

_WORSE = ("not applicable", "pass", "insufficient evidence", "fail")  # from best to worst


def judge(policy: Policy, *cases: Case) -> tuple[Rule, ...]:
    """One or more judged rules for each rule of the policy, in its order.

    Args:
        policy: The policy.
        cases: The cases to judge. If there are several, the worst decision counts for each rule.
    """
    judged: dict[str, Rule] = {}
    for case in cases:
        for rule in _judged(policy, case):
            worst = judged.setdefault(rule.name, rule)
            if _WORSE.index(rule.decision) > _WORSE.index(worst.decision):
                reason = f"{rule.reason} This is {case.told_as}." if case.told_as else rule.reason
                judged[rule.name] = rule.model_copy(update={"reason": reason})
    return tuple(judged.values())


def _judged(policy: Policy, case: Case) -> list[Rule]:
    judged = [_fits(policy, case), *_kept(case), *_labels_kept(case)]
    for asked in policy.rules:
        try:
            judged += asked.judge(case)
        except Unreadable as error:  # all else is a bug, and shows as one
            judged.append(_unreadable(asked, error))
    return judged


def _unreadable(asked: PolicyRule, error: Unreadable) -> Rule:
    name = asked.rule.replace("_", " ")
    reason = f"{name}: its figure is missing or cannot be read ({error}), which counts against it."
    return rule_of(name, asked.method, "fail", reason)


def _fits(policy: Policy, case: Case) -> Rule:
    name, method = "policy fits the data", "kind of data, by source of each image"
    if policy.data == "synthetic" and not case.synthetic:
        reason = f"policy fits the data: {policy.name} is for drawn lesions, and these are not all."
        return rule_of(name, method, "fail", reason)
    if policy.data == "real" and case.drawn:
        reason = f"policy fits the data: {policy.name} is for real lesions, and some are drawn."
        return rule_of(name, method, "fail", reason)
    reason = f"policy fits the data: {policy.name} is for {policy.data} lesions."
    return rule_of(name, method, "not applicable", reason)


def _kept(case: Case) -> list[Rule]:
    """The rule that names every judged image that left the test part."""
    if not case.departed:
        return []
    name = "judged lesions stay"
    reason = (
        f"{name}: {plural(len(case.departed), 'image')} that models were judged on left the test "
        f"part: {listed([f'{each.image_id} ({each.label})' for each in case.departed], 50)}. Every "
        "rule is judged without them, and with each of them as a miss; the worse counts."
    )
    method = "comparison with the ledger of evaluations"
    return [rule_of(name, method, "not applicable", reason, n=len(case.departed))]


def _labels_kept(case: Case) -> list[Rule]:
    """The rule that names every image of an external set that was judged as another one before."""
    if not case.relabelled:
        return []
    name = "labels of external sets stay"
    reason = (
        f"{name}: {plural(len(case.relabelled), 'image')} of external sets had another label, or "
        "another lesion, when models were judged on these images first: "
        f"{listed([_in_words(each) for each in case.relabelled], 50)}. Every rule is judged with "
        "the labels and lesions of now, and with those of then; the worse counts."
    )
    method = "comparison with the ledger of evaluations"
    return [rule_of(name, method, "not applicable", reason, n=len(case.relabelled))]


def _in_words(image: Relabelled) -> str:
    moved = ", among other images of its lesion" if image.moved else ""
    return f"{image.image_id} of {image.name} ({image.judged_as}, now {image.label}{moved})"


def decide(rules: tuple[Rule, ...]) -> Decision:
    """The decision of all rules: "fail" if one fails, else "insufficient evidence" if one has too
    little evidence or none passes, else "pass"."""
    decisions = {rule.decision for rule in rules}
    return decided(
        holds="pass" in decisions and "insufficient evidence" not in decisions,
        fails="fail" in decisions,
    )


def reason_of(rules: tuple[Rule, ...], evaluated: Evaluated) -> str:
    """The reason of the decision, in words."""
    return " ".join([told(rules), *beside(decide(rules), evaluated)])


def told(rules: tuple[Rule, ...]) -> str:
    """The reasons of the rules that decided; for a pass, that all rules hold."""
    decision = decide(rules)
    if decision == "pass":
        passed = [rule for rule in rules if rule.decision == "pass"]
        first = next((rule for rule in passed if rule.successes is not None), passed[0])
        return f"All {len(passed)} rules that apply hold; {first.reason}"
    return " ".join(rule.reason for rule in rules if rule.decision == decision)


def beside(decision: Decision, evaluated: Evaluated) -> list[str]:
    """Sentences about cross-validation, if there was one.

    They say that only the test part was judged; for insufficient evidence, they add what
    cross-validation found.
    """
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
    """Warnings to a person who relies on the verdict."""
    return (
        *_of_data(case),
        *_of_test_part(policy, case),
        *_of_champion(case.evaluated.champion),
        *_of_champion_elsewhere(case.evaluated),
    )


def _of_data(case: Case) -> list[str]:
    found = [
        f"{plural(len(each.departed), 'image')} of the external set {each.name}, which models were "
        "judged on, left it and count as misses: "
        f"{listed([gone.image_id for gone in each.departed])}. Find out why."
        for each in case.external
        if each.departed
    ]
    if case.relabelled:
        found.append(
            f"{plural(len(case.relabelled), 'image')} of external sets changed label or lesion "
            "after a model was judged on them: "
            f"{listed([_in_words(each) for each in case.relabelled])}. Find out who delivered the "
            "change, and whether a model had been wrong there."
        )
    if case.gone_sets:
        found.append(
            f"Models were judged on external sets that are gone: {listed(list(case.gone_sets))}. "
            "Find out who took them away, and whether a model had failed there."
        )
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
    return found


def _of_test_part(policy: Policy, case: Case) -> list[str]:
    found = []
    if case.looks and case.looks.left is not None and case.looks.left <= SOON:
        found.append(f"The test part is nearly spent. {outlook(case.looks)}")
    reuse = next((each for each in policy.rules if each.rule == "test_part_reuse"), None)
    if isinstance(reuse, TestPartReuse) and case.earlier_evaluations > reuse.warn_above:
        found.append(
            f"The test part is wearing out: {case.earlier_evaluations} other models were judged "
            f"on it, more than {reuse.warn_above}. Deliver new lesions before relying on it."
        )
    return found


def _of_champion(champion: Champion | None) -> list[str]:
    found = []
    if champion and champion.comparison and champion.learned_from:
        found.append(
            f"The champion learned from {champion.learned_from} images of this test part, so that "
            "the comparison favours it."
        )
    if champion and champion.comparison and champion.learned_from is None:
        found.append(
            "Which images the champion learned from is not known: the comparison may favour it."
        )
    return found


def _of_champion_elsewhere(evaluated: Evaluated) -> list[str]:
    found = []
    for each in evaluated.external if evaluated.written_in >= NAMES_SETS else ():
        if each.champion and each.champion_learned_from:
            found.append(
                f"The champion learned from {plural(each.champion_learned_from, 'image')} of the "
                f"external set {each.name}, so that the comparison there favours it."
            )
        if each.champion and each.champion_learned_from is None:
            found.append(
                f"Whether the champion learned from images of the external set {each.name} is not "
                "known: the comparison there may favour it."
            )
    return found
