"""Explain the figures of a run in words, by rules. Each finding needs figures that support it.

They include the three findings of the public notebooks on the nine-class set (the model overfits,
the classes are uneven, recall counts more than accuracy) and further ones.
"""

from typing import Literal, NamedTuple

from tasks.curve import in_words
from tasks.figures import at_least, down, percent, up
from tasks.lesions import MELANOMA
from tasks.recipes import recipe_now
from tasks.records.balance import Balance
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Figures
from tasks.records.trained import FitKind, Trained, TrainedRecipe

# A class with more than twice the images of another is uneven enough to steer a network.
UNEVEN = 2.0
# Probabilities mislead if the lower bound of the expected calibration error is above this: of ten
# lesions with a melanoma probability of 30 %, two or four are melanomas instead of three.
MISCALIBRATED = 0.10
# An AUC of 0.5 is what chance gives.
CHANCE = 0.5


class Said(NamedTuple):
    """A finding; its `tone` is "warning" or "good"."""

    tone: Literal["warning", "good"]
    title: str
    text: str


def findings(
    balance: Balance | None, trained: Trained | None, evaluated: Evaluated | None
) -> list[Said]:
    """The findings of a run, from the records that exist."""
    found = [_fit(trained, evaluated), _imbalance(balance)]
    if evaluated:
        figures = evaluated.figures
        found += [_accuracy(figures), _sources(figures), _calibrated(figures), _never(figures)]
        found += [_worse(figures), _lost(evaluated)]
    return [each for each in found if each]


def _fit(trained: Trained | None, evaluated: Evaluated | None) -> Said | None:
    """Whether the chosen recipe over- or underfits, by the rules of `tasks.curve`."""
    if trained is None:
        return None
    chosen = recipe_now(evaluated.recipe) if evaluated else None
    told = next(
        (each for each in trained.recipes if recipe_now(each.recipe) == chosen), trained.recipes[0]
    )
    kind = told.fit.kind if told.fit else _kind_in(told)
    return Said("good" if kind == FITS else "warning", TITLES[kind], in_words(told))


FITS: FitKind = "neither over- nor underfits"
TITLES: dict[FitKind, str] = {
    "underfits": "It underfits",
    "overfits": "It overfits",
    "overfits mildly": "It overfits mildly",
    "had not finished learning": "It had not finished learning",
    FITS: "It fits",
}


def _kind_in(told: TrainedRecipe) -> FitKind:
    """The kind in a record of an earlier version: its sentence begins with recipe and kind."""
    said = told.finding.removeprefix(f"{told.recipe} ")
    kinds = sorted(TITLES, key=len, reverse=True)  # "overfits mildly" before "overfits"
    return next((kind for kind in kinds if said.startswith(kind)), "had not finished learning")


def _imbalance(balance: Balance | None) -> Said | None:
    if balance is None:
        return None
    if balance.imbalance_ratio <= UNEVEN:
        return Said("good", "The classes are even", balance.finding)
    return Said("warning", "The classes are uneven", balance.finding)


def _accuracy(figures: Figures) -> Said | None:
    """Compare accuracy with the accuracy of always giving the commonest answer."""
    counts = {name: each.recall.n for name, each in figures.per_class.items()}
    common = max(counts, key=lambda name: counts[name])
    if not figures.accuracy.n or not counts[common]:
        return None
    share = counts[common] / figures.accuracy.n
    always = (
        f"Always answering {common} would be right for {percent(share)} of the test lesions and "
        + ("find every melanoma" if common == MELANOMA else "find no melanoma")
    )
    if figures.accuracy.lower <= share:
        return Said(
            "warning",
            "Accuracy says little here",
            f"{always}. With {percent(figures.accuracy.estimate)} this model is not shown to be "
            "better than that, so look at its recall.",
        )
    recall = figures.per_class[MELANOMA].recall if MELANOMA in figures.per_class else None
    if recall and recall.n and recall.upper < figures.accuracy.lower:
        return Said(
            "warning",
            "Recall counts more than accuracy",
            f"{percent(figures.accuracy.estimate)} of its answers are right, but melanoma is its "
            f"first answer for only {recall.successes} of {recall.n} melanomas. {always}. "
            "The threshold, not the first answer, decides about melanoma.",
        )
    return Said(
        "good",
        "Accuracy is better than the commonest answer",
        f"{percent(figures.accuracy.estimate)} of its answers are right. {always}.",
    )


def _sources(figures: Figures) -> Said | None:
    """Whether the model tells melanoma from nevus within an archive, which cannot reveal them."""
    known = [each for each in figures.within_source if each.auc.lower is not None]
    if not known:
        return Said(
            "warning",
            "The model may tell archives apart, not lesions",
            "No archive holds enough melanomas and nevi in the test part to compare them within "
            "that archive.",
        )
    best = max(known, key=lambda each: each.melanomas)
    text = (
        f"Among the {best.melanomas} melanomas and {best.nevi} nevi of {best.source} the area "
        f"under the ROC curve is {best.auc.value:.3f} (95 % interval "
        f"{down(best.auc.lower or 0)} to {up(best.auc.upper or 1)}); 0.5 is chance."
    )
    if (best.auc.lower or 0) <= CHANCE:
        return Said(
            "warning", "Within one archive it is not shown to tell melanoma from nevus", text
        )
    return Said("good", "Within one archive it tells melanoma from nevus", text)


def _calibrated(figures: Figures) -> Said | None:
    error = figures.calibration.expected_error
    if error.lower is None or error.lower <= MISCALIBRATED:
        return None
    return Said(
        "warning",
        "The probabilities are miscalibrated",
        f"On average they are off by at least {at_least(error.lower)}: do not read 30 % as three "
        "in ten.",
    )


def _never(figures: Figures) -> Said | None:
    never = [f"{n} (0 of {c.recall.n})" for n, c in figures.per_class.items()
             if c.recall.n and not c.recall.successes]  # fmt: skip
    if not never:
        return None
    text = f"The first answer is never: {', '.join(never)}."
    return Said("warning", "The model does not recognize every class", text)


def _worse(figures: Figures) -> Said | None:
    """Subgroups with worse figures than all lesions, by more than chance explains at 95 %."""
    found = [
        f"{what} {each.trait} {each.value}: {own.successes} of {own.n}, and "
        f"{percent(of_all.estimate)} over all lesions"
        for each in figures.subgroups
        if each.sufficient
        for what, own, of_all in (
            ("melanomas found,", each.sensitivity, figures.sensitivity),
            ("other lesions not called melanoma,", each.specificity, figures.specificity),
        )
        if own.upper < of_all.lower
    ]
    if not found:
        return None
    return Said("warning", "The model does worse on some subgroups", f"{'; '.join(found)}.")


def _lost(evaluated: Evaluated) -> Said | None:
    compared = evaluated.champion.comparison if evaluated.champion else None
    if compared is None or not compared.champion_only:
        return None
    return Said(
        "warning",
        "The new model misses melanomas that the model in use finds",
        f"It misses {compared.champion_only} such melanomas; it finds {compared.challenger_only} "
        "that the model in use misses.",
    )
