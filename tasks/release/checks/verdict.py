"""Check the verdict against figures and policy, and the model card against the verdict."""

import json
import re
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import pandas as pd

from tasks.evaluation.cases import cases_of
from tasks.evaluation.decision import decide, judge, reason_of, told, warnings_of
from tasks.evaluation.policy import Policy, parse_policy, reference, released_hashes
from tasks.evaluation.rules import Case
from tasks.lesions import source_from
from tasks.records.evaluated import Evaluated
from tasks.records.record import sha256
from tasks.records.split import Split
from tasks.records.verdict import Rule, Verdict
from tasks.release.card import card_as_html, card_version, model_card
from tasks.release.checks.flaw import config_of, first_difference, flaw, record_of
from tasks.release.evidence import FIRST, STEPS, Bundle
from tasks.splitting.groups import straddling


def the_verdict_follows_from_the_figures(bundle: Bundle) -> str:
    evaluated, verdict = record_of(bundle, Evaluated), record_of(bundle, Verdict)
    parts = bundle.table("split", record_of(bundle, Split).parts)
    data = bundle.read("policy.yaml")
    policy = parse_policy(data, "policy.yaml")
    if reference(policy, data) != verdict.policy:
        raise flaw("another policy judged", str(verdict.policy), str(reference(policy, data)))
    cases = _cases(bundle, policy, evaluated, verdict, parts)
    case, rules = cases[0], judge(policy, *cases)
    for ours, theirs in zip(verdict.rules, rules, strict=False):
        difference = first_difference(_in_figures(bundle, ours), _in_figures(bundle, theirs))
        if difference:
            raise flaw(f"the rule {ours.name} is judged otherwise", *difference)
    if len(rules) != len(verdict.rules) or decide(rules) != verdict.decision:
        raise flaw(
            "the verdict does not follow from the rules",
            f"{decide(rules)}, by {len(rules)} rules",
            f"{verdict.decision}, by {len(verdict.rules)} rules",
        )
    counted = "earlier_evaluations", "looks", "departed", "superseded", "relabelled"
    said = (verdict.reason, verdict.warnings, *(getattr(verdict, name) for name in counted))
    again: tuple[Any, ...] = (reason_of(rules, evaluated), warnings_of(policy, case))
    if bundle.manifest.format == FIRST:  # the wording of its rules has changed since
        words = told(verdict.rules)
        said, again = (verdict.reason[: len(words)], *said[1:]), (words, *again[1:])
    difference = first_difference(said, (*again, *(getattr(case, name) for name in counted)))
    if difference:
        raise flaw("the verdict is told otherwise than it was reached", *difference)
    own = "" if sha256(data) in released_hashes() else ", which is none of this program"
    return (
        f"the verdict, {verdict.decision}, follows from the figures and the policy {policy.name}, "
        f"version {policy.version}, SHA-256 {sha256(data)}{own}"
    )


def _in_figures(bundle: Bundle, rule: Rule) -> Rule:
    """A rule, without its words if an earlier version of the program wrote them."""
    return rule.model_copy(update={"reason": ""}) if bundle.manifest.format == FIRST else rule


def _cases(
    bundle: Bundle, policy: Policy, evaluated: Evaluated, verdict: Verdict, parts: pd.DataFrame
) -> tuple[Case, ...]:
    config = config_of(evaluated)
    if bundle.manifest.format == FIRST:  # its looks cost nothing and are counted outside
        case = Case(
            evaluated=evaluated,
            leaks=len(straddling(parts)),
            same_test_part=True,  # checked with the figures
            earlier_evaluations=verdict.earlier_evaluations,
            synthetic=bool(parts["image_id"].map(source_from).eq("SYNTHETIC").all()),
        )
        return (case,)
    predictions = bundle.table("evaluate", evaluated.predictions)
    sets = {
        each.name: bundle.table("evaluate", each.predictions)
        for each in evaluated.external
        if each.predictions
    }
    cases = cases_of(policy, config, evaluated, predictions, parts, bundle.ledger(), sets)
    return tuple(_with_subgroups_of_then(bundle, case, evaluated) for case in cases)


def _with_subgroups_of_then(bundle: Bundle, case: Case, told: Evaluated) -> Case:
    """A case with the subgroups of the record where images were erased; the figures' check has
    found that no more of them differs than that."""
    if not bundle.erased:
        return case
    figures = case.evaluated.figures.model_copy(update={"subgroups": told.figures.subgroups})
    return replace(case, evaluated=case.evaluated.model_copy(update={"figures": figures}))


def the_card_tells_the_verdict(bundle: Bundle) -> str:
    """Check the card word by word if this version of the program made it; else its decisions."""
    verdict = record_of(bundle, Verdict)
    made_here = json.loads(bundle.read("environment.json")).get("card") == card_version()
    card, page = (bundle.read(f"model_card.{kind}").decode() for kind in ("md", "html"))
    if made_here:
        records = {step.name: bundle.record(step.name) for step in STEPS}
        policy = parse_policy(bundle.read("policy.yaml"), "policy.yaml")
        again = model_card(bundle.manifest.run, records, policy)
        for name, ours, theirs in (
            ("model_card.md", again, card),
            ("model_card.html", card_as_html(again, bundle.manifest.run), page),
        ):
            if ours != theirs:
                raise flaw(f"{name} is another model's", *_first_other_line(ours, theirs))
        return "the model card is the one that these records make"
    decisions = [rule.decision for rule in verdict.rules]
    for name, text in (("model_card.md", card), ("model_card.html", page)):
        told = re.findall(r"Verdict of the gate: ([a-z ]+)\.", text)
        if told != [verdict.decision]:
            raise flaw(f"{name} tells another verdict", verdict.decision, ", ".join(told)[:100])
        found = re.findall(RULE_OF_A_CARD, text)
        if found != decisions:
            raise flaw(f"{name} tells other rules", ", ".join(decisions), ", ".join(found)[:300])
    return "the model card tells the verdict and what each rule said"


RULE_OF_A_CARD = r"(?:- \*\*|<li>\s*<strong>)([a-z ]+)(?:\*\*|</strong>) ·"


def _first_other_line(ours: str, theirs: str) -> tuple[str, str]:
    pairs = zip_longest(ours.splitlines(), theirs.splitlines(), fillvalue="(no line)")
    return next(((one[:200], other[:200]) for one, other in pairs if one != other), ("", ""))
