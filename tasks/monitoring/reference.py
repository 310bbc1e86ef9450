"""What the drift test compares with: what the model in use learned from, and what it answered on
its own test part.

It is made once for each model and kept in ``monitoring/reference/<SHA-256 of the model>/``, with
``reference.json`` written last. It holds figures of images, and no ids.
"""

import hashlib
import io
import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError

from tasks.config import Retraining
from tasks.engine.run import Run, read_record
from tasks.engine.store import Store
from tasks.errors import AlreadyExists, BadInput, Corrupt, NotFound
from tasks.evaluation.descriptor import VERSION, descriptors_of
from tasks.evaluation.refusals import REFUSED
from tasks.evaluation.scoring import by_lesion, most_probable
from tasks.evaluation.traces import ACQUISITION, acquisition_of
from tasks.intake.manifest import by_shard, parquet_of, read_parquet
from tasks.lesions import DIAGNOSES, MELANOMA, source_from
from tasks.records.evaluated import Evaluated
from tasks.records.ingested import Ingested
from tasks.records.record import Artifact, Frozen, sha256
from tasks.records.split import Split
from tasks.registry.promotions import now_utc
from tasks.registry.versions import Version
from tasks.validation.laws.shift import one_per_lesion

log = logging.getLogger(__name__)

FOLDER = "monitoring/reference/"
FORMAT = 1
MOST = 2000  # lesions: more make no test sharper that compares with some hundred new ones
FILE = ("width", "height", "format", "encoding")


class Facts(Frozen):
    """About a reference; the two tables are named by their bytes."""

    format: int = Field(FORMAT, description="How the reference is written.")
    version: int = Field(description="Number of the model's version in MLflow.")
    run: str = Field(description="Address of the run that made the model.")
    model_sha256: str = Field(description="SHA-256 of the ``.keras`` file.")
    threshold: float = Field(description="Melanoma probability from which melanoma is called.")
    packed_px: int = Field(description="Side of the packed pixels that it learned from.")
    descriptor_version: int = Field(description="`tasks.evaluation.descriptor.VERSION`.")
    lesions_learned: int = Field(description="Lesions in its training and validation part.")
    encodings_known: bool = Field(description="False: ingest did not yet note them.")
    refused: tuple[int, int] | None = Field(
        description="Lesions of its test part that the app would refuse, of how many; None where "
        "the model's run does not say so."
    )
    synthetic: bool | None = Field(
        None,
        description="Whether it learned from drawn lesions alone; None in the file of an earlier "
        "version of the program, see `_told`.",
    )
    made: str = Field(description="When the reference was made, UTC, ISO 8601.")
    learned: Artifact = Field(
        description="Parquet: a row for each of at most `MOST` lesions, with `FILE`, "
        "`tasks.evaluation.traces.ACQUISITION` and ``descriptor``."
    )
    answered: Artifact = Field(
        description="Parquet: a row for each lesion of the test part that the app would not "
        "refuse, with ``answered`` and "
        "``melanoma_probability``."
    )


@dataclass(frozen=True)
class Reference:
    """What traces are compared with.

    Attributes:
        facts: About the model, and what is in the tables.
        learned, answered: The tables of `Facts`.
    """

    facts: Facts
    learned: pd.DataFrame
    answered: pd.DataFrame


def reference_of(store: Store, version: Version) -> Reference:
    """The reference of a model, made now if it was not made before.

    Args:
        store: The store with the run that made the model.
        version: The model.

    Raises:
        BadInput: The store does not hold what the model learned from.
        Corrupt: The reference, or what it is made of, was changed.
    """
    folder = f"{FOLDER}{version.model_sha256}/{FORMAT}-{VERSION}/"
    try:
        return _told(store, version, _read(store, folder))
    except NotFound:
        log.info("The reference of version %d is made, once.", version.number)
    return _kept(store, folder, *_made(store, version))


def _told(store: Store, version: Version, found: Reference) -> Reference:
    """A reference that says whether its lesions are drawn, also one of an earlier version of the
    program: the run that made the model says so. None where the run is gone."""
    if found.facts.synthetic is not None:
        return found
    name = version.run.rpartition("/")[2]
    split = read_record(store, name, "split")
    if not isinstance(split, Split):
        return found
    parts = read_parquet(Run(store, name, Retraining()), split.parts)
    drawn = _drawn(parts[parts["side"] != "test"])
    return replace(found, facts=found.facts.model_copy(update={"synthetic": drawn}))


def _drawn(rows: pd.DataFrame) -> bool:
    return bool(rows["image_id"].map(source_from).eq("SYNTHETIC").all())


