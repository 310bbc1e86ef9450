"""score: what a model does on any labelled folder, by the same figures as evaluate.

This is external validation: images of another clinic, camera or year. Images that the model has
learned from would flatter it, so that whatever shares an image id, pixels, a lesion, a patient or a
near likeness with its training or validation part is left out, and named. Images of its test part
are a look at that test part: they are scored only where the ledger that counts the looks can take
it. Both take the model's evidence; without it nothing can be left out, and the answer says so.
"""

import errno
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Retraining
from tasks.engine.run import Run, read_record
from tasks.engine.storage import Store
from tasks.errors import BadInput, Corrupt
from tasks.evaluation.scoring import described, figures
from tasks.intake.folder import PlainFile, files_in
from tasks.intake.images import THUMBNAIL_PX, Decoded, decode
from tasks.intake.likeness import near_duplicates
from tasks.intake.tables import read_table
from tasks.lesions import (
    DIAGNOSES,
    IMAGE_SUFFIXES,
    MELANOMA,
    Code,
    Diagnosis,
    archive_says,
    image_id_from,
    source_from,
)
from tasks.model_file import answers_of, from_bytes
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Figures
from tasks.records.ingested import Ingested
from tasks.records.record import Frozen, LedgerHead, sha256
from tasks.records.split import Split
from tasks.records.verdict import Verdict
from tasks.registry.versions import mlflow_client, model_bytes, version_named
from tasks.release.card import counted, measured
from tasks.release.evidence import Bundle
from tasks.splitting.looks import enter_look, hash_of_test_part

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

# Weights are saved in several kinds of file; only this one is loaded without running its code.
SUFFIX = ".keras"
SHARED = {
    "image_id": "the same image as",
    "pixel_hash": "the same pixels as",
    "lesion_id": "the same lesion as",
    "patient_id": "the same patient as",
}
COLUMNS = ("image_id", "label", "lesion_id", "patient_id", "age_years", "sex", "site")


class LeftOut(Frozen):
    """An image that was not scored, and why."""

    image_id: str
    reason: str


class Scored(Frozen):
    """A model on a labelled folder.

    Attributes:
        evidence: Of the model, that says what it learned from; None if there is none.
        known_images_left_out: Images that the model learned from, or that are too like them; None
            if that could not be found out.
        left_out: All images that were not scored.
        figures: On the rest; the same as `evaluate` gives.
        inside: The sensitivity and specificity that the evidence tells of its own test part.
        test_images: Images of its test part among those that were scored: a look that the ledger
            counts; None if that could not be found out.
    """

    model: str
    model_sha256: str
    evidence: str | None
    images: int
    known_images_left_out: int | None
    left_out: tuple[LeftOut, ...]
    figures: Figures
    inside: dict[str, str] | None
    test_images: int | None = None


