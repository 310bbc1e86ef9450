"""The kinds of rule that compare a model with the champion."""

from typing import Literal

from tasks.evaluation.bounds import Unreadable, estimate_rule, paired_rule, rule_of
from tasks.evaluation.rules import Asked, Case, Share
from tasks.lesions import MELANOMA
from tasks.records.evaluated import Comparison, Evaluated
from tasks.records.verdict import Rule

NO_CHAMPION = "There is no champion yet, so the absolute rules decide."
THE_CHAMPION = "This very model is the champion."


class SensitivityAgainstChampion(Asked):
    rule: Literal["sensitivity_against_champion"]
    margin: Share
    method: Literal[
        "exact unconditional test of the score statistic, one-sided, paired by lesion",
        "exact unconditional test of the score statistic, one-sided 95 %, paired by lesion",
    ]

    def judge(self, case: Case) -> list[Rule]:
        name = "melanoma sensitivity against the champion"
        compared = _compared(case.evaluated)
        if isinstance(compared, str):
            return [rule_of(name, self.method, "not applicable", f"{name}: {compared}")]
        gained, lost = compared.challenger_only, compared.champion_only
        n = compared.both_found + gained + lost + compared.neither_found
        asked_about = case.evaluated.figures.sensitivity.n
        if n != asked_about or min(gained, lost) < 0:
            raise Unreadable(f"{n} melanomas were compared, of {asked_about}")
        told = (
            f"of {n} melanomas the challenger found {gained} that the champion missed, and missed "
            f"{lost} that the champion found",
            "its sensitivity",
        )
        margin, method = self.margin, self.method
        return [paired_rule(name, gained, lost, n, margin, method, case.confidence, told)]


class AucAgainstChampion(Asked):
    rule: Literal["auc_against_champion"]
    margin: Share
    method: Literal[
        "DeLong, paired, two-sided, by lesion", "DeLong, paired, two-sided 95 %, by lesion"
    ]

    def judge(self, case: Case) -> list[Rule]:
        name = "melanoma AUC against the champion, difference"
        compared = _compared(case.evaluated)
        if isinstance(compared, str):
            return [rule_of(name, self.method, "not applicable", f"{name}: {compared}")]
        return [
            estimate_rule(
                name,
                compared.auc_difference,
                -self.margin,
                self.method,
                confidence=case.confidence,
            )
        ]


class ClassesKept(Asked):
    rule: Literal["classes_kept"]
    method: Literal["comparison with the champion's classes"]

    def judge(self, case: Case) -> list[Rule]:
        name, champion = "classes kept", case.evaluated.champion
        if champion is None:
            return [rule_of(name, self.method, "not applicable", f"{name}: {NO_CHAMPION}")]
        if not champion.classes or MELANOMA not in case.evaluated.classes:
            raise Unreadable("the classes of the champion or of the challenger are not known")
        n = len(champion.classes)
        lost = [known for known in champion.classes if known not in case.evaluated.classes]
        if lost:
            reason = f"{name}: the champion knows {', '.join(lost)}, and this model does not."
            return [rule_of(name, self.method, "fail", reason, n=n)]
        reason = f"{name}: all {n} classes of the champion are among its own."
        return [rule_of(name, self.method, "pass", reason, n=n)]


def _compared(evaluated: Evaluated) -> Comparison | str:
    """The comparison with the champion, or why there is no comparison to judge."""
    champion = evaluated.champion
    if champion is None:
        return NO_CHAMPION
    if champion.model_sha256 == evaluated.model.sha256:
        return THE_CHAMPION
    if champion.comparison is None:
        raise Unreadable(
            f"champion version {champion.version} could not be compared with: {champion.problem}"
        )
    return champion.comparison
