"""The record of one drift test of what the app is asked about, and its form as plain text."""

from typing import Literal

from pydantic import Field

from tasks.figures import percent, plural
from tasks.records.record import Frozen

ENOUGH = 50  # new labelled lesions that make a retraining worth it, unless somebody says otherwise
FEWEST_HOURS = 10  # below, it cannot be told how alike lesions of one hour are
SYNTHETIC = (
    "SYNTHETIC: the model learned from drawn lesions, and this test says nothing about patients"
)
Verdict = Literal["drift", "none", "insufficient evidence"]
Group = Literal["file", "light", "sharpness", "lesion", "answers", "refusals"]
GROUPS: dict[Group, str] = {
    "file": "files",
    "light": "light and skin colour",
    "sharpness": "sharpness",
    "lesion": "the image as a whole",
    "answers": "what the model answers",
    "refusals": "refusals",
}


class Compared(Frozen):
    """One figure of what the app was asked about, beside what the model learned from."""

    figure: str = Field(description="Name of the figure.")
    group: Group = Field(description="What it is about.")
    n: int = Field(description="Lesions that the app was asked about.")
    worth: int = Field(
        description="As many independent lesions say as much: lesions of one hour may be of one "
        "patient, and alike."
    )
    reference: int = Field(description="Lesions of the reference.")
    effect: float | None = Field(
        description="Difference of probabilities, 0 to 1; None where it was not compared."
    )
    chance: float | None = Field(description="P-value of this figure alone, 0 to 1.")
    adjusted: float | None = Field(description="P-value for the whole family (Holm), 0 to 1.")
    drifted: bool = Field(description="More than chance explains, and enough to matter.")
    least: float | None = Field(
        description="The least effect that would be found with a probability of 80 %, 0 to 1."
    )
    words: str = Field(description="How it differs, or why it was not compared.")


class ToLabel(Frozen):
    """A lesion that should be labelled first. Where images are kept with consent, its number names
    them."""

    hour: str = Field(description="Hour of the answer, UTC.")
    lesion: str = Field(description="Random number of the lesion in its trace.")
    distance: float = Field(
        description="Share of the lesions that the model learned from that are less unusual, 0 to "
        "1."
    )
    margin: float | None = Field(
        description="Distance of its melanoma probability from the threshold, 0 to 1; None where "
        "the model could not judge."
    )


class Watched(Frozen):
    """One drift test."""

    version: int = Field(description="Number of the model's version in MLflow.")
    run: str = Field(description="Address of the run that made the model.")
    model_sha256: str = Field(description="SHA-256 of the ``.keras`` file.")
    since: str = Field(description="First hour that was looked at, UTC.")
    until: str = Field(description="The hour after the last one, UTC.")
    images: int = Field(description="Images that the app was asked about in this time.")
    lesions: int = Field(description="Lesions of these images; each counts once.")
    hours: int = Field(description="Hours in which they came.")
    left_out: dict[str, int] = Field(description="Lesions left out of a comparison, by reason.")
    verdict: Verdict = Field(description="The answer.")
    causes: tuple[str, ...] = Field(description="What the moved figures speak for, in words.")
    news: bool = Field(
        description="Drift that the last test of this model did not find, or found in other groups."
    )
    level: float = Field(description="Probability of a false alarm of one test, at most, 0 to 1.")
    figures: tuple[Compared, ...] = Field(description="Each figure.")
    label_first: tuple[ToLabel, ...] = Field(description="On drift, what to label first.")
    new_labelled: int | None = Field(
        None,
        description="On drift, lesions with a label that were delivered since the model was "
        "trained, by folders and tables; None if that is not known.",
    )
    enough: int = Field(description="With so many new labelled lesions, a retraining is worth it.")
    synthetic: bool | None = Field(
        None,
        description="Whether the model learned from drawn lesions alone; None where that is not "
        "known, as in entries of an earlier version of the program.",
    )
    labelled_then: int | None = Field(
        None,
        description="New labelled lesions of this model when a drift test last started a "
        "retraining; None if none did.",
    )
    starts: bool | None = Field(
        None,
        description="Whether who made the test starts a retraining on it; None in entries of an "
        "earlier version of the program, which did so on new drift alone.",
    )

    @property
    def worth_from(self) -> int:
        """New labelled lesions from which a retraining is worth it: so many that `enough` came
        since a drift test last started one. So drift that lasts starts one retraining, and the
        next only on new labels, also where the gate refuses what was trained."""
        return self.enough + (self.labelled_then or 0)

    @property
    def worth_it(self) -> bool:
        """Whether a retraining is worth it: on drift, with enough new labelled lesions."""
        known = self.new_labelled
        return self.verdict == "drift" and known is not None and known >= self.worth_from

    @property
    def retrain(self) -> bool:
        """Whether this test starts a retraining."""
        return self.news and self.worth_it if self.starts is None else self.starts

    @property
    def moved(self) -> tuple[Group, ...]:
        """The groups with a figure that has drifted, in the order of `GROUPS`."""
        found = {each.group for each in self.figures if each.drifted}
        return tuple(group for group in GROUPS if group in found)


