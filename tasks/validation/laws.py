"""The laws that true data obey, each a check that finds what breaks it.

A check takes the evidence and returns a `Breach`: which rows break the law, why, and what the
finding counts. It decides nothing; `tasks.validation.validate` applies the policy. A table tool
cannot check these, because each compares rows with other rows, with the archive or with the pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp

from tasks.config import Law
from tasks.figures import at_least, at_most, listed, percent, plural
from tasks.lesions import DIAGNOSES, MELANOMA, Diagnosis, archive_says
from tasks.records.validated import Example, Severity
from tasks.splitting.groups import groups_of
from tasks.statistics import proportion
from tasks.validation.changes import Previous
from tasks.validation.standing import IDENTITY, Standing

# A source that tells a class apart this well (sensitivity + specificity - 1, Youden 1950) is a
# shortcut that a network will take.
CONFOUNDED = 0.5
# A shift counts if chance does not explain it and it is not negligible: ten points, by which the
# share of any set of classes, or of all values up to some value, differs.
SHIFT_CHANCE = 0.001
SHIFT_EFFECT = 0.1
FEWEST_TO_COMPARE = 30  # lesions; the chi-squared distribution does not hold for fewer
SHIFT_OF_SHARES = ("label", "source", "sex")
SHIFT_OF_VALUES = ("width", "height", "red", "green", "blue", "age_years")


@dataclass(frozen=True)
class Evidence:
    """What the checks look at.

    Attributes:
        frame: Rows of the manifest that are still in question.
        pairs: Near duplicates, as keys ``first`` and ``second``.
        unexpected: For each key that broke the Great Expectations suite, how.
        unmatched: How many image ids in the tables have no image, and a few of them.
        classes: Labels that were delivered, whatever is left of them.
        minimum_groups: Fewest lesions of a learnable class.
        previous: The run whose data were accepted before, if there was one.
        standing: What was judged on, beside what is delivered now.
    """

    frame: pd.DataFrame
    pairs: pd.DataFrame
    unexpected: dict[str, str]
    unmatched: tuple[int, tuple[str, ...]]
    classes: tuple[str, ...]
    minimum_groups: int
    previous: Previous | None
    standing: Standing | None = None


@dataclass(frozen=True)
class Breach:
    """What breaks one law.

    Attributes:
        reasons: Why, for a person; indexed by the rows of the frame that break it.
        counterparts: Keys of the files that each of them contradicts, as a tuple; same index, or
            empty.
        counted: What the finding counts, see the law's description.
        remark: What more there is to say.
        count: Of what is counted, if `counted` holds only a few of them.
    """

    reasons: pd.Series
    counterparts: pd.Series = field(default_factory=lambda: pd.Series(dtype="object"))
    counted: Sequence[Example] = ()
    remark: str = ""
    count: int | None = None


@dataclass(frozen=True)
class Rule:
    """One law.

    Attributes:
        law: Its name.
        description: What it demands, and what its finding counts.
        severity: What a breach means for a model trained on the data.
        quarantines: Whether rows that break it are taken out, or only reported.
        consequence: What the pipeline does about a breach.
    """

    law: Law
    description: str
    severity: Severity
    quarantines: bool
    consequence: str
    check: Callable[[Evidence], Breach]


def _breach(frame: pd.DataFrame, broken: pd.Series, reason: "str | pd.Series") -> Breach:
    """All rows where `broken` is true, counted as files."""
    reasons = pd.Series(reason, index=frame.index, dtype="str")[broken.fillna(False).astype(bool)]
    return Breach(reasons, counted=[str(key) for key in frame.loc[reasons.index, "key"]])


def _refused(law: Law) -> Callable[[Evidence], Breach]:
    def check(evidence: Evidence) -> Breach:
        frame = evidence.frame
        return _breach(frame, frame["law"] == law, frame["reason"])

    return check


def schema(evidence: Evidence) -> Breach:
    reasons = evidence.frame["key"].map(evidence.unexpected)
    return _breach(evidence.frame, reasons.notna(), reasons)


def contradicts_judged(evidence: Evidence) -> Breach:
    """Files that came later than a judged one of the same id, pixels or lesion, and tables."""
    stands = evidence.standing
    if stands is None:
        return Breach(pd.Series(dtype="str"))
    here = stands.opposed.index.intersection(evidence.frame.index)
    some = listed(list(stands.tables), 3)
    return Breach(
        stands.opposed[here],
        _alone(stands.judged[here]),
        [*(str(key) for key in evidence.frame.loc[here, "key"]), *stands.tables],
        f"of {plural(len(stands.tables), 'judged image')} a folder or table says something else "
        f"now, such as {some}"
        if some
        else "",
    )


def unknown_label(evidence: Evidence) -> Breach:
    frame = evidence.frame
    folders = "the folder " + frame["folder"].map(repr) + " is none of the nine classes"
    told = frame["archive_diagnosis"].dropna()
    coarse = told.map(lambda codes: " or ".join(archive_says(codes) or ("no class of ours",)))
    said = " and the archive says " + _in_words(told) + ", which may be " + coarse.astype("str")
    return _breach(frame, frame["label"].isna(), folders + said.reindex(frame.index).fillna(""))


def _in_words(told: pd.Series) -> pd.Series:
    """Tuples of `Code` or `Contradiction`, for a person."""
    return told.map(lambda each: "; ".join(map(str, each))).astype("str")


def contradictory_label(evidence: Evidence) -> Breach:
    """The same image, by its id or by its pixels, under two labels."""
    frame = evidence.frame
    reasons, counterparts = _conflicts(frame, ("image_id", "image id"), ("pixel_hash", "pixels"))
    ids = sorted(frame.loc[reasons.index, "image_id"].unique())
    return Breach(reasons, counterparts, ids)


def lesion_under_two_labels(evidence: Evidence) -> Breach:
    frame = evidence.frame
    reasons, counterparts = _conflicts(frame, ("lesion_id", "lesion"))
    return Breach(reasons, counterparts, sorted(frame.loc[reasons.index, "lesion_id"].unique()))


def _conflicts(
    frame: pd.DataFrame, *same: tuple[str, str], differ: str = "label"
) -> tuple[pd.Series, pd.Series]:
    """Rows that share a value of a column but differ in another, and whom each contradicts."""
    reasons = pd.Series(index=frame.index, dtype="str")
    counterparts: dict[Any, tuple[str, ...]] = {}
    for column, words in same:
        several = frame.groupby(column)[differ].transform("nunique")
        for _, rows in frame[(several > 1) & reasons.isna()].groupby(column):
            names = ", ".join(sorted(rows[differ].dropna().unique()))
            reasons[rows.index] = f"the same {words} under {names}"
            for index, name in rows[differ].items():
                counterparts[index] = tuple(rows.loc[rows[differ] != name, "key"])
    broken = reasons.dropna()
    told = [counterparts[index] for index in broken.index]
    return broken, pd.Series(told, index=broken.index, dtype="object")


def label_disagrees_with_archive(evidence: Evidence) -> Breach:
    """The label is none of the classes that the archives' codes leave possible."""
    frame = evidence.frame[evidence.frame["label"].notna()]
    said = frame["archive_diagnosis"].dropna().map(archive_says).dropna()
    wrong = said[[frame.at[index, "label"] not in what for index, what in said.items()]]
    told = frame.loc[wrong.index, "archive_diagnosis"]
    labels = frame.loc[wrong.index, "label"]
    reasons = "labelled " + labels + ", but the archive says " + _in_words(told)
    return Breach(
        reasons.astype("str"), counted=[str(key) for key in frame.loc[wrong.index, "key"]]
    )


