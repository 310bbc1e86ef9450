"""The model to be scored, and the facts about the model in its evidence."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks.config import Retraining
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt
from tasks.lesions import DIAGNOSES, Diagnosis
from tasks.records.evaluated import Evaluated
from tasks.records.ingested import Ingested
from tasks.records.record import sha256
from tasks.records.split import Split
from tasks.registry.versions import mlflow_client, model_bytes, version_named
from tasks.release.evidence import Bundle

# Weights are saved in several kinds of file; only this one is loaded without running its code.
SUFFIX = ".keras"


@dataclass(frozen=True)
class Subject:
    """The model to be scored.

    Attributes:
        known: Rows that the model learned from; None if they are not known.
        test: Rows of the model's test part; None if they are not known.
        own: What `evaluate` said of it; None if that is not known.
    """

    uri: str
    data: bytes
    classes: tuple[Diagnosis, ...]
    threshold: float
    bundle: Bundle | None
    known: pd.DataFrame | None
    test: pd.DataFrame | None
    packed_px: int
    own: Evaluated | None


def subject_of(
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
    """The facts about a model in its evidence. Raises `Corrupt` if it is another model's."""
    if expected and sha256(bundle.manifest_data) != expected:
        raise Corrupt(
            "The evidence is not the bundle with which the model was registered.",
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
            "The evidence belongs to another model.",
            expected=f"a model with SHA-256 {evaluated.model.sha256}",
            received=sha256(data),
            do="give the evidence of the run that made this model",
        )
    parts = bundle.table("split", split.parts)
    return Subject(
        model,
        data,
        evaluated.classes,
        evaluated.threshold if threshold is None else threshold,
        bundle,
        parts[parts["side"] != "test"].reset_index(drop=True),
        parts[parts["side"] == "test"].reset_index(drop=True),
        ingested.packed_px,
        evaluated,
    )
