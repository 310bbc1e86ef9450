"""The rule about refusals: what is no sound image is refused, and sound images seldom are."""

from typing import Literal

from tasks.evaluation.bounds import Unreadable, decided, proportion_rule, rule_of
from tasks.evaluation.rules import Asked, Case, Share
from tasks.figures import at_least, at_most, confident, percent
from tasks.records.figures import Proportion
from tasks.records.refusals import RefusedKind
from tasks.records.verdict import Rule
from tasks.statistics.proportions import lower_bound, proportion, upper_bound

Method = Literal["Clopper-Pearson, one-sided, by lesion and by image"]


class Refusals(Asked):
    """`answered_at_least`: share of the lesions of the test part that must be answered about.
    `not_skin_at_least`, `others_at_least`: share that must be refused of the kind that is refused
    least, among kinds of images without skin, and among the other kinds. All 0 to 1.
    """

    rule: Literal["refusals"]
    answered_at_least: Share
    not_skin_at_least: Share
    others_at_least: Share
    method: Method

    def judge(self, case: Case) -> list[Rule]:
        told = case.evaluated.refusals
        if told is None:
            reason = "refusals: no judge of images was made, so that every image is answered about."
            return [rule_of("refusals", self.method, "insufficient evidence", reason)]
        own = next((each for each in told.lesions if not each.name), None)
        if own is None:
            raise Unreadable("the lesions of the test part are not among those counted")
        kept = proportion(own.refused.n - own.refused.successes, own.refused.n)
        answered = proportion_rule(
            "lesions answered about", kept, self.answered_at_least, self.method, case.confidence
        )
        worst = [
            self._least_refused(what, kinds, minimum, case.confidence)
            for what, kinds, minimum in (
                (
                    "images without skin",
                    [e for e in told.kinds if not e.skin],
                    self.not_skin_at_least,
                ),
                (
                    "images of skin that are unsound",
                    [e for e in told.kinds if e.skin],
                    self.others_at_least,
                ),
            )
        ]
        return [answered, *worst]

    def _least_refused(
        self, what: str, kinds: list[RefusedKind], minimum: float, confidence: float
    ) -> Rule:
        name = f"refused of {what}"
        if not kinds:
            reason = f"{name}: there were no such images."
            return rule_of(name, self.method, "insufficient evidence", reason)
        for each in kinds:
            if not 0 <= each.refused.successes <= each.refused.n:
                raise Unreadable(f"{each.kind}: {each.refused.successes} of {each.refused.n}")
        least = min(kinds, key=lambda each: lower_bound(each.refused.successes, each.refused.n))
        return _of_images(name, least.kind, least.refused, minimum, self.method, confidence)


def _of_images(
    name: str, kind: str, counted: Proportion, minimum: float, method: str, confidence: float
) -> Rule:
    hits, n = counted.successes, counted.n
    lower, upper = lower_bound(hits, n, confidence), upper_bound(hits, n, confidence)
    reason = (
        f"{name}: least of {kind}, {hits} of {n} images; with {confident(confidence)} confidence "
        f"at least {at_least(lower, 1)} and at most {at_most(upper, 1)}, and {percent(minimum, 1)} "
        "is asked."
    )
    return rule_of(
        name,
        method,
        decided(holds=lower >= minimum, fails=upper < minimum),
        reason,
        figure=hits / n if n else None,
        lower=lower,
        upper=upper,
        threshold=minimum,
        asks="at least",
        successes=hits,
        n=n,
    )
