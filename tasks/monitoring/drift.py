"""How scored lesions differ from those that the model learned from, by the law of shift's test."""

import pandas as pd
from pydantic import Field

from tasks.figures import percent
from tasks.lesions import MELANOMA, OTHER
from tasks.records.record import Frozen
from tasks.validation.laws.shift import (
    FEWEST_TO_COMPARE,
    SHIFT_OF_SHARES,
    SHIFT_OF_VALUES,
    Difference,
    differences,
    one_per_lesion,
)

# What is compared -> how people call it.
NAMES = {
    "label": "diagnoses",
    "melanoma": "share of melanomas",
    "source": "sources",
    "sex": "sex",
    "width": "width in pixels",
    "height": "height in pixels",
    "red": "mean red",
    "green": "mean green",
    "blue": "mean blue",
    "age_years": "age in years",
}


class Drift(Frozen):
    """A figure that is distributed otherwise than among the lesions that the model learned from."""

    figure: str = Field(description="Name of the column.")
    difference: float = Field(
        description="Difference of probabilities, 0 to 1: total variation distance of shares, or "
        "the Kolmogorov-Smirnov statistic of values."
    )
    chance: float = Field(description="P-value, 0 to 1.")
    words: str = Field(description="How it differs, in words.")


def drift(scored: pd.DataFrame, learned: pd.DataFrame) -> tuple[Drift, ...] | None:
    """What differs by more than chance, and by enough to matter.

    Args:
        scored: The scored images, with the manifest's columns.
        learned: The rows that the model learned from.

    Returns:
        None if there are fewer than 30 lesions, which is too few to compare.
    """
    new, old = (_by_lesion(each) for each in (scored, learned))
    if min(len(new), len(old)) < FEWEST_TO_COMPARE:
        return None
    coarse = (new["label"] == OTHER).any()  # their diagnoses are not the nine
    shares = [name for name in SHIFT_OF_SHARES if name != "label"]
    shares = ["melanoma" if coarse else "label", *shares]
    return tuple(
        Drift(
            figure=each.name,
            difference=each.effect,
            chance=each.chance,
            words=_in_words(each, old, new),
        )
        for each in differences(old, new, shares, SHIFT_OF_VALUES)
        if each.counts
    )


def _by_lesion(frame: pd.DataFrame) -> pd.DataFrame:
    melanoma = frame["label"].eq(MELANOMA).map({True: MELANOMA, False: OTHER})
    return one_per_lesion(frame).assign(melanoma=melanoma)


def _in_words(found: Difference, old: pd.DataFrame, new: pd.DataFrame) -> str:
    before, now = old[found.name].dropna(), new[found.name].dropna()
    name = NAMES.get(found.name, found.name)
    if found.name in SHIFT_OF_VALUES:
        medians = f"median {now.median():.0f} here, {before.median():.0f} in what it learned from"
        return f"{name}: {medians}"
    shares = pd.concat([each.value_counts(normalize=True) for each in (now, before)], axis=1)
    shares = shares.fillna(0).set_axis(["now", "before"], axis=1)
    most = str((shares["now"] - shares["before"]).abs().idxmax())
    here, there = (percent(float(shares[column][most])) for column in ("now", "before"))
    return f"{name}: {most} {here} here, {there} in what it learned from"
