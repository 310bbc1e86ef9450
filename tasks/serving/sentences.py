"""What the page tells of an answer and of a model, in sentences.

Every share comes with its numerator, its denominator and its interval.
"""

import math

from markupsafe import Markup

from tasks.evaluation.serious import CANCERS, PRECURSORS
from tasks.lesions import MELANOMA
from tasks.serving.answer import Answer, Counted, Judged, ModelFacts, PredictiveValue
from tasks.serving.languages import Texts
from tasks.text.lines import visible

MOST_DIGITS = 4  # of a probability that is compared with the threshold
LARGEST_BASE = 1_000_000  # of "of so many lesions"


def bold(text: object) -> Markup:
    return Markup("<b>{}</b>").format(text)


# The decision -------------------------------------------------------------------------------------


def headline(texts: Texts, answer: Answer) -> Markup:
    """The decision in a few words."""
    if answer.decision == "cannot judge":
        return texts.say(f"decision.cannot judge.{'one' if answer.images == 1 else 'other'}")
    return texts.say(f"decision.{answer.decision}")


def leads(texts: Texts, answer: Answer) -> list[Markup]:
    """What must be read with the decision, the most important first."""
    if answer.decision == "cannot judge":
        return [texts.say("lead.refused")]
    facts = answer.model
    told = [_probability(texts, answer)]
    if answer.decision == "melanoma" and facts.predictive_value:
        told.append(predictive(texts, facts.predictive_value))
    if answer.decision == "not melanoma":
        told.append(_not_ruled_out(texts, facts))
    return [_serious(texts, answer), *told] if is_serious(answer) else told


def _probability(texts: Texts, answer: Answer) -> Markup:
    share, threshold = compared(texts, answer.probabilities[MELANOMA], answer.model.threshold)
    told = texts.say("lead.probability", probability=bold(share), threshold=threshold)
    if answer.images > 1:
        told += Markup(" ") + texts.say("lead.mean", images=texts.counted("images", answer.images))
    return told


def compared(texts: Texts, probability: float, threshold: float) -> tuple[str, str]:
    """A probability and the threshold, with digits enough to see which is the larger.

    Args:
        probability: Of melanoma, 0 to 1.
        threshold: From which melanoma is called, 0 to 1.
    """
    for digits in range(MOST_DIGITS + 1):
        written = texts.percent(probability, digits), texts.percent(threshold, digits)
        if written[0] != written[1]:
            break
    return written


def is_serious(answer: Answer) -> bool:
    """Whether the most probable class needs treatment too, though melanoma is not suspected."""
    if answer.decision != "not melanoma":
        return False
    return _most_probable(answer) in (*CANCERS, *PRECURSORS)


def _most_probable(answer: Answer) -> str:
    return max(answer.probabilities, key=lambda each: answer.probabilities[each])


def _serious(texts: Texts, answer: Answer) -> Markup:
    name = _most_probable(answer)
    kind = "cancer" if name in CANCERS else "precursor"
    share = texts.percent(answer.probabilities[name])
    return texts.say(f"lead.{kind}", name=bold(texts.named(name)), probability=share)


def _not_ruled_out(texts: Texts, facts: ModelFacts) -> Markup:
    """How many melanomas the model missed, where melanomas were judged."""
    own = [each for each in facts.judged if not each.where and each.found.n]
    if not own:
        return texts.say("lead.missed_unknown")
    elsewhere = [each for each in facts.judged if each.where and each.found.n]
    told = [
        texts.say(
            f"lead.missed_{'elsewhere' if each.where else 'own'}",
            where=visible(each.where),
            some=bold(_some(texts, each.found.n - each.found.successes, each.found.n)),
            range=texts.range(1 - each.found.upper, 1 - each.found.lower),
        )
        for each in (*own, *elsewhere)
    ]
    return Markup(" ").join(told)


# How often the model is right ---------------------------------------------------------------------


def worth(texts: Texts, facts: ModelFacts, *, with_predictive: bool = True) -> list[Markup]:
    """How the model did on lesions that it had not learned from, and what that means here.

    Args:
        texts: In the language of the reader.
        facts: Of the model.
        with_predictive: Whether the positive predictive value is told, too.
    """
    told = [
        _judged(texts, each) + _given_up(texts, each)
        for each in facts.judged
        if each.found.n or each.cleared.n
    ]
    if not told:
        told.append(texts.say("worth.unknown"))
    elif not any(each.where for each in facts.judged):
        told.append(texts.say("worth.only_own"))
    if facts.predictive_value and with_predictive:
        told.append(predictive(texts, facts.predictive_value))
    return told


def _judged(texts: Texts, judged: Judged) -> Markup:
    lacking = (
        "" if judged.found.n and judged.cleared.n else "_found" if judged.found.n else "_cleared"
    )
    return texts.say(
        f"worth.{'elsewhere' if judged.where else 'own'}{lacking}",
        where=visible(judged.where),
        found=_counted(texts, judged.found),
        found_range=texts.range(judged.found.lower, judged.found.upper),
        cleared=_counted(texts, judged.cleared),
        cleared_range=texts.range(judged.cleared.lower, judged.cleared.upper),
    )


def _given_up(texts: Texts, judged: Judged) -> Markup:
    """Of how many of these lesions the model would have said nothing."""
    if judged.refused is None or judged.melanomas_refused is None:
        return Markup()
    return Markup(" ") + texts.say(
        "worth.refused",
        refused=_counted(texts, judged.refused),
        range=texts.range(judged.refused.lower, judged.refused.upper),
        melanomas=texts.count(judged.melanomas_refused.successes),
    )


def predictive(texts: Texts, told: PredictiveValue) -> Markup:
    """How many of the lesions that are called melanoma here are melanomas, of so many lesions that
    the number is at least one."""
    base = 100
    while told.value * base < 1 and base < LARGEST_BASE:
        base *= 10
    return texts.say(
        "worth.predictive",
        base=texts.count(base),
        value=bold(texts.count(round(told.value * base))),
        lower=texts.count(math.floor(told.lower * base + 1e-9)),
        upper=texts.count(math.ceil(told.upper * base - 1e-9)),
        prevalence=texts.percent(told.prevalence),
    )


def _counted(texts: Texts, counted: Counted) -> Markup:
    return bold(_some(texts, counted.successes, counted.n))


def _some(texts: Texts, successes: int, n: int) -> Markup:
    return texts.say("worth.some", successes=texts.count(successes), n=texts.count(n))
