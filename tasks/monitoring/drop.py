"""Compare a model's figures on a set with those on its own test part, with a verdict in words.

The two are independent samples: other lesions, often of another hospital. So each difference has an
interval of its own, see `tasks.statistics.differences`.
"""

import math
from typing import Literal

from pydantic import Field

from tasks.figures import percent
from tasks.records.figures import Estimate, Figures, Proportion
from tasks.records.record import Frozen
from tasks.statistics.differences import difference_of_estimates, difference_of_proportions

Judged = Literal["sensitivity", "specificity", "auc"]
DropVerdict = Literal["drop", "gain", "no drop", "too few to tell"]

# A drop that the interval does not rule out is called "no drop" only if it could be no larger than
# this: 10 points, or 0.05 of an area.
SMALL: dict[Judged, float] = {"sensitivity": 0.10, "specificity": 0.10, "auc": 0.05}
FEWEST = 10  # lesions on either side: of fewer, one more miss turns the verdict
# figure -> how the model does on a set where it is worse, and better; what is counted.
WORDS: dict[Judged, tuple[str, str, str]] = {
    "sensitivity": ("finds fewer melanomas here:", "finds more melanomas here:", "melanomas"),
    "specificity": (
        "calls more other lesions melanoma here: specificity",
        "calls fewer other lesions melanoma here: specificity",
        "other lesions",
    ),
    "auc": ("ranks melanomas worse here: area", "ranks melanomas better here: area", "lesions"),
}


class Drop(Frozen):
    """How a figure on a set differs from the same figure on the model's own test part."""

    figure: Judged = Field(description="Name of the figure.")
    here: float | None = Field(description="The figure on the set, 0 to 1; None if not known.")
    own: float | None = Field(description="The figure on the model's own test part, 0 to 1.")
    drop: Estimate = Field(
        description="Own less here, -1 to 1, with its 95 % interval: above 0 is worse here."
    )
    verdict: DropVerdict = Field(
        description="drop or gain where the interval leaves 0 out; else no drop where it leaves "
        "out any drop that matters, or too few to tell."
    )
    words: str = Field(description="The verdict in words.")


def drops(here: Figures, own: Figures, *, by_area_alone: bool = False) -> tuple[Drop, ...]:
    """The verdict on each figure, of those that no archive of one kind of lesion flatters.

    Args:
        here: Figures on the set.
        own: Figures on the model's own test part.
        by_area_alone: Compare no figures that depend on the threshold, because it is another.
    """
    ours, theirs = own.headline, here.headline
    found = []
    for name in () if by_area_alone else ("sensitivity", "specificity"):
        one, other = getattr(ours, name), getattr(theirs, name)
        found.append(_drop(name, one, other, difference_of_proportions(one, other)))
    area = difference_of_estimates(ours.auc, theirs.auc)
    return (*found, _drop("auc", ours.auc, theirs.auc, area))


def _drop(
    name: Judged, own: Proportion | Estimate, here: Proportion | Estimate, drop: Estimate
) -> Drop:
    verdict = _verdict(drop, SMALL[name], min(own.n, here.n))
    one, other = (
        each.estimate if isinstance(each, Proportion) else each.value for each in (own, here)
    )
    words = _in_words(name, verdict, (one, own.n), (other, here.n), drop)
    return Drop(figure=name, here=other, own=one, drop=drop, verdict=verdict, words=words)


def _verdict(drop: Estimate, small: float, lesions: int) -> DropVerdict:
    if drop.lower is None or drop.upper is None or lesions < FEWEST:
        return "too few to tell"
    if drop.lower > 0:
        return "drop"
    if drop.upper < 0:
        return "gain"
    return "no drop" if drop.upper <= small else "too few to tell"


def _in_words(
    name: Judged,
    verdict: DropVerdict,
    own: tuple[float | None, int],
    here: tuple[float | None, int],
    drop: Estimate,
) -> str:
    worse, better, counted = WORDS[name]
    if drop.value is None or drop.lower is None or drop.upper is None:
        return f"{name}: cannot be compared, for lack of {counted}"
    shown = percent if name != "auc" else _area
    against = f"{shown(here[0])} against {shown(own[0])}"
    if verdict == "gain":
        size = _size(name, -drop.value, -drop.upper, -drop.lower)
        return f"{better} {against}, a gain of {size}"
    size = _size(name, drop.value, drop.lower, drop.upper)
    if verdict == "drop":
        return f"{worse} {against}, a drop of {size}"
    if verdict == "no drop":
        return f"no drop of {_called(name)} shown: {against}, a drop of {size}"
    few = f"too few {counted} to tell ({here[1]} here, {own[1]} in its test part)"
    return f"{_called(name)}: {few}: {against}, a drop of {size}"


def _called(name: Judged) -> str:
    return "the area under the ROC curve" if name == "auc" else name


def _area(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}"


def _size(name: Judged, value: float, lower: float, upper: float) -> str:
    """A difference with its interval, the bounds rounded outwards."""
    scale, unit, digits = (1, "", 2) if name == "auc" else (100, " points", 0)
    if name != "auc" and 0 < min(abs(lower), abs(upper)) * scale < 1:
        digits = 1  # a bound that is not 0 never shows as 0
    step = 10**digits
    low = math.floor(lower * scale * step + 1e-9) / step
    high = math.ceil(upper * scale * step - 1e-9) / step
    return f"{value * scale:.{digits}f}{unit} (95 % interval {low:.{digits}f} to {high:.{digits}f})"
