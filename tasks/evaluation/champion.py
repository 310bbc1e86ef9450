"""The model in use, on the lesions that judge its successor."""

import logging
from typing import Any

import numpy as np
import pandas as pd

from tasks.engine.run import Run, read_record
from tasks.errors import BadInput
from tasks.evaluation.comparison import compared
from tasks.intake.manifest import read_parquet
from tasks.lesions import MELANOMA
from tasks.model_file import answers_of, from_bytes
from tasks.records.evaluated import Champion
from tasks.records.split import Split
from tasks.registry.versions import Version, champion, mlflow_client, model_bytes

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

SHARED = ("image_id", "pixel_hash", "lesion_id")  # an image that shares one of these is known


def ask_champion(run: Run, pixels: Array) -> tuple[Version | None, Array | str]:
    """The champion, and its melanoma probability for each image or why it has none.

    Args:
        run: Where the registry is found.
        pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255.

    Raises:
        BadInput: The model in use is gone from MLflow.
        Momentary: MLflow failed.
    """
    with mlflow_client(run.store) as client:
        version = champion(client, run.store)
        if version is None:
            return None, ""
        if MELANOMA not in version.classes:
            return version, f"it does not know {MELANOMA}"
        try:
            model = from_bytes(model_bytes(version))
        except (BadInput, OSError, ValueError) as error:
            return version, " ".join(str(error).split())[:300]
    if model.output_shape[-1] != len(version.classes):
        return (
            version,
            f"it gives {model.output_shape[-1]} outputs for {len(version.classes)} names",
        )
    return version, answers_of(model, pixels)[:, version.classes.index(MELANOMA)]


def against(
    run: Run,
    version: Version,
    problem: str,
    lesions: pd.DataFrame,
    threshold: float,
    test: pd.DataFrame,
) -> Champion:
    """Challenger and champion side by side.

    Args:
        run: Where the champion's own records may lie.
        version: The champion.
        problem: Why it could not be asked; empty if it could.
        lesions: As `tasks.evaluation.scoring.by_lesion` gives them, with the champion's mean
            probability in `tasks.evaluation.comparison.COLUMN` unless there is a problem.
        threshold: The challenger's.
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


def _learned_from(run: Run, version: Version, test: pd.DataFrame) -> int | None:
    """Images of the test part that the champion's run had in training or validation."""
    store, _, name = version.run.rpartition("/runs/")
    if store != run.store.uri:
        return None
    try:
        split = read_record(run.store, name, "split")
        if not isinstance(split, Split):
            return None
        then = read_parquet(run, split.parts)
    except BadInput as error:
        log.warning("What the champion learned from cannot be read: %s", error.problem)
        return None
    used = then[then["side"] != "test"]
    known = np.zeros(len(test), bool)
    for column in SHARED:
        known |= test[column].isin(used[column].dropna()).to_numpy()
    return int(known.sum())
