"""The kinds of rule about external sets: a verdict on the own archive does not carry over.

Each set is judged by itself, with the confidence that the looks at this set leave. A set without
enough melanomas proves nothing, so its rules say "insufficient evidence".
"""

from typing import Annotated, Literal

from pydantic import Field

from tasks.evaluation.bounds import (
    Unreadable,
    decided,
    estimate_rule,
    paired_rule,
    proportion_rule,
    rule_of,
)
from tasks.evaluation.champion_rules import NO_CHAMPION, THE_CHAMPION
from tasks.evaluation.rules import Asked, Case, Count, Elsewhere, ExactByLesion, Share
from tasks.figures import listed, plural
from tasks.records.verdict import Rule

OWN_ARCHIVE_ONLY = "judged on its own archive only: no external set shows whether it carries over"


class ExternalSets(Asked):
    """`fewest`: a set with fewer melanomas, or fewer other lesions, does not count."""

    rule: Literal["external_sets"]
    at_least: Annotated[int, Field(ge=0)]
    fewest: Count
    method: Literal["count of external sets"]

    def judge(self, case: Case) -> list[Rule]:
        name = "external sets"
        counted = [
            each.name
            for each in case.external
            if min(each.sensitivity.n, each.specificity.n) >= self.fewest
        ]
        reason = f"{name}: {plural(len(counted), 'set')} with at least {self.fewest} melanomas and "
        reason += f"as many other lesions ({listed(counted) if counted else 'none'}); at least "
        reason += f"{self.at_least} asked."
        if not case.external:
            reason = f"{name}: {OWN_ARCHIVE_ONLY}."
        enough = len(counted) >= self.at_least
        if not self.at_least:
            return [rule_of(name, self.method, "not applicable", reason, n=len(counted))]
        decision = decided(holds=enough, fails=False)
        return [
            rule_of(
                name, self.method, decision, reason, figure=len(counted), asks="at least",
                threshold=self.at_least, n=len(case.external),
            )
        ]  # fmt: skip


class ExternalSensitivity(Asked):
    rule: Literal["external_sensitivity"]
    at_least: Share
    method: ExactByLesion

    def judge(self, case: Case) -> list[Rule]:
        return [
            proportion_rule(
                f"melanoma sensitivity on {each.name}",
                each.sensitivity,
                self.at_least,
                self.method,
                each.confidence,
                case.set_in_words,
            )
            for each in case.external
        ] or [_none("melanoma sensitivity elsewhere", self.method)]


class ExternalAuc(Asked):
    rule: Literal["external_auc"]
    at_least: Share
    method: Literal["DeLong, two-sided, by lesion"]

    def judge(self, case: Case) -> list[Rule]:
        return [
            estimate_rule(
                f"melanoma AUC on {each.name}",
                each.auc,
                self.at_least,
                self.method,
                confidence=each.confidence,
                where=case.set_in_words,
            )
            for each in case.external
        ] or [_none("melanoma AUC elsewhere", self.method)]


class ExternalDrop(Asked):
    """`sensitivity_margin`, `auc_margin`: how much lower each may be than on the own test part."""

    rule: Literal["external_drop"]
    sensitivity_margin: Share
    auc_margin: Share
    method: Literal["Newcombe and DeLong, two-sided, independent samples, by lesion"]

    def judge(self, case: Case) -> list[Rule]:
        judged = []
        for each in case.external:
            for what, drop, margin in (
                ("sensitivity", each.sensitivity_drop, self.sensitivity_margin),
                ("AUC", each.auc_drop, self.auc_margin),
            ):
                name = f"drop of the melanoma {what} on {each.name}"
                where, sure = case.set_in_words, each.confidence
                judged.append(
                    estimate_rule(name, drop, margin, self.method, "at most", sure, where)
                )
        return judged or [_none("drop elsewhere", self.method)]


class ExternalComparison(Asked):
    """`sensitivity_margin`, `auc_margin`: how much worse than the champion's each may be."""

    rule: Literal["external_comparison"]
    sensitivity_margin: Share
    auc_margin: Share
    method: Literal["exact unconditional test of the score statistic and DeLong, paired, by lesion"]

    def judge(self, case: Case) -> list[Rule]:
        name = "comparison with the champion elsewhere"
        champion = case.evaluated.champion
        if champion is None or champion.model_sha256 == case.evaluated.model.sha256:
            said = THE_CHAMPION if champion else NO_CHAMPION
            return [rule_of(name, self.method, "not applicable", f"{name}: {said}")]
        sets = [each for each in case.external if each.sensitivity.n or each.specificity.n]
        if not sets:
            return [_none(name, self.method)]
        return [rule for each in sets for rule in self._judged(each, case.set_in_words)]

    def _judged(self, each: Elsewhere, where: str) -> list[Rule]:
        compared, against = each.comparison, f"on {each.name} against the champion"
        if compared is None:
            raise Unreadable(f"the champion gave no answers on {each.name}")
        gained, lost = compared.challenger_only, compared.champion_only
        n = compared.both_found + gained + lost + compared.neither_found
        if n != each.sensitivity.n or min(gained, lost) < 0:
            raise Unreadable(f"{n} melanomas were compared, of {each.sensitivity.n}")
        told = (
            f"of {n} melanomas the challenger found {gained} that the champion missed, and missed "
            f"{lost} that the champion found",
            "its sensitivity",
        )
        return [
            paired_rule(
                f"melanoma sensitivity {against}", gained, lost, n, self.sensitivity_margin,
                self.method, each.confidence, told, where,
            ),
            estimate_rule(
                f"melanoma AUC {against}, difference", compared.auc_difference, -self.auc_margin,
                self.method, confidence=each.confidence, where=where,
            ),
        ]  # fmt: skip


def _none(name: str, method: str) -> Rule:
    return rule_of(name, method, "not applicable", f"{name}: there is no external set.")
