"""The record of one look at the released diagnoses, and its form as plain text."""

from typing import Literal

from pydantic import Field

from tasks.figures import at_least, at_most, percent, plural
from tasks.records.figures import Proportion
from tasks.records.record import Frozen, LedgerHead
from tasks.statistics.every_look import ERROR, SOUND

State = Literal["broken", "kept so far", "insufficient evidence"]
HEADLINES: dict[State, str] = {
    "broken": "The promise is broken.",
    "kept so far": "Kept so far.",
    "insufficient evidence": "Insufficient evidence.",
}
SELECTION = (
    "This data is by selection biased. Diagnoses come back for lesions that were excised or "
    "followed. Lesions that the model cleared are excised less often, so misses are seen less "
    "often than they happen: the sensitivity here is too high, if anything. Only where people send "
    "back above all what the model got wrong, it is too low."
)
WHAT_TO_DO = (
    "This alarm promotes no model and takes none back. A person can: put an earlier model into use "
    "again (python -m tasks rollback, or the DAG melanoma_rollback), or retrain with the released "
    "lesions (the DAG melanoma_retraining). Until then, tell the clinicians."
)


class Promise(Frozen):
    """What a model promises: the figures of its own test part that the app tells people."""

    sensitivity: Proportion = Field(description="Melanomas that are called melanoma.")
    specificity: Proportion = Field(description="Other lesions that are not called melanoma.")


class Month(Frozen):
    """The lesions about which the app was asked in one month, UTC."""

    month: str = Field(pattern=r"^\d{4}-\d{2}$", description="Year and month of the answers.")
    found: Proportion = Field(description="Melanomas that the model called melanoma.")
    cleared: Proportion = Field(description="Other lesions that it did not call melanoma.")
    melanomas_refused: int = Field(description="Melanomas that the app could not judge.")
    others_refused: int = Field(description="Other lesions that the app could not judge.")


class Alarm(Frozen):
    """Where the promise was contradicted for the first time."""

    melanomas: int = Field(ge=1, description="Melanomas that were released until then, from 1.")
    found: int = Field(description="How many of them the model had found.")


class OfVersion(Frozen):
    """The released lesions about which one version answered."""

    version: int = Field(description="Number of the model's version in MLflow.")
    run: str = Field(description="Address of the run that made the model.")
    model_sha256: str = Field(description="SHA-256 of the ``.keras`` file.")
    synthetic: bool = Field(
        description="Whether a lesion that counts is drawn, as all are that a model of drawn "
        "lesions is asked about."
    )
    promise: Promise | None = Field(description="None where it is not known.")
    no_promise: str = Field(description="Why the promise is not known; empty if it is.")
    state: State = Field(description="Whether the lower bound of its sensitivity holds.")
    found: Proportion = Field(description="Melanomas that the model called melanoma.")
    cleared: Proportion = Field(description="Other lesions that it did not call melanoma.")
    melanomas_refused: int = Field(description="Melanomas that the app could not judge.")
    others_refused: int = Field(description="Other lesions that the app could not judge.")
    left_out: dict[str, int] = Field(description="Released lesions that do not count, by reason.")
    lower: float = Field(description="Lower bound of the sensitivity at every look, 0 to 1.")
    upper: float = Field(description="Upper bound of the sensitivity at every look, 0 to 1.")
    alarm: Alarm | None = Field(description="The first alarm on what counts now; None without one.")
    earlier_alarm: bool = Field(
        description="Whether an earlier look raised the alarm. Then it stands, whatever counts now."
    )
    shown: float | None = Field(
        description="The highest true sensitivity that would have raised the alarm by now with a "
        "probability of at least 80 %, 0 to 1; None if no sensitivity would have."
    )
    needed: int | None = Field(
        description="Melanomas that show a sensitivity 30 points below the promise with a "
        "probability of 80 %; None where none suffice."
    )
    months: tuple[Month, ...] = Field(description="The same lesions by month, in order.")


class Outcomes(Frozen):
    """One look at the released diagnoses."""

    in_use: OfVersion = Field(description="The version in use.")
    earlier: tuple[OfVersion, ...] = Field(
        description="Versions that were in use before and about which something was released, the "
        "last one first."
    )
    never_in_use: int = Field(description="Released lesions that other versions answered about.")
    released: LedgerHead | None = Field(
        description="Head of the ledger of feedback that was read; None while it is empty."
    )
    told_by: str = Field(
        description="Name of the request that tells people of the alarm, such as the DAG run; "
        "empty while none does."
    )


