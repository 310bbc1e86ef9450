"""The kinds of rule that a policy may hold: what each asks for, and how each judges a model.

A rule is an entry of a policy's YAML file. The method `judge` takes a `Case` and returns one or
more judged rules. The rules that compare with the champion are in
`tasks.evaluation.champion_rules`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from tasks.evaluation.bounds import (
    TEST_PART,
    Unreadable,
    decided,
    estimate_rule,
    proportion_rule,
    rule_of,
)
from tasks.figures import confident, plural
from tasks.records.evaluated import Comparison, Evaluated
from tasks.records.figures import Estimate, Proportion
from tasks.records.record import Frozen
from tasks.records.verdict import Departed, Looks, Relabelled, Rule, Superseded
from tasks.statistics.confidence import CONFIDENCE, MOST_LOOKS

NAMES_SETS = 5  # format of `Evaluated` from which reasons and warnings speak of external sets

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
ExactByLesion = Literal[
    "Clopper-Pearson, one-sided, by lesion", "Clopper-Pearson, one-sided 95 %, by lesion"
]


@dataclass(frozen=True)
class Elsewhere:
    """The figures of a model on one external set.

    Attributes:
        name: Name of the set.
        sensitivity, specificity: Lesions that it found, and that it did not call melanoma.
        auc: Area under the ROC curve, with an interval of `confidence`.
        sensitivity_drop, auc_drop: Drop from the own test part, -1 to 1, likewise.
        confidence: Confidence of every bound, 0 to 1, after the looks at this set.
        earlier: Models judged on at least half of the set before this one.
        departed: Images of the set that models were judged on and that it holds no more. Each
            counts as a miss, so nobody gains by taking away what a model missed.
        comparison: The champion on the same lesions, with an interval of `confidence`; None if it
            did not answer.
        relabelled: Images that models were judged on under another label, or as another lesion.
    """

    name: str
    sensitivity: Proportion
    specificity: Proportion
    auc: Estimate
    sensitivity_drop: Estimate
    auc_drop: Estimate
    confidence: float
    earlier: int
    departed: tuple[Departed, ...] = ()
    comparison: Comparison | None = None
    relabelled: tuple[Relabelled, ...] = ()


@dataclass(frozen=True)
class Case:
    """The figures of a model, and the facts about its test part, that rules judge.

    Attributes:
        evaluated: Figures of the model.
        leaks: Groups of images that stand on more than one side of the split.
        same_test_part: Whether the figures were measured on this split's test part.
        earlier_evaluations: Models judged on at least half of the test part before this one.
        synthetic: Whether all images are drawn.
        drawn: Whether any image is drawn; always False under a policy that spends nothing.
        confidence: Confidence of every bound, 0 to 1.
        looks: How often the test part can still be used; None if the policy spends nothing.
        departed: Images that models were judged on and that are no longer in the test part.
        superseded: Lesions that were judged under another label before.
        told_as: Description of the case; empty for the test part as it stands.
        external: Figures on each external set.
        gone_sets: External sets that models were judged on, and that are gone.
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
    external: tuple[Elsewhere, ...] = ()
    gone_sets: tuple[str, ...] = ()

    @property
    def relabelled(self) -> tuple[Relabelled, ...]:
        """The images of external sets that were judged as others before."""
        return tuple(image for each in self.external for image in each.relabelled)

    @property
    def set_in_words(self) -> str:
        """What a reason calls the lesions of an external set. Verdicts on older records say test
        part, and are recomputed word by word."""
        return "this set" if self.evaluated.written_in >= NAMES_SETS else TEST_PART


class Asked(Frozen):
    """A rule of a policy. `why` states the rule's purpose; each kind has one method of judging.

    `judge` raises `Unreadable` if a figure that it needs is missing or contradicts itself.
    """

    why: str


class NoLeak(Asked):
    rule: Literal["no_leak"]
    method: Literal["groups recomputed from the parts"]

    def judge(self, case: Case) -> list[Rule]:
        name = "no leak"
        if not case.same_test_part:
            reason = f"{name}: the figures were not made on the test part of this split."
            return [rule_of(name, self.method, "fail", reason)]
        reason = f"{name}: no group of images stands on more than one side of the split."
        if case.leaks:
            reason = (
                f"{name}: {case.leaks} groups of images that show the same thing stand on more "
                "than one side of the split, so that the model may have seen what it is judged on."
            )
        decision = decided(holds=not case.leaks, fails=bool(case.leaks))
        return [rule_of(name, self.method, decision, reason, figure=case.leaks, threshold=0)]


class Sensitivity(Asked):
    rule: Literal["sensitivity"]
    at_least: Share
    method: ExactByLesion

    def judge(self, case: Case) -> list[Rule]:
        counted = case.evaluated.figures.sensitivity
        name = "melanoma sensitivity"
        return [proportion_rule(name, counted, self.at_least, self.method, case.confidence)]


class Specificity(Asked):
    rule: Literal["specificity"]
    at_least: Share
    method: ExactByLesion

    def judge(self, case: Case) -> list[Rule]:
        counted = case.evaluated.figures.specificity
        name = "melanoma specificity"
        return [proportion_rule(name, counted, self.at_least, self.method, case.confidence)]


