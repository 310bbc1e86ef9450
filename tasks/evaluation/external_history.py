"""External sets as they are, and as models were judged on them before.

Nobody gains by changing a set after a look. An image that left counts as a miss. An image whose
label or lesion changed is judged both ways, as it is and as it was first; the worse counts. Images
are recognized though files, ids or the name of the set are others now, see
`tasks.splitting.recognized`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks.engine.judged import Judged
from tasks.engine.ledger import Chain
from tasks.evaluation.comparison import COLUMN, STANDING
from tasks.lesions import MELANOMA, OTHER
from tasks.records.evaluated import Evaluated
from tasks.records.verdict import Departed, Relabelled
from tasks.splitting.looks import SAME_TEST_PART, looks_of
from tasks.splitting.recognized import matches


@dataclass(frozen=True)
class Seen:
    """An image at the first look of a model, and the number of this look."""

    look: int
    image: Judged


@dataclass(frozen=True)
class Before:
    """The predictions on a set.

    Attributes:
        rows: As they are, with each image that left the set as wrong as can be; None without one.
        as_judged: The same, under the labels and in the lesions of the first look at each image.
        departed: The images that left.
        relabelled: The images whose label or lesion is another one in `as_judged`.
    """

    rows: pd.DataFrame | None
    as_judged: pd.DataFrame | None
    departed: tuple[Departed, ...] = ()
    relabelled: tuple[Relabelled, ...] = ()


def before_of(
    evaluated: Evaluated, sets: Mapping[str, pd.DataFrame], chain: Chain
) -> dict[str, Before]:
    """Each external set that a model gave answers on, by its name.

    Args:
        evaluated: Names the sets, and the classes of the model.
        sets: Predictions of each set.
        chain: The ledger.
    """
    judged = _judged(chain)
    named = [each.name for each in evaluated.external if each.name in sets]
    gone = {name: _gone(judged.get(name, []), sets[name], one_place=True) for name in named}
    present = {each.name for each in evaluated.external}
    for name in sorted(judged.keys() - present):
        heir, lost = _continued(judged[name], {each: sets[each] for each in named})
        if heir:
            gone[heir] = [*gone[heir], *lost]
    found = {}
    for name in named:
        rows = _with_misses(sets[name], gone[name], evaluated)
        then, told = _as_judged(name, rows, judged)
        departed = tuple(
            Departed(image_id=each.image_id, lesion=each.lesion, label=each.label)
            for each in gone[name]
        )
        found[name] = Before(rows, then, departed, told)
    return found


def _judged(chain: Chain) -> dict[str, list[Seen]]:
    """The images of each external set that models were judged on, each as it was first."""
    found: dict[str, dict[str, Seen]] = {}
    for number, look in enumerate(looks_of(chain)):
        if look.of_set:
            images = found.setdefault(look.of_set, {})
            for image in look.images:
                images.setdefault(image.image_id, Seen(number, image))
    return {name: [images[each] for each in sorted(images)] for name, images in found.items()}


def _gone(judged: list[Seen], rows: pd.DataFrame, *, one_place: bool) -> list[Judged]:
    """The judged images that are not among these rows. Another picture under the id of a judged one
    does not stand for it."""
    images = [each.image for each in judged]
    same = matches(rows, images, one_place=one_place)
    here = set(same.loc[~same["other"], "image"])
    return [each for n, each in enumerate(images) if n not in here]


def _continued(
    judged: list[Seen], sets: Mapping[str, pd.DataFrame]
) -> tuple[str | None, list[Judged]]:
    """The set in which a set goes on that is gone, by its images, and the images that it lost; None
    if less than half of its images are in the sets of today."""
    missing = {name: _gone(judged, rows, one_place=False) for name, rows in sets.items()}
    ids = [{each.image_id for each in lost} for lost in missing.values()]
    lost = set.intersection(*ids) if ids else set()
    if not judged or not ids or len(judged) - len(lost) < SAME_TEST_PART * len(judged):
        return None, []
    heir = min(missing, key=lambda name: (len(missing[name]), name))
    return heir, [each.image for each in judged if each.image.image_id in lost]


def _with_misses(rows: pd.DataFrame, gone: list[Judged], evaluated: Evaluated) -> pd.DataFrame:
    """The predictions on a set, with each image that left it as wrong as can be."""
    missed, there = [], set(rows["image_id"])
    for each in gone:
        wrong = next(name for name in evaluated.classes if name != each.label)
        answer = wrong if each.label == MELANOMA else MELANOMA
        row: dict[str, object] = dict.fromkeys(rows.columns)
        # Another picture under its id must not speak for the lesion.
        lesion = f"{each.lesion}, gone" if each.image_id in there else each.lesion
        row |= {"image_id": each.image_id, "lesion": lesion, "label": each.label}
        row |= {"source": "unknown", "pixel_hash": each.pixels}
        row |= {name: float(name == answer) for name in evaluated.classes}
        for other in {COLUMN, STANDING} & set(rows):  # these have the benefit of the doubt
            row[other] = float(each.label == MELANOMA)
        missed.append(row)
    return pd.concat([rows, pd.DataFrame(missed)], ignore_index=True) if missed else rows


def _as_judged(
    name: str, rows: pd.DataFrame, judged: Mapping[str, list[Seen]]
) -> tuple[pd.DataFrame, tuple[Relabelled, ...]]:
    """The predictions under the labels and in the lesions of the first look at each image, and the
    images for which this makes a difference."""
    own = _first(rows, judged.get(name, []), one_place=True)
    others = [each for other in sorted(judged) if other != name for each in judged[other]]
    first = own | {
        row: seen
        for row, seen in _first(rows, others, one_place=False).items()
        if row not in own or seen.look < own[row].look
    }
    turned = {
        rows.at[row, "lesion"]: MELANOMA if seen.image.label == MELANOMA else OTHER
        for row, seen in first.items()
        if (seen.image.label == MELANOMA) != (rows.at[row, "label"] == MELANOMA)
    }
    labels = rows["lesion"].map(turned)
    then = rows.assign(label=labels.where(labels.notna(), rows["label"]).astype("str"))
    lesions = pd.Series({row: seen.image.lesion for row, seen in own.items()}, dtype="str")
    then["lesion"] = lesions.reindex(rows.index).fillna(rows["lesion"])
    # An easier new image must not raise the mean of a judged lesion.
    then = then[then.index.isin(lesions.index) | ~then["lesion"].isin(lesions)]
    moved = _moved(rows, lesions)
    told = [
        Relabelled(
            name=name,
            image_id=str(rows.at[row, "image_id"]),
            judged_as=first[row].image.label if row in first else str(then.at[row, "label"]),
            label=str(rows.at[row, "label"]),
            moved=row in moved,
        )
        for row in then.index
        if row in moved or rows.at[row, "lesion"] in turned
    ]
    return then.reset_index(drop=True), tuple(told)


def _first(rows: pd.DataFrame, judged: list[Seen], *, one_place: bool) -> dict[Any, Seen]:
    """The first look at the picture that each row shows, by the label of the row."""
    same = matches(rows, [each.image for each in judged], one_place=one_place)
    sure = same[~same["other"]]
    found: dict[Any, Seen] = {}
    for row, n in zip(rows.index[sure["row"]], sure["image"], strict=True):
        seen = judged[n]
        if row not in found or seen.look < found[row].look:
            found[row] = seen
    return found


def _moved(rows: pd.DataFrame, lesions: pd.Series) -> set[Any]:
    """The rows that are of one lesion with other judged images now than at the first look."""
    pairs = pd.DataFrame({"now": rows["lesion"].reindex(lesions.index), "then": lesions})
    torn = pairs.groupby("then")["now"].transform("nunique") > 1
    joined = pairs.groupby("now")["then"].transform("nunique") > 1
    return set(pairs.index[torn | joined])