def lesion_of_two_patients(evidence: Evidence) -> Breach:
    frame = evidence.frame.dropna(subset=["lesion_id", "patient_id"])
    reasons, counterparts = _conflicts(frame, ("lesion_id", "lesion"), differ="patient_id")
    return Breach(reasons, counterparts, sorted(frame.loc[reasons.index, "lesion_id"].unique()))


def contradictory_metadata(evidence: Evidence) -> Breach:
    """Tables that say different things of one image. Whose lesion it shows must be sure; where
    only age or sex are in doubt, it is reported and kept."""
    frame = evidence.frame[evidence.frame["contradiction"].notna()]
    words = _in_words(frame["contradiction"])
    doubtful = [any(each.about in IDENTITY for each in told) for told in frame["contradiction"]]
    return Breach(
        "the tables contradict each other: " + words[doubtful],
        counted=sorted(frame["image_id"].unique()),
        remark="; ".join(
            f"{image_id}: {what}"
            for image_id, what in sorted(set(zip(frame["image_id"], words, strict=True)))[:3]
        ),
    )


def duplicate_pixels(evidence: Evidence) -> Breach:
    """All but the first file, by name, of each set of identical pixels."""
    ordered = evidence.frame.sort_values("key")
    first = ordered.groupby("pixel_hash")["key"].transform("first")
    extra = ordered[(ordered["key"] != first) & ordered["pixel_hash"].notna()].index.sort_values()
    kept = first[extra]
    across = ordered.dropna(subset=["part", "pixel_hash"]).groupby("pixel_hash")["part"].nunique()
    shared = int((across > 1).sum())
    return Breach(
        "the same pixels as " + kept,
        _alone(kept),
        [str(key) for key in ordered.loc[extra, "key"]],
        f"{plural(shared, 'pair')} of them in both Train and Test as delivered" if shared else "",
    )


