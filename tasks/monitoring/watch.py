"""drift: whether the app is asked about other lesions or images than its model learned from.

Drift promotes nothing and takes nothing back. It is entered into the ledger of monitoring, and says
what to label first.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.evaluation.descriptor import VERSION
from tasks.evaluation.traces import HOUR, descriptors_in, read
from tasks.monitoring.causes import causes_of
from tasks.monitoring.compare import LEVEL, Asked, compared, verdict_of
from tasks.monitoring.history import History, enter, history_in
from tasks.monitoring.new_labels import new_labelled_lesions
from tasks.monitoring.reference import Reference, reference_of
from tasks.monitoring.watched import ENOUGH, ToLabel, Watched
from tasks.registry.champion import champion
from tasks.registry.versions import mlflow_client

log = logging.getLogger(__name__)

FIRST = 50  # lesions to label first
NEAREST = 10  # lesions of the reference whose distance makes a lesion unusual


@dataclass(frozen=True)
class Outcome:
    """A drift test, and what was compared.

    Attributes:
        watched: The test, as it stands in the ledger.
        asked, reference: What was compared.
    """

    watched: Watched
    asked: Asked
    reference: Reference


def watch(
    store: Store,
    days: int,
    now: datetime | None = None,
    enough: int = ENOUGH,
    *,
    starts: bool = False,
) -> Outcome:
    """Test the last days for drift, and enter the result into the ledger of monitoring.

    Args:
        store: The store with the traces of the app and the run of the model in use.
        days: How many days to look at, at least 1, in whole hours, this one included.
        now: Time of the test, with a time zone; None for the present.
        enough: New labelled lesions with which a retraining is worth it.
        starts: Whether the caller starts a retraining if it is worth it. The ledger then says so.

    Raises:
        BadInput: No model is in use, or the store does not hold what it learned from.
        Corrupt: A ledger, a trace or the reference was changed.
        Momentary: MLflow or the store does not answer.
    """
    with mlflow_client(store) as client:
        version = champion(client, store)
    if version is None:
        raise BadInput(
            "There is nothing to watch.",
            expected="a model in use",
            received="no model was ever promoted",
            do="promote a model first: python -m tasks decide, or the DAG melanoma_promotion",
        )
    reference = reference_of(store, version)
    present = (now or datetime.now(UTC)).astimezone(UTC)
    until = present.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    traces = read(store, until - timedelta(days=days), until)
    found = watched(reference, traces, since=until - timedelta(days=days), until=until)
    new = None
    if found.verdict == "drift":
        new = new_labelled_lesions(store, version.run.rpartition("/")[2])
    told = told_after(history_in(store), found, new, enough=enough, starts=starts)
    return Outcome(enter(store, told), lesions_of(reference, traces)[0], reference)


def told_after(
    history: History, found: Watched, new: int | None, *, enough: int, starts: bool
) -> Watched:
    """A test, with what is news after the tests before, and whether a retraining starts.

    Args:
        history: The tests before.
        found: The test, as `watched` gives it.
        new: Lesions with a label that were delivered since the model was trained; None if unknown.
        enough, starts: See `watch`.
    """
    drift = found.verdict == "drift"
    before = history.last_of(found.model_sha256, found.until)
    same = before is not None and set(found.moved) <= set(before.moved)
    told = found.model_copy(
        update={
            "enough": enough,
            "news": drift and not same,
            "new_labelled": new if drift else None,
            "labelled_then": history.labelled_then(found.model_sha256, found.until),
        }
    )
    return told.model_copy(update={"starts": starts and told.worth_it})


def watched(
    reference: Reference, traces: pd.DataFrame, *, since: datetime, until: datetime
) -> Watched:
    """What a test of these traces says; what follows from the tests before is not known here, see
    `told_after`."""
    asked, left = lesions_of(reference, traces)
    facts = reference.facts
    # Draws that a repetition of the test draws again.
    figures = compared(asked, reference, seed=int(until.timestamp()) // 3600)
    verdict = verdict_of(figures)
    told = Watched(
        version=facts.version,
        run=facts.run,
        model_sha256=facts.model_sha256,
        since=since.strftime(HOUR),
        until=until.strftime(HOUR),
        images=len(traces),
        lesions=traces["lesion"].nunique(),
        hours=traces["hour"].nunique(),
        left_out=left,
        verdict=verdict,
        causes=(),
        news=False,
        level=LEVEL,
        figures=figures,
        label_first=to_label(asked, reference) if verdict == "drift" else (),
        enough=ENOUGH,
        synthetic=facts.synthetic,
    )
    return told.model_copy(update={"causes": causes_of(told.moved)})


def lesions_of(reference: Reference, traces: pd.DataFrame) -> tuple[Asked, dict[str, int]]:
    """One row for each lesion that can be compared, and how many cannot, by reason."""
    facts = reference.facts
    lesions = traces.drop_duplicates("lesion")
    packed = lesions["packed_px"] == facts.packed_px
    described = packed & (lesions["descriptor_version"] == VERSION)
    judged = lesions["model_sha256"] == facts.model_sha256
    left = {
        f"their pixels were squeezed to another side than {facts.packed_px}": ~packed,
        "another version of the program described them": packed & ~described,
        "another model answered, so answers and refusals are not compared": ~judged,
    }
    counts = {reason: int(rows.sum()) for reason, rows in left.items() if rows.any()}
    return Asked(lesions[described], lesions[judged]), counts


def to_label(asked: Asked, reference: Reference) -> tuple[ToLabel, ...]:
    """The lesions that a label says most about: the most unusual, and the least certain ones.

    Both are ranked, and the sum of the ranks decides. Distances are those to the `NEAREST`-th
    nearest lesion that the model learned from, in figures of the descriptor by their spread
    (Ramaswamy, Rastogi & Shim, "Efficient algorithms for mining outliers from large data sets",
    SIGMOD (2000)). Uncertainty is that of Lewis & Gale, "A sequential algorithm for training text
    classifiers", SIGIR (1994).
    """
    rows = asked.described[asked.described["model_sha256"] == reference.facts.model_sha256]
    if rows.empty:
        return ()
    old, new = descriptors_in(reference.learned), descriptors_in(rows)
    scale = np.maximum(old.std(axis=0), 1e-6)
    usual = _distances(old / scale, old / scale, itself=True)
    unusual = _distances(new / scale, old / scale, itself=False)
    shares = np.searchsorted(np.sort(usual), unusual) / len(usual)
    margins = (rows["melanoma_probability"] - reference.facts.threshold).abs().to_numpy(float)
    certain = pd.Series(margins).rank(na_option="top") - pd.Series(unusual).rank()
    chosen = certain.sort_values(kind="stable").index[:FIRST]
    return tuple(
        ToLabel(
            hour=str(rows["hour"].iloc[at]),
            lesion=str(rows["lesion"].iloc[at]),
            distance=float(shares[at]),
            margin=None if np.isnan(margins[at]) else float(margins[at]),
        )
        for at in chosen
    )


def _distances(points: np.ndarray, among: np.ndarray, *, itself: bool) -> np.ndarray:
    """Distance of each point to its `NEAREST`-th nearest neighbour, float ``(n,)``."""
    nearest = min(NEAREST, len(among) - 1)
    squares = (points**2).sum(axis=1)[:, None] + (among**2).sum(axis=1) - 2 * points @ among.T
    # A point that is among the others is nearest to itself.
    at = nearest if itself else nearest - 1
    return np.sqrt(np.maximum(0, np.partition(squares, at, axis=1)[:, at]))
