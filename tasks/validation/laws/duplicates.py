"""Laws of duplicates: files that show the same image or picture."""

import pandas as pd

from tasks.figures import at_least, at_most, plural
from tasks.intake.looking_alike import are_copies, look_like_one_lesion
from tasks.lesions import image_id_from
from tasks.statistics.proportions import proportion
from tasks.validation.laws.law import Breach, Delivered, LawRow, alone

FEWEST_PAIRS = 30  # fewer pairs of known lesions say little about the search's precision


def duplicate_pixels(delivered: Delivered) -> Breach:
    """All but the first file, by name, of each set of identical pixels."""
    ordered = delivered.frame.sort_values("key")
    first = ordered.groupby("pixel_hash")["key"].transform("first")
    extra = ordered[(ordered["key"] != first) & ordered["pixel_hash"].notna()].index.sort_values()
    kept = first[extra]
    across = ordered.dropna(subset=["part", "pixel_hash"]).groupby("pixel_hash")["part"].nunique()
    shared = int((across > 1).sum())
    return Breach(
        "the same pixels as " + kept,
        alone(kept),
        [str(key) for key in ordered.loc[extra, "key"]],
        f"{plural(shared, 'pair')} of them in both Train and Test as delivered" if shared else "",
    )


DUPLICATE_PIXELS = LawRow(
    "duplicate_pixels",
    "No two files hold the same pixels. Counts files beyond the first.",
    severity="warning",
    consequence="the first by name kept, the others quarantined",
    check=duplicate_pixels,
    quarantines=True,
    spared_in_delivered_test=True,
)


def delivered_again(delivered: Delivered) -> Breach:
    """All but the largest file of each image id whose files hold different pixels."""
    frame = delivered.frame[delivered.frame["pixel_hash"].notna()]
    versions = frame.groupby("image_id")["pixel_hash"].transform("nunique")
    several = frame.assign(size=frame["width"] * frame["height"])[versions > 1]
    ordered = several.sort_values(["size", "key"], ascending=[False, True])
    kept = ordered.groupby("image_id")["key"].transform("first")
    extra = ordered[ordered["key"] != kept].index.sort_values()
    return Breach(
        "the same image as " + kept[extra],
        alone(kept[extra]),
        sorted(ordered["image_id"].unique()),
    )


DELIVERED_AGAIN = LawRow(
    "delivered_again",
    "No image id is delivered twice, with other pixels. Counts distinct image ids.",
    severity="warning",
    consequence="the largest kept, the others quarantined",
    check=delivered_again,
    quarantines=True,
    spared_in_delivered_test=True,
)


def near_duplicate(delivered: Delivered) -> Breach:
    """Pairs that show the same picture, but share neither pixels nor image id."""
    pairs, one, two = _ends(delivered, ~look_like_one_lesion(delivered.pairs))
    remark = _precision(one, two) + _between_labels(one, two) if len(pairs) else ""
    return Breach(pd.Series(dtype="str"), counted=_told(pairs), remark=remark)