def _alone(keys: pd.Series) -> pd.Series:
    """One counterpart for each row."""
    return pd.Series([(str(key),) for key in keys], index=keys.index, dtype="object")


def delivered_again(evidence: Evidence) -> Breach:
    """All but the largest file of each image id whose files hold different pixels."""
    frame = evidence.frame[evidence.frame["pixel_hash"].notna()]
    versions = frame.groupby("image_id")["pixel_hash"].transform("nunique")
    several = frame.assign(size=frame["width"] * frame["height"])[versions > 1]
    ordered = several.sort_values(["size", "key"], ascending=[False, True])
    kept = ordered.groupby("image_id")["key"].transform("first")
    extra = ordered[ordered["key"] != kept].index.sort_values()
    return Breach(
        "the same image as " + kept[extra],
        _alone(kept[extra]),
        sorted(ordered["image_id"].unique()),
    )


def near_duplicate(evidence: Evidence) -> Breach:
    """Pairs that are neither the same pixels nor the same image id, but show the same picture."""
    frame = evidence.frame.set_index("key")
    pairs = evidence.pairs[
        evidence.pairs["first"].isin(frame.index) & evidence.pairs["second"].isin(frame.index)
    ]
    keys = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    one, two = frame.loc[keys[0]], frame.loc[keys[1]]
    new = one["pixel_hash"].to_numpy() != two["pixel_hash"].to_numpy()
    new &= one["image_id"].to_numpy() != two["image_id"].to_numpy()
    pairs, one, two = pairs[new], one[new], two[new]
    told = [(str(a), str(b)) for a, b in zip(pairs["first"], pairs["second"], strict=True)]
    remark = _precision(one, two) + _between_labels(one, two) if told else ""
    return Breach(pd.Series(dtype="str"), counted=told, remark=remark)


