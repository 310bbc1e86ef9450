"""The champion (the model in use) and the standing challenger, asked about the lesions that judge a
new model."""

import logging
from typing import Any

import numpy as np
import pandas as pd

from tasks.engine.run import Run, read_record
from tasks.errors import BadInput
from tasks.evaluation.comparison import compared, ranked
from tasks.intake.manifest import read_parquet
from tasks.lesions import MELANOMA
from tasks.model_file import answers_of, from_bytes
from tasks.records.evaluated import Champion, Standing
from tasks.records.split import Split
from tasks.registry.challenger import own_models, standing_challenger
from tasks.registry.champion import champion
from tasks.registry.versions import Version, mlflow_client, model_bytes

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

# The champion knows a test image that shares one of these with an image that it learned from.
SHARED = ("image_id", "pixel_hash", "lesion_id")


def ask_champion(run: Run, pixels: Array) -> tuple[Version | None, Array | str]:
    """The champion, and its melanoma probability for each image, or why it has no answer.

    Args:
        run: Names the store, whose registry is asked.
        pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255.

    Raises:
        BadInput: The model in use is gone from MLflow.
        Momentary: MLflow failed.
    """
    with mlflow_client(run.store) as client:
        version = champion(client, run.store)
        return (version, _answers_of(version, pixels)) if version else (None, "")


def ask_standing(run: Run, pixels: Array) -> tuple[Version | None, Array | str]:
    """As `ask_champion`, of the standing challenger; None if it is a model of this run."""
    with mlflow_client(run.store) as client:
        version = standing_challenger(client, run.store)
        if version is None or version.model_sha256 in own_models(run):
            return None, ""
        return version, _answers_of(version, pixels)


def _answers_of(version: Version, pixels: Array) -> Array | str:
    """A version's melanoma probability for each image, or why it has no answer."""
    if MELANOMA not in version.classes:
        return f"it does not know {MELANOMA}"
    try:
        model = from_bytes(model_bytes(version))
    except (BadInput, OSError, ValueError) as error:
        return " ".join(str(error).split())[:300]
    if model.output_shape[-1] != len(version.classes):
        return f"it gives {model.output_shape[-1]} outputs for {len(version.classes)} names"
    return np.asarray(answers_of(model, pixels)[:, version.classes.index(MELANOMA)])


def against(
    run: Run,
    version: Version,
    problem: str,
    lesions: pd.DataFrame,
    threshold: float,
    test: pd.DataFrame,
) -> Champion:
    """Compare challenger and champion.

    Args:
        run: Names the store, which may hold the champion's own records.
        version: The champion.
        problem: Why the champion gave no answers; empty if it answered.
        lesions: As `tasks.evaluation.scoring.by_lesion` gives them, with the champion's mean
            probability in `tasks.evaluation.comparison.COLUMN` unless there is a problem.
        threshold: The challenger's threshold.
        test: The rows of the test part.
    """
    return Champion(
        version=version.number,
        run=version.run,
        model_sha256=version.model_sha256,
        classes=version.classes,
        learned_from=_learned_from(run, version, test),
        problem=problem or None,
        comparison=None if problem else compared(lesions, threshold, version.threshold),
    )


def beside(
    run: Run,
    version: Version,
    problem: str,
    lesions: pd.DataFrame,
    threshold: float,
    test: pd.DataFrame,
) -> Standing:
    """Compare a new model and the standing challenger; as `against`, with the standing challenger's
    probability in `tasks.evaluation.comparison.STANDING`."""
    return Standing(
        version=version.number,
        run=version.run,
        model_sha256=version.model_sha256,
        learned_from=_learned_from(run, version, test),
        problem=problem or None,
        ranking=None if problem else ranked(lesions, threshold, version.threshold),
    )


def _learned_from(run: Run, version: Version, test: pd.DataFrame) -> int | None:
    """How many test images the version's run had in training or validation."""
    used = used_by(run, version)
    if used is None:
        return None
    known = np.zeros(len(test), bool)
    for column in SHARED:
        known |= test[column].isin(used[column].dropna()).to_numpy()
    return int(known.sum())


def used_by(run: Run, version: Version) -> pd.DataFrame | None:
    """The rows that the version's run had in training or validation; None if they are not known."""
    store, _, name = version.run.rpartition("/runs/")
    if store != run.store.uri:
        return None
    try:
        split = read_record(run.store, name, "split")
        if not isinstance(split, Split):
            return None
        then = read_parquet(run, split.parts)
    except BadInput as error:
        log.warning(
            "Cannot read which images version %d learned from: %s", version.number, error.problem
        )
        return None
    return then[then["side"] != "test"]
