"""Models that were judged: predictions with given counts, and the records made of them."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.decision import decide, judge
from tasks.evaluation.policy import Policy, parse_policy, policy_bytes
from tasks.evaluation.rules import Case, Elsewhere
from tasks.evaluation.scoring import figures
from tasks.lesions import MELANOMA, Diagnosis
from tasks.records.evaluated import Champion, Comparison, Evaluated
from tasks.records.figures import Estimate, Figures
from tasks.records.record import Artifact
from tasks.records.refusals import Answered, Refusals, RefusedKind
from tasks.records.shortcuts import CHANGES, Probe, Probes, Turned
from tasks.statistics.confidence import CONFIDENCE
from tasks.statistics.differences import difference_of_estimates, difference_of_proportions
from tasks.statistics.proportions import lower_bound, proportion

NOTHING = Artifact(key="k", sha256="0" * 64, size_bytes=0)
THRESHOLD = 0.5
MELANOMA_POLICY = parse_policy(policy_bytes("melanoma"), "melanoma")


def predictions(
    found: int,
    melanomas: int,
    spared: int,
    others: int,
    classes: tuple[Diagnosis, ...] = ("melanoma", "nevus"),
    source: str = "ISIC, not HAM10000",
) -> pd.DataFrame:
    """One image of one lesion each, with so many melanomas found and others left alone."""
    rest = [name for name in classes if name != MELANOMA]
    labels = [MELANOMA] * melanomas + [rest[n % len(rest)] for n in range(others)]
    called = [n < found for n in range(melanomas)] + [n >= spared for n in range(others)]
    spread = np.random.default_rng(5).uniform(0, 0.2, len(labels))
    score = np.where(called, 0.95 - spread, 0.05 + spread)
    rows: dict[str, Any] = {
        "image_id": [f"ISIC_{n:07d}" for n in range(len(labels))],
        "lesion": [f"L{n}" for n in range(len(labels))],
        "group": [f"L{n}" for n in range(len(labels))],
        "label": labels,
        "source": source,
        "age_years": [30.0 + n % 60 for n in range(len(labels))],
        "sex": ["female" if n % 2 else "male" for n in range(len(labels))],
        "site": "back",
        "skin_tone": "light",
        "sharpness": "middle third",
        MELANOMA: score,
    }
    for name in rest:  # what is not melanoma goes to the true class, or to the first other one
        own = [(label if label in rest else rest[0]) == name for label in labels]
        rows[name] = np.where(own, 1 - score, 0.0)
    return pd.DataFrame(rows)


@cache
def figures_of(
    found: int,
    melanomas: int,
    spared: int,
    others: int,
    classes: tuple[Diagnosis, ...] = ("melanoma", "nevus"),
) -> Figures:
    table = predictions(found, melanomas, spared, others, classes)
    return figures(table, classes, THRESHOLD, {MELANOMA: 0.05})


def evaluated_of(measured: Figures, **changes: Any) -> Evaluated:
    """The record of an evaluation with these figures and no champion."""
    return Evaluated(
        **{
            "recipe": "baseline",
            "model": NOTHING,
            "classes": measured.classes,
            "threshold": measured.threshold,
            "validation_sensitivity": proportion(9, 10),
            "validation_balanced_accuracy": {"baseline": 0.5},
            "test_part": "0" * 64,
            "figures": measured,
            "missed": (),
            "champion": None,
            "predictions": NOTHING,
            "shortcuts": steady(),
            "refusals": careful(),
        }
        | changes
    )


def steady() -> Probes:
    """Of a model whose answers hardly turn, whatever is drawn or masked."""
    area = Estimate(value=0.95, lower=0.9, upper=0.98, n=400, method="DeLong")

    def turned(n: int) -> Turned:
        return Turned(lesions=n, right_before=n - 4, lost=2, gained=1, lower=-0.03, upper=0.02)

    probes = tuple(
        Probe(change=change, melanomas=turned(100), others=turned(150), auc=area)
        for change in CHANGES
        if not change.endswith("taken off")
    )
    return Probes(images=250, melanomas=100, others=150, probes=probes)


def careful() -> Refusals:
    """Of a judge of images that refuses what is unsound, and few lesions of the test part."""

    def kind(name: str, n: int, *, skin: bool) -> RefusedKind:
        return RefusedKind(
            kind=name,
            origin="derived from test images" if skin else "drawn",
            skin=skin,
            refused=proportion(n, n),
            at_least=lower_bound(n, n),
            target=0.80 if skin else 0.95,
            grounds={},
        )

    own = Answered(
        name="",
        refused=proportion(12, 400),
        melanomas_refused=proportion(3, 100),
        sensitivity=proportion(94, 97),
        specificity=proportion(272, 291),
    )
    return Refusals(
        judge=NOTHING,
        learned_from=1000,
        fit_kinds=("clouds",),
        allowed=0.05,
        validation=proportion(9, 200),
        lesions=(own,),
        kinds=(kind("noise", 200, skin=False), kind("blurred", 100, skin=True)),
        not_measured=("clinical photographs",),
    )


def elsewhere_of(
    found: int, melanomas: int, spared: int, others: int, name: str = "clinic-b"
) -> Elsewhere:
    """An external set on which a model as `good` has these counts, and the champion the same."""
    own, there = figures_of(96, 100, 280, 300), figures_of(found, melanomas, spared, others)
    return Elsewhere(
        name=name,
        sensitivity=there.sensitivity,
        specificity=there.specificity,
        auc=there.auc,
        sensitivity_drop=difference_of_proportions(own.sensitivity, there.sensitivity),
        auc_drop=difference_of_estimates(own.auc, there.auc),
        confidence=CONFIDENCE,
        earlier=0,
        comparison=champion_of(0, 0, both=found, n=melanomas).comparison,
    )


def case_of(evaluated: Evaluated, **changes: Any) -> Case:
    """What the rules judge, with nothing wrong but the figures."""
    usual: dict[str, Any] = {
        "leaks": 0,
        "same_test_part": True,
        "earlier_evaluations": 0,
        "synthetic": False,
        "external": (elsewhere_of(97, 100, 280, 300),),
    }
    return Case(evaluated=evaluated, **(usual | changes))


RULES = [each.rule for each in MELANOMA_POLICY.rules]


def good(**changes: Any) -> Evaluated:
    """A model that meets every rule of the policy for patients."""
    return evaluated_of(figures_of(96, 100, 280, 300), **changes)


def refused_by(case: Case, policy: Policy = MELANOMA_POLICY) -> set[str]:
    return {rule.name for rule in judge(policy, case) if rule.decision == "fail"}


def verdict_of(case: Case, policy: Policy = MELANOMA_POLICY) -> str:
    return decide(judge(policy, case))


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


def without(*kinds: str) -> Policy:
    """The policy for patients, less some rules; no longer one that could be loaded."""
    kept = tuple(each for each in MELANOMA_POLICY.rules if each.rule not in kinds)
    return MELANOMA_POLICY.model_copy(update={"rules": kept})


NAN = float("nan")


def of_archives(*parts: pd.DataFrame) -> pd.DataFrame:
    """Predictions of several archives as one table, with names of their own."""
    named = [
        part.assign(**{name: f"{number} " + part[name] for name in ("image_id", "lesion", "group")})
        for number, part in enumerate(parts)
    ]
    return pd.concat(named, ignore_index=True)


def flattered() -> Figures:
    """Figures of a model on one archive of both kinds of lesions, and one of nevi alone."""
    clinic = predictions(28, 32, 40, 90, source="clinic")
    nevi = predictions(0, 0, 300, 300, source="nevi")
    return figures(of_archives(clinic, nevi), ("melanoma", "nevus"), THRESHOLD, {})
