"""score: score a model on any labelled folder, by the same figures as evaluate.

This is external validation, on images of another clinic, camera or year. Images that the model has
learned from would make the figures too good. So images are left out, and named, if they share an
image id, pixels, a lesion or a patient with the training or validation part, or are near duplicates
of its images. Scoring images of the test part is a look at that test part, so it needs the store
whose ledger counts the looks. Both checks need the model's evidence. Without evidence no image is
left out, and the result says so.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Retraining
from tasks.engine.run import Run, read_record
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.evaluation.scoring import described, figures
from tasks.lesions import Diagnosis
from tasks.model_file import answers_of, from_bytes
from tasks.monitoring.labelled import labelled, nothing_left
from tasks.monitoring.overlap import overlap
from tasks.monitoring.scored import LeftOut, Scored
from tasks.monitoring.subject import Subject, subject_of
from tasks.records.record import LedgerHead, sha256
from tasks.records.verdict import Verdict
from tasks.release.evidence import Bundle
from tasks.splitting.looks import enter_look, hash_of_test_part

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


def score(
    model: str,
    images: Path,
    labels: Path,
    *,
    evidence: str | None = None,
    threshold: float | None = None,
    coarse: dict[str, Diagnosis] | None = None,
    store: Store | None = None,
) -> Scored:
    """Score a model.

    Args:
        model: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, or the path of a ``.keras`` file.
        images: A folder with images, at any depth.
        labels: A table with a row for each image: id, diagnosis and, if known, lesion, patient,
            age, sex and site, like the tables that are delivered to a store.
        evidence: Bundle of a model in a file; a registered model names its own bundle.
        threshold: Melanoma probability at or above which a lesion is called melanoma, for a model
            without evidence. None: the model's own threshold.
        coarse: The class to take for each code that is coarser than the model's classes.
        store: The store whose run made the model. Its ledger counts the look, if images of the
            model's test part are scored. Its MLflow is used if MLFLOW_TRACKING_URI is not set.

    Raises:
        BadInput: There is no such model, image or label; or no image is left to score; or images
            of the test part should be scored without the store whose ledger counts the look.
        Corrupt: The evidence belongs to another model, or the ledger does not continue it.
    """
    subject = subject_of(model, evidence, threshold, store)
    rows, pixels, left = labelled(images, labels, coarse or {}, subject)
    if rows["lesion_id"].isna().all():
        log.warning(
            "The labels name no lesions, so each image counts as one lesion. If several images "
            "show the same lesion, the intervals are too narrow."
        )
    shared = pd.Series(dtype="str")
    if subject.known is not None:
        shared = overlap(rows, subject.known)
        ids = rows["image_id"].loc[shared.index]
        left += [LeftOut(image_id=i, reason=why) for i, why in zip(ids, shared, strict=True)]
    fresh = ~rows.index.isin(shared.index)
    if not fresh.any():
        raise nothing_left(left)
    looked = _enter_look(subject, rows[fresh], store)
    predictions = _predicted(subject, rows[fresh], pixels[fresh])
    return Scored(
        model=model,
        model_sha256=sha256(subject.data),
        evidence=subject.bundle.uri if subject.bundle else None,
        images=int(fresh.sum()),
        known_images_left_out=None if subject.known is None else len(shared),
        left_out=tuple(left),
        figures=figures(predictions, subject.classes, subject.threshold, Retraining().prevalence),
        inside=subject.inside,
        test_images=looked,
    )


def _predicted(subject: Subject, rows: pd.DataFrame, pixels: Array) -> pd.DataFrame:
    """The rows with the model's predictions: a column of probabilities for each class.

    Raises:
        BadInput: The model has another number of outputs than classes.
    """
    probabilities = answers_of(from_bytes(subject.data), pixels).astype(float)
    if probabilities.shape[1] != len(subject.classes):
        raise BadInput(
            "The classes of the model are not known.",
            expected=f"{len(subject.classes)} outputs",
            received=f"{probabilities.shape[1]} outputs",
            do="give the evidence of the model, which names its classes: --evidence",
        )
    return described(rows.reset_index(drop=True), pixels).assign(
        **dict(zip(subject.classes, probabilities.T, strict=True))
    )


def _enter_look(subject: Subject, rows: pd.DataFrame, store: Store | None) -> int | None:
    """Enter a look at the model's test part into the ledger, before scoring.

    Returns:
        How many images are of the test part, or share something with it; None if not known.
    """
    if subject.test is None or subject.bundle is None:
        return None
    rows = rows.reset_index(drop=True)
    seen = overlap(rows, subject.test, "which stands in its test part")
    if seen.empty:
        return 0
    if store is None:
        raise BadInput(
            "Images of the model's test part are scored only if a ledger counts the look.",
            expected="--store STORE, the store whose run made the model, or no images of the test "
            "part",
            received=f"{len(seen)} such images; {rows['image_id'][seen.index[0]]} is "
            f"{seen.iloc[0]}",
            do="give --store, whose ledger counts the look and widens the bounds of later models; "
            "or leave these images out",
        )
    enter_look(
        Run(store, subject.bundle.manifest.run, _config_of(subject.bundle)),
        subject.test[_those_of(subject.test, rows)],
        sha256(subject.data),
        test_part=hash_of_test_part(subject.test),
        threshold=subject.threshold,
        by="score",
        also=_heads_of(subject.bundle, store),
    )
    log.warning(
        "%d images are of the model's test part: the ledger of %s counts this look.",
        len(seen), store.uri,
    )  # fmt: skip
    return len(seen)


def _config_of(bundle: Bundle) -> Retraining:
    """The configuration under which the model was judged."""
    came = bundle.record("evaluate").provenance
    return came.config if came else Retraining()


def _those_of(test: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """The images of the test part that share something with `rows`."""
    back = overlap(test.reset_index(drop=True), rows, "")
    return pd.Series(test.reset_index(drop=True).index.isin(list(back.index)), index=test.index)


def _heads_of(bundle: Bundle, store: Store) -> list[LedgerHead]:
    """The head of the ledger at the model's verdict: no other ledger can count the look.

    A bundle of the first format has no head; then the store must hold the model's run.
    """
    verdict = bundle.record("gate")
    assert isinstance(verdict, Verdict)
    if verdict.ledger:
        return [verdict.ledger]
    if read_record(store, bundle.manifest.run, "gate") is None:
        raise BadInput(
            "This store cannot count the look.",
            expected=f"the store that holds run {bundle.manifest.run}",
            received=f"{store.uri}, without such a run",
            do="give the store in which the model was made",
        )
    return []
