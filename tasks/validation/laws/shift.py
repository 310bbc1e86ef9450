"""The law of shift: compare new files with the data that the run before accepted."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp

from tasks.validation.laws.law import Breach, Delivered, LawRow

# A shift counts if chance does not explain it and it is at least ten points: the share of a set of
# classes, or of the values up to some value, differs by so much.
SHIFT_CHANCE = 0.001
SHIFT_EFFECT = 0.1
FEWEST_TO_COMPARE = 30  # lesions; the chi-squared distribution does not hold for fewer
SHIFT_OF_SHARES = ("label", "source", "sex")
SHIFT_OF_VALUES = ("width", "height", "red", "green", "blue", "age_years")


def distribution_shift(delivered: Delivered) -> Breach:
    """Figures of the new files that differ from the data accepted before by more than chance, and
    by enough to matter.

    Each lesion counts once, because its images are not independent. Shares are compared by
    Pearson's chi-squared test and their total variation distance; values by the two-sample
    Kolmogorov-Smirnov test and its statistic. Both distances are differences of probabilities, 0 to
    1, that do not grow with the number of lesions. So a large delivery alarms no sooner than a
    small one.
    """
    previous = delivered.previous
    if previous is None:
        return Breach(pd.Series(dtype="str"), remark="there is no earlier run to compare with")
    new = one_per_lesion(delivered.frame[~delivered.frame["key"].isin(previous.ids.index)])
    old = one_per_lesion(previous.accepted)
    against = f"of the new files against what run {previous.run} accepted"
    if len(new) < FEWEST_TO_COMPARE:
        return Breach(
            pd.Series(dtype="str"),
            remark=f"not compared: {len(new)} new lesions, fewer than {FEWEST_TO_COMPARE}",
        )
    counted = [
        f"{each.name} (difference {each.effect:.2f}, {each.odds})"
        for each in differences(old, new)
        if each.counts
    ]
    return Breach(pd.Series(dtype="str"), counted=counted, remark=f"{len(new)} lesions {against}")


@dataclass(frozen=True)
class Difference:
    """How one figure differs between two sets of lesions.

    Attributes:
        name: Its column.
        effect: Difference of probabilities, 0 to 1.
        chance: P-value, 0 to 1.
    """

    name: str
    effect: float
    chance: float

    @property
    def counts(self) -> bool:
        """Whether it is more than chance, and enough to matter."""
        return self.chance < SHIFT_CHANCE and self.effect >= SHIFT_EFFECT

    @property
    def odds(self) -> str:
        return f"p {'< 1e-99' if self.chance < 1e-99 else f'= {self.chance:.1g}'}"


def differences(
    old: pd.DataFrame,
    new: pd.DataFrame,
    shares: Iterable[str] = SHIFT_OF_SHARES,
    values: Iterable[str] = SHIFT_OF_VALUES,
) -> list[Difference]:
    """How each figure differs that stands in both tables, see `distribution_shift`.

    Args:
        old, new: One row for each lesion, see `one_per_lesion`.
        shares: Columns of names.
        values: Columns of numbers.
    """
    return [
        Difference(name, *differ(old[name], new[name]))
        for names, differ in ((shares, _shares_differ), (values, _values_differ))
        for name in names
        if name in old and name in new
    ]


def one_per_lesion(frame: pd.DataFrame) -> pd.DataFrame:
    """The first row of each lesion, of a table with ``lesion_id`` and ``image_id``."""
    lesions = frame["lesion_id"].fillna(frame["image_id"])
    return frame[~lesions.duplicated()]


def _shares_differ(old: pd.Series, new: pd.Series) -> tuple[float, float]:
    """Total variation distance of two distributions over names, 0 to 1, and the p-value."""
    table = pd.concat([old.value_counts(), new.value_counts()], axis=1).fillna(0).to_numpy()
    if len(table) < 2 or (table.sum(axis=0) < FEWEST_TO_COMPARE).any():
        return 0.0, 1.0
    shares = table / table.sum(axis=0)
    effect = float(np.abs(shares[:, 0] - shares[:, 1]).sum() / 2)
    return effect, float(chi2_contingency(table).pvalue)


def _values_differ(old: pd.Series, new: pd.Series) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of two samples, 0 to 1, and the p-value."""
    samples = [each.dropna().to_numpy(float) for each in (old, new)]
    if min(map(len, samples)) < FEWEST_TO_COMPARE:
        return 0.0, 1.0
    test = ks_2samp(*samples, method="asymp")
    return float(test.statistic), float(test.pvalue)


DISTRIBUTION_SHIFT = LawRow(
    "distribution_shift",
    "Classes, sources, sizes, colours, age and sex of the new files are distributed as in the "
    "data accepted before. Counts figures that are not.",
    severity="warning",
    consequence="kept; the cause should be known before the model is trusted",
    check=distribution_shift,
    on_accepted=True,
)
