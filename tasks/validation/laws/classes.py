"""Laws of classes: a network can learn each class, and must learn it from the lesion."""

import numpy as np
import pandas as pd

from tasks.figures import percent, plural
from tasks.lesions import DIAGNOSES, MELANOMA, Diagnosis
from tasks.splitting.groups import groups_of
from tasks.validation.laws.law import Breach, Delivered, LawRow

# A network will use the source as a shortcut if it tells a class apart this well (Youden's index,
# sensitivity + specificity - 1, 1950).
CONFOUNDED = 0.5


def source_confounded(delivered: Delivered) -> Breach:
    """Classes that the source of the image alone tells apart from all others."""
    frame = delivered.frame.dropna(subset=["label"])
    rules = {name: source_rule(frame, name) for name in DIAGNOSES if (frame["label"] == name).any()}
    counted = [
        f"{name}: {words}" for name, (words, found, spared) in rules.items()
        if found + spared - 1 >= CONFOUNDED
    ]  # fmt: skip
    remark = ""
    if MELANOMA in rules:
        words, found, spared = rules[MELANOMA]
        remark = (
            f"for melanoma the best rule that looks at the source alone is '{words}': sensitivity "
            f"{percent(found, 1)}, specificity {percent(spared, 1)}"
        )
    return Breach(pd.Series(dtype="str"), counted=counted, remark=remark)


def source_rule(frame: pd.DataFrame, name: Diagnosis) -> tuple[str, float, float]:
    """The best rule of the kind "the image comes from one of these sources".

    Returns:
        The rule in words, its sensitivity and its specificity, 0 to 1.
    """
    is_it = frame["label"] == name
    table = pd.crosstab(frame["source"], is_it).reindex(columns=[False, True], fill_value=0)
    if len(table) < 2 or not table[True].sum() or not table[False].sum():
        return "no rule: all images are of one source", 0.0, 1.0
    shares = table / table.sum()
    # By the lemma of Neyman and Pearson, the best rules take the sources in order of this ratio.
    order = (shares[True] / shares[False].clip(lower=1e-12)).sort_values(ascending=False).index
    gains = (shares.loc[order, True] - shares.loc[order, False]).cumsum().to_numpy()
    taken = list(order[: int(np.argmax(gains[:-1])) + 1])
    left = [source for source in order if source not in taken]
    words = " or ".join(taken) if len(taken) <= len(left) else "not " + " or ".join(left)
    found = float(shares.loc[taken, True].sum())
    return words, found, float(1 - shares.loc[taken, False].sum())


SOURCE_CONFOUNDED = LawRow(
    "source_confounded",
    "No class can be told from the others by its source alone. Counts classes.",
    severity="warning",
    consequence="kept; figures within one source must be read beside the overall ones",
    check=source_confounded,
)


def class_not_learnable(delivered: Delivered) -> Breach:
    frame = delivered.frame
    lesions = groups_of(frame).groupby(frame["label"]).nunique()
    left_of = {name: int(lesions.get(name, 0)) for name in delivered.classes}
    scarce = {name: count for name, count in left_of.items() if count < delivered.minimum_groups}
    rows = frame[frame["label"].isin(list(scarce))]
    left = rows["label"].map(scarce).astype("str")
    return Breach(
        "only " + left + f" lesions of this class are left, fewer than {delivered.minimum_groups}",
        counted=sorted(scarce),
        remark=", ".join(
            f"{name} has {plural(count, 'lesion')} left" for name, count in scarce.items()
        ),
    )


CLASS_NOT_LEARNABLE = LawRow(
    "class_not_learnable",
    "Every class that was delivered has at least minimum_groups distinct lesions left. Counts "
    "classes.",
    severity="warning",
    consequence="left out of training and of the model's answers",
    check=class_not_learnable,
    quarantines=True,
    on_accepted=True,
)
