"""Which released lesions count for a model, and what they say about its promise."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tasks.feedback.decided import Released
from tasks.lesions import MELANOMA
from tasks.monitoring.compare import LARGEST_MISSED
from tasks.monitoring.outcomes import Alarm, Month, OfVersion, State
from tasks.monitoring.promise import Sealed
from tasks.records.figures import Proportion
from tasks.registry.promotions import Model
from tasks.statistics.every_look import (
    first_alarm,
    lesions_needed,
    lower_at_every_look,
    shown_by,
    upper_at_every_look,
)
from tasks.statistics.proportions import proportion

KNOWN = "the model learned from the same pixels, or was tested on them"
TWICE = "the same pixels were released before, under another number"
CONTRADICTORY = "the same pixels were released under another diagnosis too"
MOST_NEEDED = 1000  # melanomas: a clinic does not see more in the life of a model


@dataclass(frozen=True)
class Counted:
    """The released lesions of one model.

    Attributes:
        lesions: Those that count, in the order of their releases.
        left_out: The others, by reason.
    """

    lesions: tuple[Released, ...]
    left_out: dict[str, int]

    @property
    def melanomas_found(self) -> list[bool]:
        """For each melanoma that the app judged, in order, whether the model called it melanoma."""
        return [
            each.kept.decision == MELANOMA
            for each in self.lesions
            if each.diagnosed.diagnosis == MELANOMA and judged(each)
        ]


def judged(lesion: Released) -> bool:
    """Whether the app judged a lesion: a refusal is no answer."""
    return lesion.kept.decision != "cannot judge"


def counted(released: Sequence[Released], known: Collection[str]) -> Counted:
    """The lesions that count.

    Args:
        released: The releases of one model, in order.
        known: Pixel hashes of the images that the model learned from or was tested on.
    """
    lesions: list[Released] = []
    left = dict.fromkeys((KNOWN, CONTRADICTORY, TWICE), 0)
    for same in _by_pixels(released):
        if any(pixels in known for each in same for pixels in _pixels(each)):
            left[KNOWN] += len(same)
        elif len({each.diagnosed.diagnosis for each in same}) > 1:
            left[CONTRADICTORY] += len(same)
        else:
            lesions.append(same[0])
            left[TWICE] += len(same) - 1
    return Counted(tuple(lesions), {why: count for why, count in left.items() if count})


def _by_pixels(released: Sequence[Released]) -> list[list[Released]]:
    """The releases that share an image, directly or by others, each group in order; the groups in
    the order of their first releases."""
    group = list(range(len(released)))  # number of the first release of the group of each release
    owner: dict[str, int] = {}
    for number, each in enumerate(released):
        for pixels in _pixels(each):
            own, other = group[number], group[owner.setdefault(pixels, number)]
            first, last = min(own, other), max(own, other)
            if first != last:
                group = [first if one == last else one for one in group]
    found: dict[int, list[Released]] = {}
    for number, each in enumerate(released):
        found.setdefault(group[number], []).append(each)
    return [found[first] for first in sorted(found)]


def _pixels(lesion: Released) -> list[str]:
    return [image.pixel_hash for image in lesion.kept.images]


def of_version(
    model: Model,
    released: Sequence[Released],
    sealed: Sealed | None,
    *,
    no_promise: str = "",
    stood: bool = False,
) -> OfVersion:
    """What the released lesions of a model say about its promise.

    Args:
        model: The model.
        released: Its releases, in order.
        sealed: What its evidence says; None where that is not known.
        no_promise: Why `sealed` is None.
        stood: Whether an earlier look raised the alarm.
    """
    own = counted(released, sealed.pixels if sealed else ())
    found = own.melanomas_found
    promise = sealed.promise if sealed else None
    at_least = promise.sensitivity.lower if promise else 0.0
    alarm = _alarm(found, at_least)
    needed = _needed(at_least)
    return OfVersion(
        version=model.version,
        run=model.run,
        model_sha256=model.model_sha256,
        synthetic=any(each.kept.synthetic for each in own.lesions),
        promise=promise,
        no_promise=no_promise,
        state=_state(len(found), needed, alarmed=alarm is not None or stood),
        **_figures(own.lesions),
        left_out=own.left_out,
        lower=lower_at_every_look(sum(found), len(found)),
        upper=upper_at_every_look(sum(found), len(found)),
        alarm=alarm,
        earlier_alarm=stood and alarm is None,
        shown=shown_by(at_least, len(found)) if needed else None,
        needed=needed,
        months=months_of(own.lesions),
    )


def _state(melanomas: int, needed: int | None, *, alarmed: bool) -> State:
    if alarmed:
        return "broken"
    return "kept so far" if needed and melanomas >= needed else "insufficient evidence"


def _alarm(found: Sequence[bool], at_least: float) -> Alarm | None:
    at = first_alarm(found, at_least) if at_least > 0 else None
    return None if at is None else Alarm(melanomas=at, found=sum(found[:at]))


def _needed(at_least: float) -> int | None:
    """The melanomas without which nothing is said to be kept: a fall of `LARGEST_MISSED`, as for
    the drift test, would likely have been seen."""
    if at_least <= 0:
        return None
    return lesions_needed(at_least, max(0.0, at_least - LARGEST_MISSED), MOST_NEEDED)


def months_of(lesions: Sequence[Released]) -> tuple[Month, ...]:
    """The lesions by the month in which the app answered, UTC."""
    names = sorted({each.kept.at[:7] for each in lesions})
    return tuple(
        Month(month=name, **_figures([each for each in lesions if each.kept.at[:7] == name]))
        for name in names
    )


def _figures(lesions: Sequence[Released]) -> dict[str, Proportion | int]:
    """The fields that `OfVersion` and `Month` share."""
    melanomas = [each for each in lesions if each.diagnosed.diagnosis == MELANOMA]
    others = [each for each in lesions if each.diagnosed.diagnosis != MELANOMA]
    return {
        "found": _share(melanomas, "melanoma"),
        "cleared": _share(others, "not melanoma"),
        "melanomas_refused": sum(not judged(each) for each in melanomas),
        "others_refused": sum(not judged(each) for each in others),
    }


def _share(lesions: Sequence[Released], decision: str) -> Proportion:
    answered = [each for each in lesions if judged(each)]
    return proportion(sum(each.kept.decision == decision for each in answered), len(answered))
