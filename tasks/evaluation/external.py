"""Score the chosen model on external sets, at its own threshold, beside its own test part.

Nothing is chosen here: recipe and threshold come from the validation part. Each set is a look, and
the ledger counts it as it counts looks at the test part.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd

from tasks.engine.judged import judged_of
from tasks.engine.run import Run
from tasks.evaluation.answerable import Answerable
from tasks.evaluation.champion import ask_champion, ask_standing, used_by
from tasks.evaluation.comparison import COLUMN, STANDING
from tasks.evaluation.elsewhere import LESION, beside, drops, with_labels
from tasks.evaluation.predictions import predicted
from tasks.evaluation.refusals import REFUSED, grounds_of
from tasks.evaluation.scoring import figures
from tasks.figures import percent
from tasks.intake.cells import spelling
from tasks.intake.manifest import pixels_of, read_parquet, to_parquet
from tasks.lesions import Diagnosis
from tasks.records.evaluated import External
from tasks.records.figures import Figures
from tasks.records.validated import ExternalKept, Validated
from tasks.registry.versions import Version
from tasks.splitting.looks import hash_of_test_part
from tasks.splitting.recognized import LIKENESS, matches

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Labelled:
    """What a model can be judged on of an external set.

    Attributes:
        rows: Rows of the set, with ``label`` as it counts: a class, or `OTHER`.
        left: Number of the other images of the set by reason, in words.
        without_image: Image ids in the set's tables without an image.
    """

    rows: pd.DataFrame
    left: dict[str, int]
    without_image: int


def labelled_sets(
    run: Run, validated: Validated, classes: tuple[Diagnosis, ...]
) -> dict[str, Labelled]:
    """What a model of these classes can be judged on, by name of the set."""
    return {each.name: _labelled(run, each, classes) for each in validated.external}


def _labelled(run: Run, kept: ExternalKept, classes: tuple[Diagnosis, ...]) -> Labelled:
    rows, left = with_labels(read_parquet(run, kept.kept), run.config.coarse_codes, classes)
    for why, count in kept.reasons.items():
        left[why] = left.get(why, 0) + count
    return Labelled(rows, left, kept.without_image)


def score_sets(
    run: Run,
    model: keras.Model,
    sets: Mapping[str, Labelled],
    own: Figures,
    judge: Answerable | None,
) -> tuple[External, ...]:
    """Figures of a model on each set.

    Args:
        run: Keeps the predictions, and names the store with the models to compare with.
        model: Model from images to probabilities of the classes of `own`.
        sets: As `labelled_sets` gives them.
        own: Figures on the own test part, with the threshold.
        judge: Says about which images the model must not be asked, if there is one.
    """
    found = []
    for name, each in sets.items():
        scored = _scored(run, model, each, own, name, judge)
        _tell(scored, own)
        found.append(scored)
    return tuple(found)


def _scored(
    run: Run,
    model: keras.Model,
    each: Labelled,
    own: Figures,
    name: str,
    judge: Answerable | None,
) -> External:
    made, artifact, champion, standing = None, None, None, None
    known: dict[str, int | None] = {}
    if len(each.rows):
        pixels = pixels_of(run, each.rows)
        predictions = predicted(model, each.rows, pixels, own.classes)
        # By these, images are recognized that models were judged on before.
        predictions["pixel_hash"] = each.rows["pixel_hash"]
        predictions[LIKENESS] = each.rows["perceptual_hash"]
        if judge:
            predictions[REFUSED] = grounds_of(judge, each.rows, pixels)
        others = {COLUMN: ask_champion(run, pixels), STANDING: ask_standing(run, pixels)}
        bars = {}
        for column, (version, answers) in others.items():
            if version and not isinstance(answers, str):
                predictions[column] = answers
                bars[column] = version.threshold
                known[column] = _learned_from(run, version, each.rows)
        champion, standing = beside(predictions, own, bars)
        made = figures(predictions, own.classes, own.threshold, {})  # no prevalence is stated there
        artifact = run.keep(f"external/{name}.parquet", to_parquet(predictions))
    sensitivity_drop, auc_drop = drops(own, made)
    return External(
        name=name,
        set_sha256=hash_of_test_part(each.rows),
        left=each.left,
        without_image=each.without_image,
        figures=made,
        sensitivity_drop=sensitivity_drop,
        auc_drop=auc_drop,
        predictions=artifact,
        champion=champion,
        standing=standing,
        champion_learned_from=known.get(COLUMN),
        standing_learned_from=known.get(STANDING),
    )


def _learned_from(run: Run, version: Version, rows: pd.DataFrame) -> int | None:
    """How many images of a set the version's run had in training or validation: they may have been
    delivered under ``raw/`` then. None if it is not known."""
    used = used_by(run, version)
    if used is None:
        return None
    same = matches(rows, judged_of(used, by_likeness=True), one_place=False)
    found = np.isin(np.arange(len(rows)), same["row"])
    lesions = set(used["lesion_id"].dropna().map(spelling))
    found |= rows[LESION].map(spelling, na_action="ignore").isin(lesions).to_numpy(bool)
    return int(found.sum())


def _tell(scored: External, own: Figures) -> None:
    for why, count in scored.left.items():
        log.warning("External set %s: %d images do not count: %s.", scored.name, count, why)
    made = scored.figures
    if made is None:
        log.warning("External set %s: no image counts, so that it shows nothing.", scored.name)
        return
    for who, known in (
        ("The champion", scored.champion_learned_from),
        ("The challenger that waits", scored.standing_learned_from),
    ):
        if known:
            log.warning("%s learned from %d images of the external set %s, so that the comparison "
                        "there favours it.", who, known, scored.name)  # fmt: skip
    log.info(
        "External set %s: of %d melanoma lesions it found %d (on its own test part %s); of %d "
        "other lesions it called %d melanoma.",
        scored.name, made.sensitivity.n, made.sensitivity.successes,
        percent(own.sensitivity.estimate), made.specificity.n,
        made.specificity.n - made.specificity.successes,
    )  # fmt: skip