def _precision(one: pd.DataFrame, two: pd.DataFrame) -> str:
    """How many of the pairs are of one lesion, as far as that is known, in words."""
    lesions = one["lesion_id"].to_numpy(), two["lesion_id"].to_numpy()
    known = pd.notna(lesions[0]) & pd.notna(lesions[1])
    same = proportion(int((lesions[0][known] == lesions[1][known]).sum()), int(known.sum()))
    if not same.n:
        return "of no pair are both lesions known, so the precision of the search cannot be told"
    return (
        f"of {plural(same.n, 'pair')} whose lesions are known, {same.successes} of one lesion: a "
        f"precision between {at_least(same.lower)} and {at_most(same.upper)} (exact 95 % interval)"
        + ("; too few pairs to say more" if same.n < FEWEST_TO_COMPARE else "")
    )


def _between_labels(one: pd.DataFrame, two: pd.DataFrame) -> str:
    """How many of the pairs stand under two labels, in words."""
    labels = one["label"].to_numpy(), two["label"].to_numpy()
    differ = pd.notna(labels[0]) & pd.notna(labels[1]) & (labels[0] != labels[1])
    if not differ.any():
        return ""
    first = f"{one['image_id'].iloc[differ.argmax()]} and {two['image_id'].iloc[differ.argmax()]}"
    number = plural(int(differ.sum()), "pair")
    return f"; {number} under two labels should be looked at, such as {first}"


def delivered_split_leaks(evidence: Evidence) -> Breach:
    """Images of the delivered test part that share an image, lesion or picture with Train."""
    frame = evidence.frame
    parts = frame["part"].str.casefold()
    test, train = frame[parts == "test"], frame[parts == "train"]
    leaks = pd.Series(False, index=test.index)
    for link in ("image_id", "pixel_hash", "lesion_id"):
        leaks |= test[link].isin(train[link].dropna())
    exact = int(leaks.sum())
    for here, there in (("first", "second"), ("second", "first")):
        near = evidence.pairs.loc[evidence.pairs[there].isin(train["key"]), here]
        leaks |= test["key"].isin(near)
    remark = f"of {len(test)} test images; {exact} share an image or lesion, the others a picture"
    return Breach(pd.Series(dtype="str"), counted=list(test.loc[leaks, "image_id"]), remark=remark)


def source_confounded(evidence: Evidence) -> Breach:
    """Classes that their source alone tells from all others."""
    frame = evidence.frame.dropna(subset=["label"])
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
    """The best rule of the kind "it comes from one of these sources".

    Returns:
        The rule in words, its sensitivity and its specificity, 0 to 1.
    """
    is_it = frame["label"] == name
    table = pd.crosstab(frame["source"], is_it).reindex(columns=[False, True], fill_value=0)
    if len(table) < 2 or not table[True].sum() or not table[False].sum():
        return "no rule: all images are of one source", 0.0, 1.0
    shares = table / table.sum()
    # By Neyman and Pearson the best rules take the sources in the order of this ratio.
    order = (shares[True] / shares[False].clip(lower=1e-12)).sort_values(ascending=False).index
    gains = (shares.loc[order, True] - shares.loc[order, False]).cumsum().to_numpy()
    taken = list(order[: int(np.argmax(gains[:-1])) + 1])
    left = [source for source in order if source not in taken]
    words = " or ".join(taken) if len(taken) <= len(left) else "not " + " or ".join(left)
    found = float(shares.loc[taken, True].sum())
    return words, found, float(1 - shares.loc[taken, False].sum())


def class_not_learnable(evidence: Evidence) -> Breach:
    frame = evidence.frame
    lesions = groups_of(frame).groupby(frame["label"]).nunique()
    left_of = {name: int(lesions.get(name, 0)) for name in evidence.classes}
    scarce = {name: count for name, count in left_of.items() if count < evidence.minimum_groups}
    rows = frame[frame["label"].isin(list(scarce))]
    left = rows["label"].map(scarce).astype("str")
    return Breach(
        "only " + left + f" lesions of this class are left, fewer than {evidence.minimum_groups}",
        counted=sorted(scarce),
        remark=", ".join(
            f"{name} has {plural(count, 'lesion')} left" for name, count in scarce.items()
        ),
    )


