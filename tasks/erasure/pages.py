"""The pages of runs that show pictures: made anew from what is left, in the store and in MLflow."""

import logging

from tasks.config import Retraining
from tasks.engine.erasures import Change
from tasks.engine.run import Run, read_record
from tasks.engine.store import Store
from tasks.erasure.scope import Scope
from tasks.errors import BadInput, NotFound
from tasks.records.record import sha256
from tasks.records.registered import Registered
from tasks.registry.shown import attach
from tasks.registry.versions import has_mlflow, mlflow_client

log = logging.getLogger("tasks")

PAGES = ("report.html", "quarantine.html")
INSTEAD = (
    "<!doctype html><title>Erased</title><p>This page showed an image that was erased. It cannot "
    "be made anew by this version of the program.</p>"
)


def renew_pages(store: Store, scope: Scope) -> list[Change]:
    """Make each page of a run that held an image anew; returns what was changed.

    Raises:
        Momentary: MLflow failed, and its copy of a report still shows the image.
    """
    changed = []
    for run in scope.runs:
        before = {name: _read(store, f"runs/{run}/{name}") for name in PAGES}
        if not any(before.values()):
            continue
        _make(store, run, before)
        for name, was in before.items():
            key = f"runs/{run}/{name}"
            now = _read(store, key)
            if was and was != now:
                digest = sha256(now) if now else ""
                named = sha256(key.encode())
                changed.append(Change(key=key, key_sha256=named, was=sha256(was), now=digest))
        changed += _in_mlflow(store, run)
    return changed


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except NotFound:
        return None


def _make(store: Store, run: str, before: dict[str, bytes | None]) -> None:
    from tasks.reporting.report import report

    try:
        report(Run(store, run, Retraining()))
    except BadInput as error:
        log.warning("The pages of run %s are replaced by a notice: %s", run, error.problem)
        for name, was in before.items():
            if was:
                store.replace(f"runs/{run}/{name}", INSTEAD.encode())


def _in_mlflow(store: Store, run: str) -> list[Change]:
    try:
        registered = read_record(store, run, "register")
    except BadInput:
        registered = None
    if not isinstance(registered, Registered) or not registered.newly or not has_mlflow(store):
        return []
    page = (_read(store, f"runs/{run}/report.html") or INSTEAD.encode()).decode()
    with mlflow_client(store) as client:
        version = client.get_model_version(registered.name, str(registered.version))
        attach(client, version.run_id, "report.html", page)
    key = f"mlflow:{version.run_id}/release/report.html"
    named = sha256(key.encode())
    return [Change(key=key, key_sha256=named, was="", now=sha256(page.encode()))]
