"""Which runs of a store are still needed, and why."""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.engine.run import latest_run, read_record
from tasks.engine.store import Store
from tasks.erasure.learned import is_finished
from tasks.errors import BadInput, NotFound
from tasks.pipeline import PIPELINE, STARTED
from tasks.records.registered import Registered
from tasks.registry.challenger import standing_challenger
from tasks.registry.champion import promotions_of
from tasks.registry.promotions import Model, Promotions, promotions_in
from tasks.registry.versions import has_mlflow, mlflow_client

log = logging.getLogger("tasks")

Reasons = dict[str, list[str]]


def runs_of(store: Store) -> list[str]:
    """The names of all runs of a store."""
    return sorted({entry.key.split("/")[1] for entry in store.list("runs/")})


def kept_runs(store: Store, days: float) -> Reasons:
    """Each run that is still needed, with the reasons.

    Args:
        store: The store.
        days: Age in days below which a run is kept whatever became of it.

    Raises:
        Corrupt: The ledger of promotions is damaged.
        Momentary: MLflow failed.
    """
    found: Reasons = {}
    there = set(runs_of(store))

    def keep(run: str | None, why: str) -> None:
        if run in there and run is not None:
            found.setdefault(run, []).append(why)

    for run, why in _by_decisions(store):
        keep(run, why)
    for step in PIPELINE:
        keep(latest_run(store, step.name), f"the last that reached {step.name}")
    for run in sorted(there):
        if not is_finished(store, run):
            keep(run, "not finished")
        if is_recent(store, run, days):
            keep(run, f"younger than {days:g} days")
    return found


def _by_decisions(store: Store) -> Iterator[tuple[str | None, str]]:
    with_mlflow = False
    with suppress(BadInput):  # of a store on S3 where no server is named
        with_mlflow = has_mlflow(store)
    if with_mlflow:
        with mlflow_client(store) as client:
            now: Promotions = promotions_of(client, store)
            waits = standing_challenger(client, store)
            yield (_name(store, waits.run), "the standing challenger") if waits else (None, "")
    else:
        now = promotions_in(store)
        log.warning("No MLflow is named: every run whose model was registered is kept.")
        for run in runs_of(store):
            with suppress(BadInput):
                if isinstance(read_record(store, run, "register"), Registered):
                    yield run, "registered a model, which may wait for a decision"
    yield from _in_use(store, now)


def _in_use(store: Store, now: Promotions) -> Iterator[tuple[str | None, str]]:
    models: list[tuple[Model | None, str]] = [(now.champion, "the champion")]
    models += [(each, "an earlier champion, to roll back to") for each in now.earlier]
    for question in now.open:
        models += [(question.model, "an open question"), (question.champion, "an open question")]
    for model, why in models:
        if model:
            yield _name(store, model.run), why


def _name(store: Store, address: str) -> str | None:
    there, _, name = address.rpartition("/runs/")
    return name if there == store.uri else None


def is_recent(store: Store, run: str, days: float) -> bool:
    """Whether a run began, or a step of it was committed, less than so many days ago."""
    since = datetime.now(UTC) - timedelta(days=days)
    return any(each > since for each in _times(store, run))


def _times(store: Store, run: str) -> Iterator[datetime]:
    places = [(f"runs/{run}/{STARTED}", "at")]
    places += [(f"runs/{run}/{step.name}/record.json", "committed_at") for step in PIPELINE]
    for key, field in places:
        with suppress(NotFound, ValueError, KeyError, TypeError, AttributeError):
            content: Any = json.loads(store.read(key))
            told = content if field == "at" else content["provenance"]
            yield datetime.fromisoformat(told[field])
