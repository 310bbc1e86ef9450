"""Compare what the app was asked about with what the model in use learned from, figure by figure.

The figures are one family: their p-values are adjusted by Holm's method, so that one test raises a
false alarm with a probability of at most `LEVEL`, however many figures there are and however they
depend on each other. `tests/benchmarks/drift_alarms.py` measures it.

A lesion counts once, with its first image. Which lesions are of one patient is not known. But they
come within an hour, so lesions of one hour that are more alike than those of several say less: each
figure is tested with its design effect.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.traces import descriptors_in
from tasks.figures import percent
from tasks.monitoring.reference import Reference
from tasks.monitoring.watched import Compared, Group, Verdict
from tasks.statistics.two_samples import (
    design_effect,
    holm,
    least_effect_shown,
    names_differ,
    points_differ,
    values_differ,
)
from tasks.validation.laws.shift import FEWEST_TO_COMPARE, SHIFT_EFFECT

Array = np.ndarray[Any, Any]

# At one test a day, at most one false alarm a year, in a leap year too.
LEVEL = 1 / 366
# "None" is said only where a difference of this size would have been found, see `Compared.least`.
# With two thousand lesions to compare with, some 80 new ones are enough.
LARGEST_MISSED = 0.3

VALUES: dict[str, tuple[Group, str]] = {
    "width": ("file", "width in pixels"),
    "height": ("file", "height in pixels"),
    "sharpness": ("sharpness", "sharpness"),
    "border_red": ("light", "red of the skin"),
    "border_green": ("light", "green of the skin"),
    "border_blue": ("light", "blue of the skin"),
    "red": ("lesion", "mean red"),
    "green": ("lesion", "mean green"),
    "blue": ("lesion", "mean blue"),
}
NAMES = {"format": "file format", "encoding": "encoding of the JPEG"}
ANSWERED, PROBABILITY = "class that is answered", "melanoma probability"
LEARNED, TESTED = "what it learned from", "its test part"
DESCRIPTOR, REFUSED = "descriptor of the image", "share that is refused"


@dataclass(frozen=True)
class Asked:
    """What the app was asked about, one row for each lesion.

    Attributes:
        described: Lesions whose pixels can be compared, of whatever model's time.
        judged: Lesions that the model in use was asked about.
    """

    described: pd.DataFrame
    judged: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Pair:
    """A figure of two sets of lesions, how the two are compared, and the hour of each new one."""

    figure: str
    group: Group
    old: Array
    new: Array
    differ: Callable[[Array, Array, float], tuple[float, float]]
    words: Callable[[Array, Array], str]
    hours: Array

    @property
    def design(self) -> float:
        """By how much lesions of one hour make the new ones say less, see `design_effect`."""
        spread = np.maximum(self.new.std(axis=0), 1e-9) if not self.flat else 1.0
        return design_effect(self.new / spread if not self.flat else self.new, self.hours)

    @property
    def flat(self) -> bool:
        """Whether a lesion has one value, and not a vector."""
        return self.old.ndim == 1


def compared(asked: Asked, reference: Reference, seed: int) -> tuple[Compared, ...]:
    """Each figure of what was asked about beside the reference.

    Args:
        asked: The lesions.
        reference: What the model learned from and answered.
        seed: For draws. The same lesions, reference and seed give the same result.
    """
    generator = np.random.default_rng(seed)
    pairs = list(pairs_of(asked, reference, generator))
    large = [pair for pair in pairs if min(len(pair.old), len(pair.new)) >= FEWEST_TO_COMPARE]
    found = [pair.differ(pair.old, pair.new, pair.design) for pair in large]
    adjusted = holm(np.array([chance for _, chance in found]))
    tested = {
        pair.figure: _tested(pair, *each, float(chance), LEVEL / len(large))
        for pair, each, chance in zip(large, found, adjusted, strict=True)
    }
    small = {pair.figure: _not_compared(pair) for pair in pairs if pair not in large}
    unknown = {each.figure: each for each in _unknown(asked, reference)}
    everything = tested | small | unknown
    return tuple(everything[name] for name in [*(p.figure for p in pairs), *unknown])


def verdict_of(figures: tuple[Compared, ...]) -> Verdict:
    """The answer of a test. "None" needs every figure to be compared, with enough lesions.

    A figure that the model's run says nothing of, such as refusals of an older model, is told as
    not compared, and does not stand in the way: more lesions would not change it.
    """
    if any(each.drifted for each in figures):
        return "drift"
    known = [each for each in figures if each.reference > 0]
    shown = [each.least is not None and each.least <= LARGEST_MISSED for each in known]
    return "none" if shown and all(shown) else "insufficient evidence"


def pairs_of(asked: Asked, reference: Reference, generator: np.random.Generator) -> Iterator[Pair]:
    """Each figure of both sets of lesions, in the order of the result."""

    def names(old: Array, new: Array, design: float) -> tuple[float, float]:
        return names_differ(old, new, generator, design)

    def points(old: Array, new: Array, design: float) -> tuple[float, float]:
        return points_differ(old, new, generator, design)

    old, new = reference.learned, asked.described
    hours = _names(new["hour"])
    for column, (group, name) in VALUES.items():
        before, now = (table[column].to_numpy(float) for table in (old, new))
        yield Pair(name, group, before, now, values_differ, _medians(name, LEARNED), hours)
    for column, name in NAMES.items():
        if column != "encoding" or reference.facts.encodings_known:
            before, now = (_names(table[column]) for table in (old, new))
            yield Pair(name, "file", before, now, names, _most_moved(name, LEARNED), hours)
    before, now = descriptors_in(old), descriptors_in(new)
    yield Pair(DESCRIPTOR, "lesion", before, now, points, _told_apart, hours)
    old, new = reference.answered, asked.judged[asked.judged["answered"].notna()]
    hours = _names(new["hour"])
    before, now = (_names(table["answered"]) for table in (old, new))
    yield Pair(ANSWERED, "answers", before, now, names, _most_moved(ANSWERED, TESTED), hours)
    before, now = (table["melanoma_probability"].to_numpy(float) for table in (old, new))
    words = _medians(PROBABILITY, TESTED, 2)
    yield Pair(PROBABILITY, "answers", before, now, values_differ, words, hours)
    if reference.facts.refused:
        refused, of = reference.facts.refused
        before = np.where(np.arange(of) < refused, "refused", "answered")
        now = np.where(asked.judged["decision"] == "cannot judge", "refused", "answered")
        hours = _names(asked.judged["hour"])
        yield Pair(REFUSED, "refusals", before, now, names, _share_of("refused"), hours)


def _names(column: pd.Series) -> Array:
    return column.fillna("").astype(object).to_numpy().astype(str)


def _tested(pair: Pair, effect: float, chance: float, adjusted: float, level: float) -> Compared:
    new = max(1, int(len(pair.new) / pair.design))
    return Compared(
        figure=pair.figure,
        group=pair.group,
        n=len(pair.new),
        worth=new,
        reference=len(pair.old),
        effect=effect,
        chance=chance,
        adjusted=adjusted,
        drifted=adjusted <= LEVEL and effect >= SHIFT_EFFECT,
        least=max(SHIFT_EFFECT, least_effect_shown(len(pair.old), new, level)),
        words=pair.words(pair.old, pair.new),
    )


def _not_compared(pair: Pair) -> Compared:
    few = f"{len(pair.new)} lesions against {len(pair.old)}, and {FEWEST_TO_COMPARE} are needed"
    return _silent(pair.figure, pair.group, len(pair.new), len(pair.old), few)


def _unknown(asked: Asked, reference: Reference) -> Iterator[Compared]:
    """Figures that the model's run says nothing of."""
    if not reference.facts.encodings_known:
        why = "ingest did not note it yet when the model was made"
        yield _silent(NAMES["encoding"], "file", len(asked.described), 0, why)
    if reference.facts.refused is None:
        why = "the model's run does not say how many images it refuses"
        yield _silent(REFUSED, "refusals", len(asked.judged), 0, why)


