"""Compare figures with the thresholds of a policy, by confidence bounds.

A figure passes if its worse bound reaches the threshold. It fails if not even its better bound
reaches the threshold. Otherwise the test part is too small to tell.
"""

import math
from collections.abc import Callable
from typing import Literal

from tasks.figures import at_least, at_most, confident, down, percent, up
from tasks.records.figures import Estimate, Proportion
from tasks.records.verdict import Decision, Rule
from tasks.statistics.confidence import CONFIDENCE
from tasks.statistics.pairs import noninferiority_p, paired_bounds
from tasks.statistics.proportions import cases_needed, lower_bound, upper_bound

# No test part will ever hold more lesions, so naming a larger number would give false hope.
MOST_LESIONS = 10_000
TEST_PART = "the test part"  # what a verdict's reason calls the lesions that it judged

Asks = Literal["at least", "at most"]


class Unreadable(ValueError):
    """A figure that is missing, not a number, or contradicts itself."""


def decided(*, holds: bool, fails: bool) -> Decision:
    """Decide between pass, fail and insufficient evidence. No other function does."""
    return "fail" if fails else "pass" if holds else "insufficient evidence"


def rule_of(
    name: str,
    method: str,
    decision: Decision | Literal["not applicable"],
    reason: str,
    *,
    figure: float | None = None,
    lower: float | None = None,
    upper: float | None = None,
    threshold: float | None = None,
    asks: Asks = "at most",
    successes: int | None = None,
    n: int = 0,
    more_needed: int | None = None,
) -> Rule:
    """A judged rule. The arguments are the fields of `Rule`; leave out those that do not apply."""
    return Rule(
        name=name,
        figure=figure,
        lower=lower,
        upper=upper,
        threshold=threshold,
        asks=asks,
        successes=successes,
        n=n,
        decision=decision,
        reason=reason,
        method=method,
        more_needed=more_needed,
    )


def proportion_rule(
    name: str,
    counted: Proportion,
    minimum: float,
    method: str,
    confidence: float = CONFIDENCE,
    where: str = TEST_PART,
) -> Rule:
    """Judge a proportion against a minimum, both 0 to 1, by exact bounds, on the lesions that
    `where` names.

    Raises:
        Unreadable: There are more successes than lesions.
    """
    successes, n = counted.successes, counted.n
    if not 0 <= successes <= n:
        raise Unreadable(f"{successes} of {n}")
    lower, upper = lower_bound(successes, n, confidence), upper_bound(successes, n, confidence)
    decision = decided(holds=lower >= minimum, fails=upper < minimum)
    more = None
    if decision == "insufficient evidence":
        cases = cases_needed(successes, n, minimum, MOST_LESIONS, confidence)
        more = None if cases is None else cases - n
    low, high, sure = at_least(lower, 1), at_most(upper, 1), confident(confidence)
    found = {
        "pass": f"with {sure} confidence at least {low}",
        "fail": f"with {sure} confidence at most {high}",
        "insufficient evidence": f"the true figure may be {low} or {high}",
    }[decision]
    reason = f"{name}: {successes} of {n} lesions; {found}, and {percent(minimum, 1)} is asked."
    return rule_of(
        name,
        method,
        decision,
        _with_what_is_wanted(reason, decision, more, where),
        figure=successes / n if n else None,
        lower=lower,
        upper=upper,
        threshold=minimum,
        asks="at least",
        successes=successes,
        n=n,
        more_needed=more,
    )