@dataclass(frozen=True)
class Subject:
    """The model to be scored.

    Attributes:
        known: Rows that it learned from; None if that is not known.
        test: Rows of its test part; None if that is not known.
    """

    uri: str
    data: bytes
    classes: tuple[Diagnosis, ...]
    threshold: float
    bundle: Bundle | None
    known: pd.DataFrame | None
    test: pd.DataFrame | None
    packed_px: int
    inside: dict[str, str] | None


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
        images: A folder; images lie in it at any depth.
        labels: A table with a row for each image: its id, its diagnosis, and, if known, lesion,
            patient, age, sex and site, as the tables that are delivered to a store.
        evidence: Of a model in a file; a registered one names its own.
        threshold: Melanoma probability at or above which a lesion is called melanoma; of a model
            without evidence. The model's own otherwise.
        coarse: The class that each code that is coarser than the model's classes shall mean.
        store: The store whose run made the model: its ledger takes the look, if images of the
            model's test part are scored; and where MLflow is found if MLFLOW_TRACKING_URI is not
            set.

    Raises:
        BadInput: No such model, image or label; nothing is left to score; or images of the test
            part are to be scored without the store whose ledger counts that.
        Corrupt: The evidence is not that of the model, or the ledger does not continue it.
    """
    subject = _subject(model, evidence, threshold, store)
    rows, pixels, left = _labelled(images, labels, coarse or {}, subject)
    if rows["lesion_id"].isna().all():
        log.warning(
            "The labels name no lesions: each image counts as one, and where several show the same "
            "lesion the intervals are too narrow."
        )
    shared = pd.Series(dtype="str")
    if subject.known is not None:
        shared = overlap(rows, subject.known)
        ids = rows["image_id"].loc[shared.index]
        left += [LeftOut(image_id=i, reason=why) for i, why in zip(ids, shared, strict=True)]
    fresh = ~rows.index.isin(shared.index)
    if not fresh.any():
        raise _nothing_left(left)
    looked = _enter_look(subject, rows[fresh], store)
    network = from_bytes(subject.data)
    probabilities = answers_of(network, pixels[fresh]).astype(float)
    if probabilities.shape[1] != len(subject.classes):
        raise BadInput(
            "The classes of the model are not known.",
            expected=f"{len(subject.classes)} outputs",
            received=f"{probabilities.shape[1]} outputs",
            do="give the evidence of the model, which names its classes: --evidence",
        )
    predictions = described(rows[fresh].reset_index(drop=True), pixels[fresh]).assign(
        **dict(zip(subject.classes, probabilities.T, strict=True))
    )
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


def _enter_look(subject: Subject, rows: pd.DataFrame, store: Store | None) -> int | None:
    """Let the ledger count a look at the model's test part, before anything is scored.

    Returns:
        How many of the images are of its test part, or show the same; None if it is not known.
    """
    if subject.test is None or subject.bundle is None:
        return None
    rows = rows.reset_index(drop=True)
    seen = overlap(rows, subject.test, "which stands in its test part")
    if seen.empty:
        return 0
    if store is None:
        raise BadInput(
            "Images of the model's test part are scored where the look is counted, or not at all.",
            expected="--store STORE, the store whose run made the model, or images of which none "
            "is of the test part",
            received=f"{len(seen)} such images; {rows['image_id'][seen.index[0]]} is "
            f"{seen.iloc[0]}",
            do="give --store, whose ledger takes the look and makes the bounds of later models "
            "wider; or leave these images out",
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
    """The configuration that the model was judged under."""
    came = bundle.record("evaluate").provenance
    return came.config if came else Retraining()


def _those_of(test: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Which images of the test part are looked at: those that share anything with `rows`."""
    back = overlap(test.reset_index(drop=True), rows, "")
    return pd.Series(test.reset_index(drop=True).index.isin(list(back.index)), index=test.index)


def _heads_of(bundle: Bundle, store: Store) -> list[LedgerHead]:
    """The head of the ledger at the model's verdict: another ledger cannot take the look.

    A bundle of the first format has none; then the store must hold the model's run.
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


def _nothing_left(left: list[LeftOut]) -> BadInput:
    return BadInput(
        "There is nothing to score.",
        expected="images with a label that the model has not learned from",
        received=f"{len(left)} images, none of them such"
        + (f"; {left[0].image_id}: {left[0].reason}" if left else ""),
        do="give other images, or a table with a row for each",
    )


# The model ---------------------------------------------------------------------------------------


def _subject(
    model: str, evidence: str | None, threshold: float | None, store: Store | None
) -> Subject:
    expected = None
    if model.startswith("models:/"):
        with mlflow_client(store) as client:
            version = version_named(client, model)
            data = model_bytes(version)
        evidence, expected = evidence or version.evidence, version.evidence_sha256
        threshold = version.threshold if threshold is None else threshold
        classes = tuple(name for name in DIAGNOSES if name in version.classes)
    else:
        data, classes = _file(model), DIAGNOSES
    if evidence is None:
        if threshold is None:
            raise BadInput(
                "It is not known what this model calls melanoma.",
                expected="--evidence, the model's bundle, or --threshold, a probability",
                received="neither",
                do="give --evidence STORE/runs/NAME/evidence if there is one",
            )
        size = Retraining().packed_size
        return Subject(model, data, classes, threshold, None, None, None, size, None)
    return _described(model, data, Bundle(evidence), expected, threshold)


def _file(model: str) -> bytes:
    path = Path(model)
    if path.suffix != SUFFIX or not path.is_file():
        raise BadInput(
            "There is no such model.",
            expected=f"models:/NAME@ALIAS, models:/NAME/VERSION or the path of a {SUFFIX} file",
            received=repr(model),
            do="correct the address of the model",
        )
    return path.read_bytes()


def _described(
    model: str, data: bytes, bundle: Bundle, expected: str | None, threshold: float | None
) -> Subject:
    """What the evidence tells of a model. Raises `Corrupt` if it is another one's."""
    if expected and sha256(bundle.manifest_data) != expected:
        raise Corrupt(
            "The evidence is not the one that the model was registered with.",
            expected=f"a manifest with SHA-256 {expected}",
            received=sha256(bundle.manifest_data),
            do=f"find out who changed {bundle.uri}",
        )
    evaluated, split, ingested = (bundle.record(step) for step in ("evaluate", "split", "ingest"))
    assert isinstance(evaluated, Evaluated)
    assert isinstance(split, Split)
    assert isinstance(ingested, Ingested)
    if evaluated.model.sha256 != sha256(data):
        raise Corrupt(
            "The evidence is that of another model.",
            expected=f"a model with SHA-256 {evaluated.model.sha256}",
            received=sha256(data),
            do="give the evidence of the run that made this model",
        )
    parts = bundle.table("split", split.parts)
    own = evaluated.figures
    inside = {
        name: f"{each.successes} of {each.n}"
        for name, each in (("sensitivity", own.sensitivity), ("specificity", own.specificity))
    }
    return Subject(
        model,
        data,
        evaluated.classes,
        evaluated.threshold if threshold is None else threshold,
        bundle,
        parts[parts["side"] != "test"].reset_index(drop=True),
        parts[parts["side"] == "test"].reset_index(drop=True),
        ingested.packed_px,
        inside,
    )