def metadata_row_without_image(evidence: Evidence) -> Breach:
    count, some = evidence.unmatched
    return Breach(pd.Series(dtype="str"), counted=list(some), count=count)


def image_without_metadata(evidence: Evidence) -> Breach:
    frame = evidence.frame
    told = ["lesion_id", "patient_id", "age_years", "sex", "site", "archive_diagnosis"]
    silent = frame[frame[told].isna().all(axis=1)]
    return Breach(pd.Series(dtype="str"), counted=sorted(silent["image_id"].unique()))


# Shift against the previous run -----------------------------------------------------------------


def distribution_shift(evidence: Evidence) -> Breach:
    """Figures in which the new files differ from the accepted data of the run before by more than
    chance, and by enough to matter.

    Each lesion counts once, because its images are not independent. Shares are compared by
    Pearson's chi-squared test and their total variation distance, values by the two-sample
    Kolmogorov-Smirnov test and its statistic; both distances are a difference of probabilities,
    0 to 1, whatever the sizes. So a large delivery alarms no sooner than a small one.
    """
    previous = evidence.previous
    if previous is None:
        return Breach(pd.Series(dtype="str"), remark="there is no earlier run to compare with")
    new = _one_per_lesion(evidence.frame[~evidence.frame["key"].isin(previous.ids.index)])
    old = _one_per_lesion(previous.accepted)
    against = f"of the new files against what run {previous.run} accepted"
    if len(new) < FEWEST_TO_COMPARE:
        return Breach(
            pd.Series(dtype="str"),
            remark=f"not compared: {len(new)} new lesions, fewer than {FEWEST_TO_COMPARE}",
        )
    shares = {name: _shares_differ(old[name], new[name]) for name in SHIFT_OF_SHARES}
    values = {name: _values_differ(old[name], new[name]) for name in SHIFT_OF_VALUES}
    counted = [
        f"{name} (difference {effect:.2f}, p {'< 1e-99' if chance < 1e-99 else f'= {chance:.1g}'})"
        for name, (effect, chance) in (shares | values).items()
        if chance < SHIFT_CHANCE and effect >= SHIFT_EFFECT
    ]
    return Breach(pd.Series(dtype="str"), counted=counted, remark=f"{len(new)} lesions {against}")


def _one_per_lesion(frame: pd.DataFrame) -> pd.DataFrame:
    lesions = frame["lesion_id"].fillna(frame["image_id"])
    return frame[~lesions.duplicated()]


def _shares_differ(old: pd.Series, new: pd.Series) -> tuple[float, float]:
    """Total variation distance of two distributions over names, 0 to 1, and its chance."""
    table = pd.concat([old.value_counts(), new.value_counts()], axis=1).fillna(0).to_numpy()
    if len(table) < 2 or (table.sum(axis=0) < FEWEST_TO_COMPARE).any():
        return 0.0, 1.0
    shares = table / table.sum(axis=0)
    effect = float(np.abs(shares[:, 0] - shares[:, 1]).sum() / 2)
    return effect, float(chi2_contingency(table).pvalue)