def _silent(figure: str, group: Group, n: int, reference: int, why: str) -> Compared:
    return Compared(
        figure=figure,
        group=group,
        n=n,
        worth=n,
        reference=reference,
        effect=None,
        chance=None,
        adjusted=None,
        drifted=False,
        least=None,
        words=why,
    )


def _medians(name: str, where: str, digits: int = 0) -> Callable[[Array, Array], str]:
    def words(old: Array, new: Array) -> str:
        now, before = (f"{np.median(each):.{digits}f}" for each in (new, old))
        return f"{name}: median {now} here, {before} in {where}"

    return words


def _most_moved(name: str, where: str) -> Callable[[Array, Array], str]:
    def words(old: Array, new: Array) -> str:
        every = np.unique(np.concatenate([old, new]))
        shares = [(float((new == each).mean()), float((old == each).mean())) for each in every]
        most = max(range(len(every)), key=lambda at: abs(shares[at][0] - shares[at][1]))
        now, before = (percent(each) for each in shares[most])
        return f"{name}: {every[most] or 'none named'} {now} here, {before} in {where}"

    return words


def _share_of(name: str) -> Callable[[Array, Array], str]:
    def words(old: Array, new: Array) -> str:
        now, before = (percent(float((each == name).mean())) for each in (new, old))
        return f"{REFUSED}: {now} here, {before} in {TESTED}"

    return words


def _told_apart(old: Array, new: Array) -> str:
    from tasks.evaluation.descriptor import NAMES as FIGURES

    spread = np.maximum(old.std(axis=0), 1e-9)
    moved = np.abs(new.mean(axis=0) - old.mean(axis=0)) / spread
    most = ", ".join(FIGURES[at] for at in np.argsort(-moved)[:3])
    return f"{DESCRIPTOR}: most of all {most}"