# The images -------------------------------------------------------------------------------------


def _labelled(
    folder: Path, labels: Path, coarse: dict[str, Diagnosis], subject: Subject
) -> tuple[pd.DataFrame, Array, list[LeftOut]]:
    """Rows with a label, their pixels, and what was left out."""
    told, left = _told(labels), []
    unclear: dict[str, list[str]] = {}
    rows: list[dict[str, Any]] = []
    for file in _images_in(folder):
        path = file.path
        row = told.get(image_id_from(path.name))
        if row is None:
            left.append(LeftOut(image_id=path.name, reason=f"no row in {labels.name}"))
            continue
        label, code = meaning(row.get("archive_diagnosis", ()), coarse)
        if label is None and code:
            unclear.setdefault(code, []).append(path.name)
        elif label not in subject.classes:
            left.append(
                LeftOut(
                    image_id=path.name,
                    reason=f"the model does not know {label}" if label else "no usable diagnosis",
                )
            )
        else:
            rows.append(row | {"file": file, "label": label})
    _check_codes(unclear)
    decoded = list(_decoded(rows, subject.packed_px, left))
    if not decoded:
        raise _nothing_left(left)
    frame = pd.DataFrame([row for row, _ in decoded])
    for name in COLUMNS:
        frame[name] = frame.get(name)
    frame = frame.astype(dict.fromkeys(("image_id", "lesion_id", "patient_id"), "str"))
    return frame, np.stack([pixels for _, pixels in decoded]), left


def _told(labels: Path) -> dict[str, dict[str, Any]]:
    try:
        if labels.exists() and not labels.is_file():  # a pipe would be waited for, for ever
            raise OSError(errno.EINVAL, "not a file")
        rows = read_table(labels.read_bytes())
    except OSError as error:
        raise BadInput(
            "The labels cannot be read.",
            expected="a CSV file",
            received=f"{error.strerror}: {str(labels)!a}",
            do="correct --labels",
        ) from error
    if not rows or not any("archive_diagnosis" in row for row in rows):
        raise BadInput(
            "The labels are not understood.",
            expected="a table with a column image_id (or image, isic_id) and a diagnosis",
            received=f"{labels.name}: {'no such columns' if not rows else 'no diagnosis'}",
            do="name the columns image_id and diagnosis",
        )
    return {row["image_id"]: row for row in rows}


def _images_in(folder: Path) -> list[PlainFile]:
    files = files_in(folder, "images")
    found = [file for file in files if file.within.casefold().endswith(IMAGE_SUFFIXES)]
    if len(found) < len(files):
        log.info("%d files are no images by their names.", len(files) - len(found))
    if not found:
        raise BadInput(
            "There are no images.",
            expected="a folder with images: " + ", ".join(IMAGE_SUFFIXES),
            received=f"{len(files)} other files in {folder}",
            do="correct --images",
        )
    if len(files) > len(found):
        log.info("%d files in %s are no images.", len(files) - len(found), folder)
    return found


def meaning(told: tuple[Code, ...], coarse: dict[str, Diagnosis]) -> tuple[Diagnosis | None, str]:
    """The class that a table's diagnosis means, and the code, if that is coarser than a class.

    Args:
        told: What each archive calls it.
        coarse: What coarser codes shall mean.

    >>> meaning((Code("HAM10000", ("bkl",)),), {})
    (None, 'bkl')
    >>> meaning((Code("HAM10000", ("bkl",)),), {"bkl": "pigmented benign keratosis"})
    ('pigmented benign keratosis', '')
    """
    said = archive_says(told) or ()
    if len(said) == 1:
        return said[0], ""
    meant = next((coarse[code.text] for code in told if code.text in coarse), None)
    return meant, "" if meant or not said else told[0].text


