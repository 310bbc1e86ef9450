"""The rule about shortcuts: answers must not turn when something beside the lesion changes."""

from typing import Literal

from tasks.evaluation.bounds import Unreadable, paired_rule, rule_of
from tasks.evaluation.rules import Asked, Case, Count, Share
from tasks.records.shortcuts import Change, Turned
from tasks.records.verdict import Rule


class ShortcutProbes(Asked):
    """`changes`: the changes after which answers must stand. `margin`: how much the share of right
    answers may fall, of melanomas and of other lesions, 0 to 1. `fewest`: with fewer lesions on
    which a thing was recognized, its taking off is not judged.
    """

    rule: Literal["shortcut_probes"]
    changes: tuple[Change, ...]
    margin: Share
    fewest: Count
    method: Literal["exact unconditional test of the score statistic, one-sided, paired by lesion"]

    def judge(self, case: Case) -> list[Rule]:
        found = case.evaluated.shortcuts
        if found is None:
            raise Unreadable("the model was not asked about changed images")
        probes = {each.change: each for each in found.probes}
        missing = [
            each for each in self.changes if each not in probes and not each.endswith("taken off")
        ]
        if missing:
            raise Unreadable(f"not asked: {', '.join(missing)}")
        judged = [
            self._judged(f"{who}, {change}", turned, case.confidence)
            for change in self.changes
            if change in probes
            for who, turned in (
                ("melanoma sensitivity", probes[change].melanomas),
                ("melanoma specificity", probes[change].others),
            )
            if turned.lesions >= self.fewest or not change.endswith("taken off")
        ]
        if judged:
            return judged
        reason = "shortcuts: nothing that the policy names was recognized on enough lesions."
        return [rule_of("shortcuts", self.method, "not applicable", reason)]

    def _judged(self, name: str, turned: Turned, confidence: float) -> Rule:
        gained, lost, n = turned.gained, turned.lost, turned.lesions
        if min(gained, lost) < 0 or lost > turned.right_before or gained + lost > n:
            raise Unreadable(f"{name}: {lost} lost and {gained} gained of {n}")
        told = (
            f"of {n} lesions {lost} lost their right answer and {gained} gained it",
            "the share of right answers",
        )
        return paired_rule(name, gained, lost, n, self.margin, self.method, confidence, told)
