"""How an own policy differs from the released policy that is nearest to it, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.evaluation.policy import Policy, parse_policy, policy_bytes, released
from tasks.figures import listed

# The fields of a rule that a model is measured by, and whether a higher value asks for less.
ASKS_LESS_IF_HIGHER = {
    "at_least": False,
    "sensitivity_at_least": False,
    "specificity_at_least": False,
    "answered_at_least": False,
    "not_skin_at_least": False,
    "others_at_least": False,
    "at_most": True,
    "margin": True,
    "sensitivity_margin": True,
    "auc_margin": True,
}
BESIDE_RULES = ("data", "intended_use", "may_change", "must_not_change", "spending", "impact")


def nearest_released(policy: Policy) -> tuple[Policy, tuple[str, ...]]:
    """The released policy that differs least, and each difference in words.

    Policies for the same kind of lesions come first; of several that differ as little, the later
    version.
    """
    found = [
        (other, changes(other, policy))
        for name, versions in sorted(released().items())
        for version in sorted(versions, reverse=True)
        for other in [parse_policy(policy_bytes(name, version), name)]
    ]
    return min(found, key=lambda each: (each[0].data != policy.data, len(each[1])))


def changes(before: Policy, after: Policy) -> tuple[str, ...]:
    """Each difference of a policy from another, in words; none if they judge alike.

    >>> from tasks.evaluation.policy import parse_policy, policy_bytes
    >>> ours = parse_policy(policy_bytes("melanoma"), "melanoma")
    >>> approval = ours.approval.model_copy(update={"approvals": 2})
    >>> changes(ours, ours.model_copy(update={"approval": approval, "rules": ours.rules[:-1]}))
    ('the rule test_part_reuse is dropped', 'approval: approvals is 2 instead of 1')
    """
    then: dict[str, dict[str, Any]] = {each.rule: each.model_dump() for each in before.rules}
    now: dict[str, dict[str, Any]] = {each.rule: each.model_dump() for each in after.rules}
    found = [f"the rule {name} is dropped" for name in then if name not in now]
    found += [
        f"the rule {name} is added, {_asked(rule)}"
        for name, rule in now.items()
        if name not in then
    ]
    for name in then:
        if name in now:
            found += _changed(f"the rule {name}", then[name], now[name])
    was, becomes = before.model_dump(), after.model_dump()
    found += _changed("approval", was["approval"], becomes["approval"])
    for name in BESIDE_RULES:
        if was[name] != becomes[name]:
            found.append(_told(name, was[name], becomes[name]))
    return tuple(found)


def _changed(of: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in then:
        if then[name] == now[name] or name == "why":
            continue
        weight = ""
        if name in ASKS_LESS_IF_HIGHER:
            weaker = (now[name] > then[name]) == ASKS_LESS_IF_HIGHER[name]
            weight = ", which asks for less" if weaker else ", which asks for more"
        yield f"{of}: {name} is {now[name]} instead of {then[name]}{weight}"


def _asked(rule: Mapping[str, Any]) -> str:
    """What a rule asks for, such as ``at_least 0.8``."""
    asked = [f"{name} {value}" for name, value in rule.items() if isinstance(value, int | float)]
    return listed(asked) if asked else "without a number"


def _told(name: str, then: Any, now: Any) -> str:
    if name == "spending":
        return f"a look at the test part {_cost(now)}; before, it {_cost(then)}"
    if name == "data":
        return f"it is for {now} lesions instead of {then} ones"
    return f"{name.replace('_', ' ')} reads otherwise"


def _cost(spending: Mapping[str, Any] | None) -> str:
    return f"costs {spending['by']}, of {spending['error']}" if spending else "costs nothing"
