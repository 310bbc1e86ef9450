"""score: score a model on any labelled folder, by the same figures as evaluate.

This is external validation, on images of another clinic, camera or year. Images that the model has
learned from would make the figures too good. So images are left out, and named, if they share an
image id, pixels, a lesion or a patient with the training or validation part, or are near duplicates
of its images. Scoring images of the test part is a look at that test part, so it needs the store
whose ledger counts the looks. Both checks need the model's evidence. Without evidence no image is
left out, and the result says so.

The evidence also holds the model's figures on its own test part, and the lesions that it learned
from: the result says in words whether the model is worse here, and how the lesions differ.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tasks.config import Retraining
from tasks.engine.run import Run, read_record
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.evaluation.scoring import figures
from tasks.lesions import OTHER, Diagnosis
from tasks.monitoring.drift import drift
from tasks.monitoring.drop import drops
from tasks.monitoring.each_image import check_place, write_each_image
from tasks.monitoring.labelled import Labelled, labelled, nothing_left
from tasks.monitoring.overlap import overlap
from tasks.monitoring.pictures import looked_at
from tasks.monitoring.scored import LeftOut, Scored
from tasks.monitoring.subject import Subject, subject_of
from tasks.records.figures import Figures
from tasks.records.record import LedgerHead, sha256
from tasks.records.verdict import Verdict
from tasks.release.evidence import Bundle
from tasks.splitting.looks import enter_look, hash_of_test_part

log = logging.getLogger(__name__)


def score(
    model: str,
    images: Path,
    labels: Path,
    *,
    evidence: str | None = None,
    threshold: float | None = None,
    coarse: Mapping[str, Diagnosis] | None = None,
    store: Store | None = None,
    accept_unread: bool = False,
    accept_missing: bool = False,
    predictions: Path | None = None,
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
        accept_unread: Go on without what of the labels is not understood.
        accept_missing: Go on without melanomas that the labels name and that have no image.
        predictions: A new file for the answer to each image, as CSV.

    Raises:
        BadInput: There is no such model, image or label; or the labels are not understood or
            contradict each other; or no image is left to score; or images of the test part should
            be scored without the store whose ledger counts the look.
        Corrupt: The evidence belongs to another model, or the ledger does not continue it.
    """
    if predictions:
        check_place(predictions)
    given = labelled(
        images, labels, coarse, accept_unread=accept_unread, accept_missing=accept_missing
    )
    subject = subject_of(model, evidence, threshold, store)
    known, left = _known_to(subject, given), list(given.left)
    rows = looked_at(known, subject.packed_px, given.labels.guide, left)
    if rows.empty:
        raise nothing_left(left)
    if rows["lesion_id"].isna().all():
        log.warning(
            "The labels name no lesions, so each image counts as one lesion. If several images "
            "show the same lesion, the intervals are too narrow."
        )
    fresh, shared = _without_known(subject, rows)
    left += shared
    if fresh.empty:
        raise nothing_left(left)
    looked = _enter_look(subject, fresh, store)
    # Only now, as Keras takes seconds: what is wrong with the labels has been told.
    from tasks.monitoring.answers import answered

    table = answered(subject, fresh)
    if predictions:
        within = table.assign(file=[file.within for file in fresh["file"]])
        write_each_image(
            predictions, known, within, subject.classes, subject.threshold, left, given.missing
        )
    found = figures(table, subject.classes, subject.threshold, Retraining().prevalence)
    result = Scored(
        model=model,
        model_sha256=sha256(subject.data),
        evidence=subject.bundle.uri if subject.bundle else None,
        images=len(fresh),
        label_rows=given.labels.rows,
        known_images_left_out=None if subject.known is None else len(shared),
        left_out=tuple(left),
        missing=given.missing,
        of_no_class=int((fresh["label"] == OTHER).sum()),
        figures=found,
        inside=_inside(subject.own.figures) if subject.own else None,
        test_images=looked,
    )
    return result.model_copy(update=_compared(subject, fresh, result))


def _known_to(subject: Subject, given: Labelled) -> list[dict[str, object]]:
    """The rows of a set, where a class that the model does not know is one that is not melanoma."""
    known = {*subject.classes, OTHER}
    return [
        row
        if row["label"] in known
        else row | {"label": OTHER, "why_no_class": f"the model does not know {row['label']}"}
        for row in given.rows
    ]


def _without_known(subject: Subject, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The rows that share nothing with what the model learned from, and the others."""
    if subject.known is None:
        return rows, []
    shared = overlap(rows, subject.known)
    left = [
        LeftOut(image_id=row["image_id"], reason=why, file=row["file"].within)
        for (_, row), why in zip(rows.loc[shared.index].iterrows(), shared, strict=True)
    ]
    return rows[~rows.index.isin(shared.index)].reset_index(drop=True), left


def _inside(own: Figures) -> dict[str, str]:
    return {
        name: f"{each.successes} of {each.n}"
        for name, each in (("sensitivity", own.sensitivity), ("specificity", own.specificity))
    }


def _compared(subject: Subject, rows: pd.DataFrame, scored: Scored) -> dict[str, object]:
    """The fields of `Scored` that compare the set with the model's own."""
    if subject.own is None or subject.known is None:
        return {"not_compared": "Its own figures are not known: there is no evidence bundle"}
    found: dict[str, object] = {"drift": drift(rows, subject.known)}
    if scored.test_images:
        own = f"{scored.test_images} of the images are of that part"
        return found | {"not_compared": f"Not compared with its own test part: {own}"}
    other = subject.threshold != subject.own.threshold
    found["drops"] = drops(scored.figures, subject.own.figures, by_area_alone=other)
    if other:
        found["not_compared"] = (
            "Sensitivity and specificity are not compared with those of its own test part, at "
            f"another threshold: {subject.own.threshold:.3g} there, {subject.threshold:.3g} here"
        )
    return found


def _enter_look(subject: Subject, rows: pd.DataFrame, store: Store | None) -> int | None:
    """Enter a look at the model's test part into the ledger, before scoring.

    Returns:
        How many images are of the test part, or share something with it; None if not known.
    """
    if subject.test is None or subject.bundle is None:
        return None
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