def _read(store: Store, folder: str) -> Reference:
    key = f"{folder}reference.json"
    try:
        facts = Facts.model_validate_json(store.read(key))
        tables = []
        for artifact in (facts.learned, facts.answered):
            data = store.read(artifact.key)
            if sha256(data) != artifact.sha256:
                raise ValueError(f"other bytes in {artifact.key}")
            tables.append(pd.read_parquet(io.BytesIO(data)))
    except (ValidationError, ValueError) as error:
        raise Corrupt(
            "What the model in use learned from cannot be read.",
            expected=f"{key} and its tables as the drift test wrote them",
            received=" ".join(str(error).split())[:200],
            do=f"find out who changed them; without the folder {folder} they are made anew",
        ) from error
    return Reference(facts, *tables)


def _kept(store: Store, folder: str, facts: dict[str, Any], *tables: pd.DataFrame) -> Reference:
    artifacts = []
    for table in tables:
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False, compression="zstd")
        data = buffer.getvalue()
        key = f"{folder}{sha256(data)}.parquet"
        try:
            store.create(key, data)
        except AlreadyExists:
            log.info("%s was written before.", key)
        artifacts.append(Artifact(key=key, sha256=sha256(data), size_bytes=len(data)))
    told = Facts(**facts, made=now_utc(), learned=artifacts[0], answered=artifacts[1])
    try:
        store.create(f"{folder}reference.json", told.model_dump_json(indent=1).encode())
    except AlreadyExists:
        return _read(store, folder)  # another process was faster
    return Reference(told, *tables)


def _made(store: Store, version: Version) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    there, _, name = version.run.rpartition("/runs/")
    records = [read_record(store, name, step) for step in ("ingest", "split", "evaluate")]
    ingested, split, evaluated = records
    if (
        there != store.uri
        or not isinstance(ingested, Ingested)
        or not isinstance(split, Split)
        or not isinstance(evaluated, Evaluated)
    ):
        raise BadInput(
            "It is not known what the model in use learned from.",
            expected=f"the records of ingest, split and evaluate of {version.run} in {store.uri}",
            received="no such run, or not all of them",
            do="give the store in which the model was made",
        )
    run = Run(store, name, Retraining())
    parts = read_parquet(run, split.parts)
    # Of an image that was erased, the row stays, without its pixels.
    lesions = one_per_lesion(parts[(parts["side"] != "test") & parts["shard"].notna()])
    answers = _judged(parquet_of(run.fetch(evaluated.predictions)))
    facts = {
        "version": version.number,
        "run": version.run,
        "model_sha256": version.model_sha256,
        "threshold": version.threshold,
        "packed_px": ingested.packed_px,
        "descriptor_version": VERSION,
        "lesions_learned": len(lesions),
        "encodings_known": "encoding" in lesions,
        "refused": _refused(evaluated),
        "synthetic": _drawn(lesions),
    }
    classes = tuple(name for name in DIAGNOSES if name in evaluated.classes)
    return facts, _learned(run, _some(lesions)), _answered(by_lesion(answers, classes), classes)


def _some(lesions: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST` rows, always the same, whatever the order of the ids."""
    marks = lesions["key"].map(lambda key: hashlib.sha256(str(key).encode()).hexdigest())
    return lesions.loc[marks.sort_values().index[:MOST]].reset_index(drop=True)


def _learned(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    table = rows.reindex(columns=list(FILE)).reset_index(drop=True)
    figures = np.empty((len(rows), len(ACQUISITION)))
    found: dict[int, np.ndarray[Any, Any]] = {}
    for places, pixels in by_shard(run, rows):
        figures[places] = acquisition_of(pixels)
        found |= dict(zip(places.tolist(), descriptors_of(pixels), strict=True))
    measured = pd.DataFrame(figures, columns=list(ACQUISITION))
    table = pd.concat([table, measured], axis=1)
    table["width"], table["height"] = (table[each].astype("int64") for each in ("width", "height"))
    table["encoding"] = table["encoding"].fillna("").astype("str")
    return table.assign(
        descriptor=pd.Series([found[place] for place in range(len(rows))], dtype="object")
    )


def _answered(lesions: pd.DataFrame, classes: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "answered": most_probable(lesions, classes).astype("str").to_numpy(),
            "melanoma_probability": lesions[MELANOMA].to_numpy(float),
        }
    )


def _judged(predictions: pd.DataFrame) -> pd.DataFrame:
    """The predictions of lesions that the app would not refuse: of others, no answer is kept."""
    if REFUSED not in predictions:
        return predictions
    refused = predictions.loc[predictions[REFUSED].fillna("") != "", "lesion"]
    return predictions[~predictions["lesion"].isin(refused)]


def _refused(evaluated: Evaluated) -> tuple[int, int] | None:
    """Lesions of the test part that are refused, of how many; None before models had a judge of
    images."""
    if evaluated.refusals is None:
        return None
    own = evaluated.refusals.lesions[0].refused
    return own.successes, own.n