def _values_differ(old: pd.Series, new: pd.Series) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of two samples, 0 to 1, and its chance."""
    samples = [each.dropna().to_numpy(float) for each in (old, new)]
    if min(map(len, samples)) < FEWEST_TO_COMPARE:
        return 0.0, 1.0
    test = ks_2samp(*samples, method="asymp")
    return float(test.statistic), float(test.pvalue)


# The table --------------------------------------------------------------------------------------

RULES: tuple[Rule, ...] = (
    Rule(
        "undecodable",
        "Every file can be decoded to pixels. Counts files.",
        "error", True, "quarantined", _refused("undecodable"),
    ),
    Rule(
        "too_large",
        "No file is larger than maximum_megapixels. Counts files.",
        "error", True, "quarantined", _refused("too_large"),
    ),
    Rule(
        "unsafe_name",
        "No file's name leaves its folder. Counts files.",
        "error", True, "quarantined", _refused("unsafe_name"),
    ),
    Rule(
        "schema",
        "Every row of the manifest meets the Great Expectations suite. Counts files.",
        "error", True, "quarantined", schema,
    ),
    Rule(
        "contradicts_judged",
        "Nothing that is delivered later contradicts an image or lesion that a model was judged "
        "on. Counts files, and judged images of which tables or folders say otherwise.",
        "error", True,
        "the later files quarantined, the later tables not believed: what was judged stands until "
        "a named person supersedes it (python -m tasks supersede)",
        contradicts_judged,
    ),
    Rule(
        "unknown_label",
        "Every file lies in a folder named after one of the nine classes, or a table names its "
        "diagnosis exactly. Counts files.",
        "error", True, "quarantined", unknown_label,
    ),
    Rule(
        "contradictory_label",
        "No image, by its id or its pixels, stands under two labels. Counts distinct image ids.",
        "error", True, "all files of these images quarantined: which label is true cannot be known",
        contradictory_label,
    ),
    Rule(
        "label_disagrees_with_archive",
        "No label is ruled out by the archive's own diagnosis, read through its coarser codes. "
        "Counts files.",
        "error", True, "quarantined", label_disagrees_with_archive,
    ),
    Rule(
        "lesion_under_two_labels",
        "No lesion stands under two labels. Counts lesions.",
        "error", True, "all files of these lesions quarantined", lesion_under_two_labels,
    ),
    Rule(
        "lesion_of_two_patients",
        "No lesion is said to be of two patients. Counts lesions.",
        "error", True, "all files of these lesions quarantined", lesion_of_two_patients,
    ),
    Rule(
        "contradictory_metadata",
        "No two rows of metadata tables contradict each other about the lesion, patient, age or "
        "sex of an image. Counts distinct image ids.",
        "warning", True, "images of doubtful lesion or patient quarantined, the others kept",
        contradictory_metadata,
    ),
    Rule(
        "duplicate_pixels",
        "No two files hold the same pixels. Counts files beyond the first.",
        "warning", True, "the first by name kept, the others quarantined", duplicate_pixels,
    ),
    Rule(
        "delivered_again",
        "No image id is delivered twice, with other pixels. Counts distinct image ids.",
        "warning", True, "the largest kept, the others quarantined", delivered_again,
    ),
    Rule(
        "near_duplicate",
        "No two files show the same picture, turned, mirrored, recompressed or recoloured. Counts "
        "pairs of files.",
        "warning", False, "kept, together on one side of the split", near_duplicate,
    ),
    Rule(
        "delivered_split_leaks",
        "No image of the delivered Test folder shares an image, a lesion or a near duplicate with "
        "the delivered Train folder. Counts test images.",
        "error", False, "the delivered parts are not used: the split is made anew, by lesion",
        delivered_split_leaks,
    ),
    Rule(
        "source_confounded",
        "No class can be told from the others by its source alone. Counts classes.",
        "warning", False, "kept; figures within one source must be read beside the overall ones",
        source_confounded,
    ),
    Rule(
        "class_not_learnable",
        "Every class that was delivered has at least minimum_groups distinct lesions left. Counts "
        "classes.",
        "warning", True, "left out of training and of the model's answers", class_not_learnable,
    ),
    Rule(
        "metadata_row_without_image",
        "Every row of a metadata table has its image. Counts image ids.",
        "information", False, "these rows are not used", metadata_row_without_image,
    ),
    Rule(
        "image_without_metadata",
        "Every image has a row in a metadata table. Counts image ids.",
        "information", False, "kept; which of them show the same lesion cannot be known",
        image_without_metadata,
    ),
    Rule(
        "distribution_shift",
        "Classes, sources, sizes, colours, age and sex of the new files are distributed as in the "
        "data accepted before. Counts figures that are not.",
        "warning", False, "kept; the cause should be known before the model is trusted",
        distribution_shift,
    ),
)  # fmt: skip