def in_words(watched: Watched) -> list[str]:
    """The result, line by line."""
    what = f"{plural(watched.lesions, 'lesion')} ({plural(watched.images, 'image')})"
    lines = [
        f"{headline(watched)} Version {watched.version} was asked about {what} from "
        f"{watched.since} until {watched.until} UTC."
    ]
    if watched.synthetic:
        lines.append(f"{SYNTHETIC}.")
    lines += [f"The figures speak for {cause}." for cause in watched.causes]
    lines += [f"Drifted: {each.words}." for each in watched.figures if each.drifted]
    for reason, count in watched.left_out.items():
        lines.append(f"Left out: {plural(count, 'lesion')}: {reason}.")
    lines += _shown(watched)
    if watched.label_first:
        lines.append(
            f"Label first: {plural(len(watched.label_first), 'lesion')}, the most unusual and the "
            "least certain ones; --json names them by hour and number."
        )
    if watched.verdict == "drift":
        known = watched.new_labelled
        new = "an unknown number of lesions" if known is None else plural(known, "lesion")
        lines.append(
            f"Delivered with a label since the model was trained: {new}. A retraining is worth "
            f"it from {watched.worth_from} on{_since(watched)}."
        )
    return lines


def headline(watched: Watched) -> str:
    """The answer in one sentence."""
    if watched.verdict == "drift":
        again = "" if watched.news else ", as in the test before"
        return f"Drift{again}."
    if watched.verdict == "none":
        return "No drift."
    return "Insufficient evidence."


def _since(watched: Watched) -> str:
    if watched.labelled_then is None:
        return ""
    return f", as a drift test started one at {watched.labelled_then}"


def _shown(watched: Watched) -> list[str]:
    """What the number of lesions could have shown, by group."""
    lines = []
    silent: dict[str, list[str]] = {}
    for each in watched.figures:
        if each.least is None:
            silent.setdefault(each.words, []).append(each.figure)
    lines += [f"Not compared: {', '.join(names)}: {why}." for why, names in silent.items()]
    for group, name in GROUPS.items():
        tested = [each for each in watched.figures if each.group == group and each.least]
        if tested:
            worst = max(tested, key=lambda each: each.least or 0.0)
            alike = f" (alike within hours, worth {worst.worth})" if worst.worth < worst.n else ""
            lines.append(
                f"Of {name}, {plural(worst.n, 'lesion')}{alike} would show a difference of "
                f"{percent(worst.least)} with a probability of 80 %."
            )
    if 0 < watched.hours < FEWEST_HOURS:
        lines.append(
            f"Note: all lesions came within {plural(watched.hours, 'hour')}. If they are of few "
            "patients, this may be their likeness, and no drift."
        )
    return lines