def estimate_rule(
    name: str,
    measured: Estimate,
    threshold: float,
    method: str,
    asks: Asks = "at least",
    confidence: float = CONFIDENCE,
    where: str = TEST_PART,
) -> Rule:
    """Judge a figure against a threshold, by the bounds of the figure's interval, on the lesions
    that `where` names.

    Raises:
        Unreadable: The figure is not a number, or lies outside its own interval.
    """
    value, lower, upper = measured.value, measured.lower, measured.upper
    if any(each is not None and not math.isfinite(each) for each in (value, lower, upper)):
        raise Unreadable(f"{name} is {value} ({lower} to {upper})")
    decision: Decision = "insufficient evidence"
    reason, more = f"{name}: {where} holds too few lesions to measure it.", None
    if value is not None and lower is not None and upper is not None:
        if not lower <= value <= upper:
            raise Unreadable(f"{name} is {value}, outside of {lower} to {upper}")
        # To ask "at most" of a figure is to ask "at least" of its negative.
        sign, bad, good = (1, lower, upper) if asks == "at least" else (-1, upper, lower)
        asked = sign * threshold
        decision = decided(holds=sign * bad >= asked, fails=sign * good < asked)
        if decision == "insufficient evidence":
            more = _more_for(measured.n, abs(value - bad), sign * value - asked)
        sure = confident(confidence)
        said = f"{name}: {value:.3f}, {sure} interval {down(lower)} to {up(upper)};"
        reason = f"{said} {asks} {threshold:g} is asked."
        reason = _with_what_is_wanted(reason, decision, more, where)
    return rule_of(
        name,
        method,
        decision,
        reason,
        figure=value,
        lower=lower,
        upper=upper,
        threshold=threshold,
        asks=asks,
        n=measured.n,
        more_needed=more,
    )


def paired_rule(
    name: str,
    gained: int,
    lost: int,
    n: int,
    margin: float,
    method: str,
    confidence: float,
    told: tuple[str, str],
    where: str = TEST_PART,
) -> Rule:
    """Judge the difference of two shares of right answers about the same lesions, by an exact test
    of non-inferiority.

    Args:
        name: Name of the rule.
        gained: Lesions about which only the new answer is right.
        lost: Lesions about which only the old answer is right.
        n: Lesions that both answers are about.
        margin: Non-inferiority margin: how much worse the new answers may be, 0 to 1.
        method: Method of the rule.
        confidence: Confidence of the bounds, 0 to 1.
        told: What was counted, and what differs, in words.
        where: The lesions, in words.
    """
    lower, upper = paired_bounds(gained, lost, n, confidence)
    difference = (gained - lost) / n if n else None
    alpha, more = 1 - confidence, None
    holds = noninferiority_p(gained, lost, n, margin) <= alpha
    fails = bool(n) and not holds and noninferiority_p(lost, gained, n, -margin) <= alpha
    decision = decided(holds=holds, fails=fails)
    if decision == "insufficient evidence" and difference is not None:
        more = _more_for(n, difference - lower, difference + margin)
    reason = (
        f"{name}: {told[0]}; with {confident(confidence)} confidence {told[1]} differs by at least "
        f"{_signed(lower, math.floor)} and at most {_signed(upper, math.ceil)}, and at least "
        f"{_signed(-margin)} is asked."
    )
    return rule_of(
        name,
        method,
        decision,
        _with_what_is_wanted(reason, decision, more, where),
        figure=difference,
        lower=lower,
        upper=upper,
        threshold=-margin,
        asks="at least",
        n=n,
        more_needed=more,
    )


def _signed(difference: float, towards: Callable[[float], float] = round) -> str:
    """A difference of shares in percentage points; a bound is rounded away from the figure."""
    tenths = towards(round(1000 * difference, 6))
    return f"{tenths / 10:+.1f}\u00a0points"


def _more_for(n: int, reach: float, distance: float) -> int | None:
    """How many more lesions shorten an interval from `reach` to `distance`; None if no number does.

    The width of an interval falls with the square root of the number of lesions.
    """
    if distance <= 0:
        return None
    more = n * (reach / distance) ** 2 - n
    return max(1, math.ceil(more)) if more <= MOST_LESIONS else None


def _with_what_is_wanted(reason: str, decision: Decision, more: int | None, where: str) -> str:
    """The reason and, for insufficient evidence, how many more lesions would settle the rule."""
    if decision != "insufficient evidence":
        return reason
    if more is None:
        return f"{reason} At this rate not even {MOST_LESIONS:,} further lesions would reach it."
    lesions = "1 more lesion" if more == 1 else f"about {more} more lesions"
    return f"{reason} At this rate, {lesions} in {where} would reach it."
