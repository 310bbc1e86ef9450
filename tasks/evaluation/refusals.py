"""Fit the judge of images of a run, and count what it refuses."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.engine.run import Run
from tasks.evaluation.answerable import Answerable
from tasks.evaluation.fit_answerable import ALLOWED, FEWEST, MOST, fit, material_of
from tasks.evaluation.refusal_kinds import PHOTOGRAPHS, WITHOUT_IMAGES, Kind, kinds_of
from tasks.evaluation.unsound import UNSOUND
from tasks.figures import percent
from tasks.intake.manifest import pixels_of, read_parquet
from tasks.lesions import MELANOMA
from tasks.records.evaluated import External
from tasks.records.record import sha256
from tasks.records.refusals import Answered, Ground, Refusals, RefusedKind
from tasks.statistics.proportions import lower_bound, proportion

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

REFUSED = "refused"  # column of predictions: the grounds of each image; empty: it can be judged
JUDGE = "images.judge"  # an NPZ
BETWEEN = "; "  # between two grounds


@dataclass(frozen=True)
class Fitted:
    """The judge of images of a run, and the number of images of the training part behind it."""

    judge: Answerable
    learned_from: int


def judge_of(run: Run, rows: pd.DataFrame) -> Fitted | None:
    """The judge of images of a run.

    Args:
        run: Names the store with the pixels.
        rows: Rows of the parts, of all sides.

    Returns:
        None where a part holds fewer than `FEWEST` images.
    """
    parts = {side: _some(rows[rows["side"] == side]) for side in ("train", "validation")}
    for side, part in parts.items():
        if len(part) < FEWEST:
            log.warning(
                "No judge of images: the %s part holds %d images, and it needs %d. Without it, the "
                "web app answers about every image.", side, len(part), FEWEST,
            )  # fmt: skip
            return None
    material = material_of(pixels_of(run, parts["train"]))
    validation = parts["validation"]
    return Fitted(fit(material, pixels_of(run, validation)), len(parts["train"]))


def _some(rows: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST` rows, by the hash of the image's id, in the order of the ids."""
    if len(rows) > MOST:
        digests = rows["image_id"].map(lambda name: sha256(str(name).encode()))
        rows = rows.loc[digests.sort_values().index[:MOST]]
    return rows.sort_values("image_id").reset_index(drop=True)


def grounds_of(judge: Answerable, rows: pd.DataFrame, pixels: Array) -> list[str]:
    """The column `REFUSED` of images.

    Args:
        judge: The judge.
        rows: Rows with ``width`` and ``height``.
        pixels: Pixels of these rows, uint8 ``(n, side, side, 3)``.
    """
    widths, heights = (rows[name].to_numpy(float) for name in ("width", "height"))
    return [
        BETWEEN.join(ground for ground, _ in found)
        for found in judge.judge(pixels, widths, heights)
    ]


def answered(name: str, predictions: pd.DataFrame, threshold: float) -> Answered:
    """How a model does on the lesions that are not refused.

    Args:
        name: Name of the external set; empty for the own test part.
        predictions: As `tasks.evaluation.scoring` defines them, with the column `REFUSED`.
        threshold: Melanoma probability at or above which a lesion is called melanoma.
    """
    of_images = predictions.assign(gone=predictions[REFUSED] != "")
    lesions = of_images.groupby(["lesion", "label"], sort=True).agg(
        gone=("gone", "any"), score=(MELANOMA, "mean")
    )
    melanoma = lesions.index.get_level_values("label") == MELANOMA
    gone, called = lesions["gone"].to_numpy(bool), lesions["score"].to_numpy() >= threshold

    def counted(hits: Array, among: Array) -> Any:
        return proportion(int((hits & among).sum()), int(among.sum()))

    return Answered(
        name=name,
        refused=counted(gone, np.ones(len(gone), bool)),
        melanomas_refused=counted(gone, melanoma),
        sensitivity=counted(called, melanoma & ~gone),
        specificity=counted(~called, ~melanoma & ~gone),
    )


def refused_kind(judge: Answerable, kind: Kind) -> RefusedKind:
    """What a judge refuses of a kind of images."""
    found = judge.judge(kind.pixels, kind.sides, kind.sides)
    counts: Counter[Ground] = Counter(ground for each in found for ground, _ in each)
    hits = sum(bool(each) for each in found)
    return RefusedKind(
        kind=kind.name,
        origin=kind.origin,
        skin=kind.skin,
        refused=proportion(hits, len(found)),
        at_least=lower_bound(hits, len(found)),
        target=kind.target,
        grounds=dict(counts.most_common()),
    )


def refusals_of(
    run: Run,
    rows: pd.DataFrame,
    fitted: Fitted,
    predictions: pd.DataFrame,
    external: tuple[External, ...],
    threshold: float,
) -> Refusals:
    """Keep the judge, and count what it refuses.

    Args:
        run: Keeps the judge, and names the store with the pixels.
        rows: Rows of the parts, of all sides.
        fitted: The judge.
        predictions: Of the test part, with the column `REFUSED`.
        external: External sets, whose predictions have the column too.
        threshold: Melanoma probability at or above which a lesion is called melanoma.
    """
    judge = fitted.judge
    tables = {"": predictions}
    for each in external:
        if each.predictions:
            tables[each.name] = read_parquet(run, each.predictions)
    validation = rows[rows["side"] == "validation"]
    test = _some(rows[rows["side"] == "test"])
    gone = [bool(each) for each in grounds_of(judge, validation, pixels_of(run, validation))]
    kinds = [refused_kind(judge, kind) for kind in kinds_of(pixels_of(run, test))]
    known = {each.kind for each in kinds}
    found = Refusals(
        judge=run.keep(JUDGE, judge.to_bytes()),
        learned_from=fitted.learned_from,
        fit_kinds=UNSOUND,
        allowed=ALLOWED,
        validation=proportion(sum(gone), len(gone)),
        lesions=tuple(answered(name, table, threshold) for name, table in tables.items()),
        kinds=tuple(kinds),
        not_measured=tuple(name for name in (*WITHOUT_IMAGES, PHOTOGRAPHS) if name not in known),
    )
    _tell(found, found.kinds)
    return found


def _tell(found: Refusals, kinds: Iterable[RefusedKind]) -> None:
    own = found.lesions[0]
    log.info(
        "The judge of images refuses %s of the validation part (allowed %s) and %d of %d lesions "
        "of the test part; of the %d melanomas that are answered, %d are found.",
        percent(found.validation.estimate), percent(found.allowed), own.refused.successes,
        own.refused.n, own.sensitivity.n, own.sensitivity.successes,
    )  # fmt: skip
    for kind in kinds:
        if (kind.refused.estimate or 0) < kind.target:
            log.warning(
                "The judge of images refuses %d of %d images of the kind %s (%s); it should refuse "
                "%s.", kind.refused.successes, kind.refused.n, kind.kind, kind.origin,
                percent(kind.target),
            )  # fmt: skip
