"""gate: whether this model may become a challenger. It believes bounds, not points.

A rule passes if the exact one-sided 95 % lower bound of its figure reaches the minimum; it fails
if even the upper bound does not; between the two, the test part is too small to tell.
"""

import logging

from tasks.contracts import Decision, Evaluated, Proportion, Rule, Verdict
from tasks.figures import at_least, at_most, percent
from tasks.run import Run
from tasks.statistics import cases_needed, lower_bound, upper_bound

log = logging.getLogger(__name__)


def gate(run: Run, evaluated: Evaluated) -> Verdict:
    """Judge melanoma recall, and specificity, so that calling everything melanoma cannot pass."""
    rules = (
        judge("melanoma recall", evaluated.sensitivity, run.config.minimum_recall),
        judge("melanoma specificity", evaluated.specificity, run.config.minimum_specificity),
    )
    decisions = [rule.decision for rule in rules]
    decision: Decision = "pass"
    if "fail" in decisions:
        decision = "fail"
    elif "insufficient evidence" in decisions:
        decision = "insufficient evidence"
    reason = " ".join(rule.reason for rule in rules if decision in (rule.decision, "pass"))
    log.info("Verdict: %s. %s", decision, reason)
    return Verdict(decision=decision, rules=rules, reason=reason)


def judge(name: str, figure: Proportion, minimum: float) -> Rule:
    """One rule: `figure` against `minimum`, both 0 to 1."""
    lower = lower_bound(figure.successes, figure.n)
    upper = upper_bound(figure.successes, figure.n)
    low, high, asked = at_least(lower, 1), at_most(upper, 1), percent(minimum, 1)
    counted = f"{name}: {figure.successes} of {figure.n} lesions;"
    if lower >= minimum:
        decision: Decision = "pass"
        reason = f"{counted} with 95 % confidence at least {low}, and {asked} is asked."
    elif upper < minimum:
        decision = "fail"
        reason = f"{counted} with 95 % confidence at most {high}, and {asked} is asked."
    else:
        decision = "insufficient evidence"
        reason = (
            f"{counted} the true figure may be {low} or {high}, and {asked} is asked. "
            + _what_would_tell(figure, minimum)
        )
    return Rule(
        name=name,
        successes=figure.successes,
        n=figure.n,
        lower=lower,
        upper=upper,
        minimum=minimum,
        decision=decision,
        reason=reason,
    )


def _what_would_tell(figure: Proportion, minimum: float) -> str:
    cases = cases_needed(figure.successes, figure.n, minimum)
    if cases is None:
        return "At this rate no number of further lesions would reach it."
    more = cases - figure.n
    lesions = "1 more lesion" if more == 1 else f"{more} more lesions"
    return f"At this rate, {lesions} in the test part would reach it."