def _check_codes(unclear: dict[str, list[str]]) -> None:
    if not unclear:
        return
    raise BadInput(
        "A label is coarser than the classes of the model.",
        expected="labels that each mean one class",
        received="; ".join(
            f"{code} ({len(names)} images, such as {names[0]})" for code, names in unclear.items()
        ),
        do="say what each code shall mean, such as "
        f"--coarse '{json.dumps(dict.fromkeys(unclear, DIAGNOSES[5]))}'",
    )


def _decoded(
    rows: list[dict[str, Any]], packed_px: int, left: list[LeftOut]
) -> Iterator[tuple[dict[str, Any], Array]]:
    """Rows with what their pixels tell, and the pixels; what cannot be decoded joins `left`."""

    def read(row: dict[str, Any]) -> Any:
        return decode(
            row["file"].read(),
            packed_px=packed_px,
            maximum_megapixels=Retraining().maximum_megapixels,
        )

    with ThreadPoolExecutor() as threads:
        for row, result in zip(rows, threads.map(read, rows), strict=True):
            path = row.pop("file").path
            if not isinstance(result, Decoded):
                left.append(LeftOut(image_id=path.name, reason=result.reason))
                continue
            facts = {"pixel_hash": result.pixel_hash, "thumbnail": result.thumbnail}
            yield row | facts | {"source": source_from(row["image_id"])}, result.pixels


# What the model knows already -------------------------------------------------------------------


def overlap(
    rows: pd.DataFrame, known: pd.DataFrame, how: str = "which it learned from"
) -> pd.Series:
    """Which rows show what the model learned from, and how that is known.

    Args:
        rows, known: With ``image_id``, ``pixel_hash``, ``thumbnail``, ``lesion_id``,
            ``patient_id``; index 0 to n - 1.
        how: What is said of the known images.

    Returns:
        str, indexed by those of `rows`: in words, with the image that is known.
    """
    found: dict[int, str] = {}
    for column, words in SHARED.items():
        seen = (
            known.dropna(subset=[column])
            .drop_duplicates(column)
            .set_index(column, drop=False)["image_id"]
        )
        for row, value in rows[column].dropna().items():
            if value in seen.index:
                found.setdefault(int(str(row)), f"{words} {seen[value]}, {how}")
    planes = [
        np.frombuffer(b"".join(each["thumbnail"]), np.uint8).reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)
        for each in (rows, known)
    ]
    ours = np.arange(len(rows) + len(known)) < len(rows)
    pairs = near_duplicates(np.concatenate(planes), ours)
    across = pairs[(pairs["first"] < len(rows)) & (pairs["second"] >= len(rows))]
    places = across[["first", "second"]].to_numpy(int)
    for (first, second), correlation in zip(places, across["correlation"], strict=True):
        like = known["image_id"].iloc[second - len(rows)]
        found.setdefault(
            int(first),
            f"a near duplicate (correlation {correlation:.2f}) of {like}, {how}",
        )
    return pd.Series(found, dtype="str").sort_index()


# For people -------------------------------------------------------------------------------------


def in_words(scored: Scored) -> str:
    """The result in plain text."""
    made = scored.figures
    lines = [
        f"{scored.images} images of {made.lesions} lesions scored, {len(scored.left_out)} left "
        "out.",
        _overlap_in_words(scored.known_images_left_out),
        *(
            [f"{scored.test_images} of them are of its test part: the ledger counts this look."]
            if scored.test_images
            else []
        ),
        "",
        f"Melanoma sensitivity: {counted(made.sensitivity)}",
        f"Melanoma specificity: {counted(made.specificity)}",
        f"Area under the ROC curve: {measured(made.auc)}",
        f"Balanced accuracy: {measured(made.balanced_accuracy)}",
        f"Accuracy: {counted(made.accuracy)}",
        f"Expected calibration error: {measured(made.calibration.expected_error)}",
        *(
            f"Melanoma against nevus within {each.source} (AUC): {measured(each.auc)}"
            for each in made.within_source
        ),
        *(
            f"Recall of {name}: {counted(each.recall)}"
            for name, each in made.per_class.items()
            if each.recall.n and name != MELANOMA
        ),
    ]
    if scored.inside:
        lines += [
            "",
            f"On its own test part: sensitivity {scored.inside['sensitivity']}, specificity "
            f"{scored.inside['specificity']}.",
        ]
    return "\n".join(lines)


def _overlap_in_words(left_out: int | None) -> str:
    if left_out is None:
        return (
            "It is NOT known whether the model learned from any of these images, because there is "
            "no evidence of it. The figures may flatter it."
        )
    return (
        f"{left_out} images were left out because the model learned from them, or from others that "
        "show the same."
    )
