"""The kind of rule about archives that hold both kinds of lesions.

An archive without one melanoma adds to specificity what the archive alone gives away; one of
melanomas alone adds to sensitivity likewise.
"""

from typing import Literal

from tasks.evaluation.bounds import proportion_rule, rule_of
from tasks.evaluation.rules import Asked, Case, ExactByLesion, Share
from tasks.records.verdict import Rule

AMONG = "archives of both kinds of lesions"


class MixedArchives(Asked):
    """`sensitivity_at_least`, `specificity_at_least`: what each must reach among these archives."""

    rule: Literal["mixed_archives"]
    sensitivity_at_least: Share
    specificity_at_least: Share
    method: ExactByLesion

    def judge(self, case: Case) -> list[Rule]:
        mixed = case.evaluated.figures.mixed
        if mixed is None or not mixed.archives:
            reason = (
                f"{AMONG}: there is none in the test part, so that nothing shows that the figures "
                "come from lesions and not from archives."
            )
            return [rule_of(AMONG, self.method, "insufficient evidence", reason)]
        return [
            proportion_rule(
                f"melanoma {what}, {AMONG}", counted, minimum, self.method, case.confidence
            )
            for what, counted, minimum in (
                ("sensitivity", mixed.sensitivity, self.sensitivity_at_least),
                ("specificity", mixed.specificity, self.specificity_at_least),
            )
        ]