class BalancedAccuracy(Asked):
    rule: Literal["balanced_accuracy"]
    at_least: Share
    method: Literal[
        "Wilson and MOVER, two-sided, by lesion", "Wilson and MOVER, two-sided 95 %, by lesion"
    ]

    def judge(self, case: Case) -> list[Rule]:
        return [
            estimate_rule(
                "balanced accuracy",
                case.evaluated.figures.balanced_accuracy,
                self.at_least,
                self.method,
                confidence=case.confidence,
            )
        ]


class WithinSourceAuc(Asked):
    """`fewest`: an archive with fewer melanomas or fewer nevi is not judged."""

    rule: Literal["within_source_auc"]
    at_least: Share
    fewest: Count
    method: Literal["DeLong, two-sided, by lesion", "DeLong, two-sided 95 %, by lesion"]

    def judge(self, case: Case) -> list[Rule]:
        judged = [
            estimate_rule(
                f"melanoma against nevus within {each.source} (AUC)",
                each.auc,
                self.at_least,
                self.method,
                confidence=case.confidence,
            )
            for each in case.evaluated.figures.within_source
            if min(each.melanomas, each.nevi) >= self.fewest
        ]
        if judged:
            return judged
        name = "melanoma against nevus within one source (AUC)"
        reason = (
            f"{name}: no archive has {self.fewest} melanomas and as many nevi in the test part, so "
            "that nothing shows that the model tells lesions apart and not archives."
        )
        return [rule_of(name, self.method, "insufficient evidence", reason)]


class CalibrationError(Asked):
    rule: Literal["calibration"]
    at_most: Share
    method: Literal[
        "expected calibration error, bootstrap, two-sided, by lesion",
        "expected calibration error, bootstrap, two-sided 95 %, by lesion",
    ]

    def judge(self, case: Case) -> list[Rule]:
        return [
            estimate_rule(
                "calibration error",
                case.evaluated.figures.calibration.expected_error,
                self.at_most,
                self.method,
                "at most",
                case.confidence,
            )
        ]


class EveryClassRecalled(Asked):
    """`fewest`: the rule fails if a class with at least so many lesions was never found."""

    rule: Literal["every_class_recalled"]
    fewest: Count
    method: Literal["counts, by lesion"]

    def judge(self, case: Case) -> list[Rule]:
        name = "every class recalled"
        recalls = {known: each.recall for known, each in case.evaluated.figures.per_class.items()}
        absent = set(case.evaluated.classes) - set(recalls)
        if absent or not recalls:
            raise Unreadable(f"no recall of {', '.join(sorted(absent)) or 'any class'}")
        unseen = {known: each.n for known, each in recalls.items() if not each.successes}
        enough = any(n >= self.fewest for n in unseen.values())
        reason = f"{name}: each of {len(recalls)} classes was found at least once."
        if unseen:
            never = ", ".join(f"{known} (0 of {n})" for known, n in unseen.items())
            reason = f"{name}: never found were {never}."
        if unseen and not enough:
            reason += f" Fewer than {self.fewest} lesions of a class do not tell."
        decision = decided(holds=not unseen, fails=enough)
        return [rule_of(name, self.method, decision, reason, n=len(recalls))]


class SubgroupSensitivity(Asked):
    """`fewest`: a subgroup with fewer melanomas is not judged."""

    rule: Literal["subgroup_sensitivity"]
    at_least: Share
    fewest: Count
    method: ExactByLesion

    def judge(self, case: Case) -> list[Rule]:
        judged = [
            proportion_rule(
                f"melanoma sensitivity, {each.trait} {each.value}",
                each.sensitivity,
                self.at_least,
                self.method,
                case.confidence,
            )
            for each in case.evaluated.figures.subgroups
            if each.sensitivity.n >= self.fewest
        ]
        if judged:
            return judged
        reason = f"subgroups: none holds {self.fewest} melanomas, so that none is judged."
        name = "melanoma sensitivity, subgroups"
        return [rule_of(name, self.method, "not applicable", reason)]


class TestPartReuse(Asked):
    rule: Literal["test_part_reuse"]
    warn_above: Count
    method: Literal["count in the ledger of evaluations"]

    def judge(self, case: Case) -> list[Rule]:
        name, count = "reuse of the test part", case.earlier_evaluations
        reason = (
            f"{name}: {count} other models were judged on at least half of these images; a warning "
            f"is given above {self.warn_above}."
        )
        if case.looks:
            reason = f"{name}: {_spent(case.looks)}"
        return [
            rule_of(
                name,
                self.method,
                "not applicable",
                reason,
                figure=count,
                threshold=self.warn_above,
            )
        ]


def _spent(looks: Looks) -> str:
    """How many models were judged on the test part before, in words."""
    said = (
        f"{plural(looks.look - 1, 'other model') if looks.look > 1 else 'no other model'} had been "
        f"judged on it before, so that bounds hold with {confident(looks.confidence)} confidence."
    )
    return said if looks.left is None else f"{said} {outlook(looks)}"


def outlook(looks: Looks) -> str:
    """When the test part will be used up, and what renews the test part, in words."""
    left = looks.left or 0
    if left >= MOST_LOOKS:
        return "It is practically never spent."
    return (
        f"After {plural(left, 'more run')} even a model that misses none of these melanomas cannot "
        f"pass; after {looks.left_at_this_rate or 0}, one that misses as many as this one cannot. "
        f"The test part is renewed by {plural(looks.lesions_that_renew, 'new melanoma lesion')}."
    )