def headline(of: OfVersion) -> str:
    """The answer in one sentence."""
    return HEADLINES[of.state]


def in_words(outcomes: Outcomes) -> list[str]:
    """The result, line by line."""
    own = outcomes.in_use
    lines = [f"{headline(own)} {so_far(own)}"]
    if own.synthetic:
        lines.append("SYNTHETIC: these lesions are drawn, and say nothing about patients.")
    lines += [promised(own), *explained(own)]
    lines += [f"Left out: {plural(count, 'lesion')}: {why}." for why, count in own.left_out.items()]
    for each in outcomes.earlier:
        lines.append(f"Earlier: {headline(each)} {so_far(each)}")
    if outcomes.never_in_use:
        lines.append(
            f"{plural(outcomes.never_in_use, 'released lesion')} do not count: versions that were "
            "never in use answered about them."
        )
    lines.append(SELECTION)
    if own.state == "broken":
        lines.append(WHAT_TO_DO)
    return lines


def so_far(of: OfVersion) -> str:
    """What was released, and what the model had said of it."""
    melanomas = of.found.n + of.melanomas_refused
    others = of.cleared.n + of.others_refused
    if not melanomas + others:
        return f"Nothing that counts was released yet about which version {of.version} answered."
    told = [f"Version {of.version} found {counted(of.found, 'released melanoma')}."]
    told.append(f"It cleared {counted(of.cleared, 'other lesion')}.")
    if of.melanomas_refused or of.others_refused:
        told.append(
            f"Of {plural(melanomas, 'melanoma')} it would not judge {of.melanomas_refused}, of "
            f"{plural(others, 'other lesion')} {of.others_refused}."
        )
    return " ".join(told)


def counted(share: Proportion, noun: str) -> str:
    """Such as "9 of 10 lesions (90 %; 95 %: 55 to 99.8 %)"."""
    told = f"{share.successes} of {plural(share.n, noun)}"
    if not share.n:
        return told
    return (
        f"{told} ({percent(share.estimate)}; exact 95 % interval {at_least(share.lower)} to "
        f"{at_most(share.upper)})"
    )


def promised(of: OfVersion) -> str:
    """The promise, and where it comes from."""
    if of.promise is None:
        return f"It is not known what version {of.version} promises: {of.no_promise}."
    own, other = of.promise.sensitivity, of.promise.specificity
    return (
        f"It promises a sensitivity of at least {at_least(own.lower)}: on its own test part it "
        f"found {own.successes} of {own.n}. There it cleared {other.successes} of {other.n} other "
        f"lesions (at least {at_least(other.lower)}). Of these, only the sensitivity raises an "
        "alarm."
    )


def explained(of: OfVersion) -> list[str]:
    """What follows for the promise, and what so many melanomas could have shown."""
    if of.promise is None:
        return []
    lines = []
    if of.found.n:
        lines.append(
            f"Its sensitivity on such lesions is between {at_least(of.lower)} and "
            f"{at_most(of.upper)}. Each of these bounds holds at all looks together with a "
            f"probability of {percent(1 - ERROR)}."
        )
    if of.alarm:
        lines.append(
            f"The alarm was raised when it had found {of.alarm.found} of "
            f"{plural(of.alarm.melanomas, 'melanoma')}. A model that keeps its promise raises the "
            f"alarm with a probability of at most {percent(ERROR)} in all its life. The alarm "
            "stands, whatever comes later."
        )
    elif of.earlier_alarm:
        lines.append(
            "An earlier look raised the alarm, and the alarm stands. What counts now would not "
            "raise it: lesions that counted then are left out now."
        )
    elif of.shown is None:
        lines.append("So few melanomas cannot raise the alarm, whatever the model does.")
    else:
        lines.append(
            f"With so many melanomas, a true sensitivity of {percent(of.shown)} would have raised "
            f"the alarm with a probability of {percent(SOUND)}; a smaller fall is likely not seen."
        )
    if of.state == "insufficient evidence":
        lines.append(_needed(of))
    return lines


def _needed(of: OfVersion) -> str:
    if of.needed is None:
        return "Its test part promises too little for any number of melanomas to contradict it."
    return (
        f"{of.needed} melanomas would show a sensitivity 30 points below the promise with a "
        f"probability of {percent(SOUND)}. Before, nothing is said to be kept."
    )