def _ends(
    delivered: Delivered, which: pd.Series
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Some pairs of files of different pixels and image ids, and the rows of both files."""
    frame = delivered.frame.set_index("key", drop=False)
    pairs = delivered.pairs[which]
    pairs = pairs[pairs["first"].isin(frame.index) & pairs["second"].isin(frame.index)]
    one, two = frame.loc[pairs["first"]], frame.loc[pairs["second"]]
    new = one["pixel_hash"].to_numpy() != two["pixel_hash"].to_numpy()
    new &= one["image_id"].to_numpy() != two["image_id"].to_numpy()
    return pairs[new], one[new], two[new]


def _told(pairs: pd.DataFrame) -> list[tuple[str, str]]:
    return [(str(a), str(b)) for a, b in zip(pairs["first"], pairs["second"], strict=True)]


def _precision(one: pd.DataFrame, two: pd.DataFrame) -> str:
    """How many pairs of known lesions show one lesion, in words."""
    lesions = one["lesion_id"].to_numpy(), two["lesion_id"].to_numpy()
    known = pd.notna(lesions[0]) & pd.notna(lesions[1])
    same = proportion(int((lesions[0][known] == lesions[1][known]).sum()), int(known.sum()))
    if not same.n:
        return "of no pair are both lesions known, so the precision of the search cannot be told"
    return (
        f"of {plural(same.n, 'pair')} whose lesions are known, {same.successes} of one lesion: a "
        f"precision between {at_least(same.lower)} and {at_most(same.upper)} (exact 95 % interval)"
        + ("; too few pairs to say more" if same.n < FEWEST_PAIRS else "")
    )


def _between_labels(one: pd.DataFrame, two: pd.DataFrame) -> str:
    """How many pairs have two labels, in words."""
    labels = one["label"].to_numpy(), two["label"].to_numpy()
    differ = pd.notna(labels[0]) & pd.notna(labels[1]) & (labels[0] != labels[1])
    if not differ.any():
        return ""
    first = f"{one['image_id'].iloc[differ.argmax()]} and {two['image_id'].iloc[differ.argmax()]}"
    number = plural(int(differ.sum()), "pair")
    return f"; {number} under two labels should be looked at, such as {first}"


NEAR_DUPLICATE = LawRow(
    "near_duplicate",
    "No two files show the same picture, cropped, turned, mirrored, written on, recompressed or "
    "recoloured. Counts pairs of files.",
    severity="warning",
    consequence="kept, together on one side of the split",
    check=near_duplicate,
)


def same_lesion_by_look(delivered: Delivered) -> Breach:
    """Pairs whose skin has the same features, of which no table says that they show one lesion."""
    pairs, one, two = _ends(delivered, look_like_one_lesion(delivered.pairs))
    known = one["lesion_id"].to_numpy() == two["lesion_id"].to_numpy()
    remark = _precision(one, two) if len(pairs) else ""
    return Breach(pd.Series(dtype="str"), counted=_told(pairs[~known]), remark=remark)


SAME_LESION_BY_LOOK = LawRow(
    "same_lesion_by_look",
    "Of files that look like photographs of one lesion, or like a copy beyond recognition, a table "
    "says that they show one lesion. Counts pairs of files.",
    severity="information",
    consequence="kept, together on one side of the split",
    check=same_lesion_by_look,
)


def contradictory_copy(delivered: Delivered) -> Breach:
    """Copies, confirmed by their pixels, under two labels."""
    pairs, one, two = _ends(delivered, are_copies(delivered.pairs))
    labels = one["label"].to_numpy(), two["label"].to_numpy()
    differ = pd.notna(labels[0]) & pd.notna(labels[1]) & (labels[0] != labels[1])
    pairs = pairs[differ]
    against: dict[str, list[str]] = {}
    for a, b in _told(pairs):
        against.setdefault(a, []).append(b)
        against.setdefault(b, []).append(a)
    # The label of a judged image stands.
    held = delivered.standing.held if delivered.standing else ()
    frame = delivered.frame
    mine = frame[frame["key"].isin(list(against)) & ~frame.index.isin(list(held))]
    label = dict(zip(frame["key"], frame["label"], strict=True))
    reasons = [
        f"{row.label}, but a copy of {image_id_from(first)} under {label[first]}"
        for row in mine.itertuples()
        for first in sorted(against[str(row.key)])[:1]
    ]
    others = [tuple(sorted(against[key])) for key in mine["key"]]
    return Breach(
        pd.Series(reasons, mine.index, dtype="str"),
        pd.Series(others, mine.index, dtype="object"),
        _told(pairs),
    )


CONTRADICTORY_COPY = LawRow(
    "contradictory_copy",
    "No copy of an image, cropped, turned, recoloured or recompressed, stands under another label. "
    "Counts pairs of files.",
    severity="error",
    consequence="both files quarantined: which label is true cannot be known",
    check=contradictory_copy,
    quarantines=True,
    spared_in_delivered_test=True,
)


def derived_copy(delivered: Delivered) -> Breach:
    """Files whose name says that a program made them from another file."""
    derived = delivered.derived
    mine = derived[derived["first"].isin(delivered.frame["key"])]
    first = mine.iloc[0] if len(mine) else None
    remark = (
        ""
        if first is None
        else f"{first['first']} of {first['second']}; deliver the originals only: oversample draws "
        "copies, of training images alone"
    )
    return Breach(pd.Series(dtype="str"), counted=list(mine["first"]), remark=remark)


DERIVED_COPY = LawRow(
    "derived_copy",
    "No file is an augmented copy of another by its name (Augmentor, Roboflow, Keras, _flip, "
    "_aug_3). Counts files.",
    severity="warning",
    consequence="kept, together with the original on one side of the split",
    check=derived_copy,
)


def delivered_split_leaks(delivered: Delivered) -> Breach:
    """Images of the delivered test part that share an image, lesion or picture with Train."""
    frame = delivered.frame
    parts = frame["part"].str.casefold()
    test, train = frame[parts == "test"], frame[parts == "train"]
    leaks = pd.Series(False, index=test.index)
    for link in ("image_id", "pixel_hash", "lesion_id"):
        leaks |= test[link].isin(train[link].dropna())
    exact = int(leaks.sum())
    alike = delivered.pairs[~look_like_one_lesion(delivered.pairs)]
    alike = pd.concat([alike[["first", "second"]], delivered.derived], ignore_index=True)
    for here, there in (("first", "second"), ("second", "first")):
        near = alike.loc[alike[there].isin(train["key"]), here]
        leaks |= test["key"].isin(near)
    remark = f"of {len(test)} test images; {exact} share an image or lesion, the others a picture"
    return Breach(pd.Series(dtype="str"), counted=list(test.loc[leaks, "image_id"]), remark=remark)


DELIVERED_SPLIT_LEAKS = LawRow(
    "delivered_split_leaks",
    "No image of the delivered Test folder shares an image, a lesion or a near duplicate with "
    "the delivered Train folder. Counts test images.",
    severity="error",
    consequence="the delivered parts are not used: the split is made anew, by lesion",
    check=delivered_split_leaks,
)
