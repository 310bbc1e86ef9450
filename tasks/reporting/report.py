"""report: write one page about a run, first for clinicians, then for engineers.

The page is one self-contained HTML file with pictures and charts, without scripts, and can be
printed. It shows the records that the run has; for a run that stopped early, the page says so. File
names, labels and all other text of the delivery are hostile input, so the template escapes them.
"""

import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.config import Retraining, value_in_words
from tasks.curve import in_words
from tasks.engine.run import Run
from tasks.errors import BadInput, NotFound, PipelineError
from tasks.evaluation.serious import serious_of
from tasks.figures import at_least, at_most, confident, down, duration, percent, plural, up
from tasks.intake.readings import columns_in_words
from tasks.lesions import DIAGNOSES, MELANOMA, SYNONYMS, Diagnosis
from tasks.pipeline import PIPELINE, Step
from tasks.recipes import recipe_now
from tasks.records.balance import Balance
from tasks.records.evaluated import Evaluated
from tasks.records.ingested import Ingested
from tasks.records.oversampled import Oversampled
from tasks.records.record import Record, sha256
from tasks.records.registered import Registered
from tasks.records.split import Side, Split
from tasks.records.trained import Trained
from tasks.records.validated import Validated
from tasks.records.verdict import Verdict
from tasks.registry.shown import attach
from tasks.registry.versions import has_mlflow, mlflow_client
from tasks.release.card import drop_in_words
from tasks.release.evidence import FOLDER, MANIFEST, Bundle
from tasks.release.signature import signature_in_words
from tasks.reporting.audit import GALLERY, audit_of
from tasks.reporting.charts import curves, reliability_chart
from tasks.reporting.findings import findings
from tasks.reporting.pictures import missed, samples
from tasks.statistics.confidence import CONFIDENCE
from tasks.statistics.proportions import lower_bound, upper_bound

log = logging.getLogger(__name__)

SIDES: tuple[Side, ...] = ("train", "validation", "test")
# The shortest code of each class.
ABBREVIATIONS = {
    name: code.upper()
    for code, name in sorted(SYNONYMS.items(), key=lambda each: -len(each[0]))
    if " " not in code
}


@dataclass(frozen=True)
class Records:
    """The records of a run's steps; None for a step that did not happen."""

    ingest: Ingested | None
    validate: Validated | None
    split: Split | None
    check_balance: Balance | None
    oversample: Oversampled | None
    train: Trained | None
    evaluate: Evaluated | None
    gate: Verdict | None
    register: Registered | None

    def of(self, step: Step) -> Record | None:
        record: Record | None = getattr(self, step.name)
        return record


def report(run: Run) -> str:
    """Write ``runs/<run>/report.html``, over an earlier one; returns its key.

    Raises:
        BadInput: There is no such run in the store.
    """
    # Each record has the type of its step, which a dictionary of all of them cannot say.
    records = Records(**{step.name: run.record(step.name) for step in PIPELINE})  # type: ignore[arg-type]  # by name
    if not any(map(records.of, PIPELINE)) and not any(run.store.list(f"runs/{run.name}/")):
        raise BadInput(
            "There is nothing to report.",
            expected=f"a run {run.name} in {run.store.uri}",
            received="no object of such a run",
            do="check the name of the run and the address of the store",
        )
    key = f"runs/{run.name}/report.html"
    if records.validate:
        quarantine = render_quarantine(run, records).encode()
        run.store.replace(f"runs/{run.name}/quarantine.html", quarantine)
    page = render(run, records)
    run.store.replace(key, page.encode())
    if records.register and records.register.newly:
        _show_in_mlflow(run, records.register, page)
    return key


def _show_in_mlflow(run: Run, registered: Registered, page: str) -> None:
    """Put the report beside the registered version, for whoever compares versions there. The store
    holds the report; without MLflow it stays there alone."""
    try:
        if not has_mlflow(run.store):
            log.warning("The report is in the store, and not in MLflow: this store has none.")
            return
        with mlflow_client(run.store) as client:
            version = client.get_model_version(registered.name, str(registered.version))
            attach(client, version.run_id, "report.html", page)
    except (PipelineError, OSError) as error:  # errors of requests are OSError
        log.warning("The report is in the store, and not in MLflow: %s", error)


def render_quarantine(run: Run, records: Records) -> str:
    """The page of every quarantined image, as HTML."""
    audit = audit_of(run, records.ingest, records.validate, records.split, most=GALLERY)
    synthetic = bool(records.ingest and records.ingest.synthetic)
    page = _environment().get_template("quarantine.html.j2")
    return page.render(run=run, audit=audit, synthetic=synthetic)


def _environment() -> Environment:
    """The environment of the templates, with the filters that they use."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "at_least": at_least,
        "at_most": at_most,
        "down": down,
        "confident": confident,
        "up": up,
        "fit_in_words": in_words,
        "recipe_now": recipe_now,
        "drop": drop_in_words,
        "value": value_in_words,
        "duration": duration,
        "plural": plural,
        "columns": columns_in_words,
        "lower_bound": lambda figure, sure: lower_bound(figure.successes, figure.n, sure),
        "upper_bound": lambda figure, sure: upper_bound(figure.successes, figure.n, sure),
        "count": lambda number: f"{number:,}".replace(",", "\u202f"),
        "short": lambda name: ABBREVIATIONS.get(name, name),
        "sentence": lambda text: text[:1].upper() + text[1:],
        "words": lambda name: name.replace("_", " "),
    }
    return environment


def render(run: Run, records: Records) -> str:
    """The page, as HTML."""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            records=records,
            synthetic=bool(records.ingest and records.ingest.synthetic),
            kind=records.gate.decision.split()[0] if records.gate else "stopped",
            how_far=how_far(run, records),
            steps=[_step(run, step, records) for step in PIPELINE],
            pictures=_pictures(run, records),
            audit=audit_of(run, records.ingest, records.validate, records.split),
            classes=_classes(records),
            findings=findings(records.check_balance, records.train, records.evaluate),
            curves=curves(records.train) if records.train else [],
            reliability=reliability_chart(records.evaluate.figures.calibration)
            if records.evaluate
            else None,
            evidence=_evidence(run),
            confusion=_confusion(records.evaluate) if records.evaluate else [],
            config=_config(records),
            defaults=Retraining(),
            melanoma=MELANOMA,
            # The gate's confidence, so that the page does not show two bounds of one figure.
            confidence=records.gate.looks.confidence
            if records.gate and records.gate.looks
            else CONFIDENCE,
            serious=serious_of(records.evaluate.figures) if records.evaluate else [],
            asked={rule.name: rule.threshold for rule in records.gate.rules}
            if records.gate
            else {},
            made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )


# How far the run came ----------------------------------------------------------------------------


def how_far(run: Run, records: Records) -> str | None:
    """The last step that was committed and the first that was not, in words; None if all were."""
    missing = next((step for step in PIPELINE if records.of(step) is None), None)
    if missing is None:
        return None
    done = PIPELINE.index(missing)
    reached = "This run has not completed its first step."
    if done:
        reached = f"This run came as far as {PIPELINE[done - 1].name}, step {done} of 9."
    stopped = _told(run, missing, "stopped.json", "error")
    if stopped:
        return f"{reached} The step {missing.name} stopped. {stopped}"
    heard = _told(run, missing, "progress.json", "text")
    last = f" It was last heard of at: {heard}." if heard else ""
    unknown = f"The step {missing.name} left no record: it is still at work, or was killed."
    return f"{reached} {unknown}{last}"


def _told(run: Run, step: Step, filename: str, field: str) -> str | None:
    """The text that an unfinished step, or else one of its parts, left in a file of its folder;
    None without such a file."""
    folder = run.key("", step.name)
    parts = (f"{part}/{filename}" for part in _unfinished_parts(run, step))
    for key in (filename, *parts):
        with suppress(NotFound, ValueError, KeyError, TypeError):
            return str(json.loads(run.store.read(folder + key))[field])
    return None


def _unfinished_parts(run: Run, step: Step) -> list[str]:
    """Names of the parts that began and left no record."""
    if step.division is None:
        return []
    folder = run.key("", step.name)
    found = [entry.key.removeprefix(folder).split("/") for entry in run.store.list(folder)]
    begun = {place[0] for place in found if len(place) == 2}
    return sorted(begun - {place[0] for place in found if place[1:] == ["record.json"]})


def _step(run: Run, step: Step, records: Records) -> dict[str, Any]:
    record = records.of(step)
    refused = records.gate is not None and records.gate.decision != "pass"
    state = "done" if record else "missing"
    if record is None and step.name == "register" and refused:
        state = "skipped"
    elif record and record.provenance and record.provenance.reused_from:
        state = "reused"
    return {
        "name": step.name,
        "does": step.does,
        "state": state,
        "provenance": record.provenance if record else None,
    }


def _evidence(run: Run) -> dict[str, str] | None:
    """Address of the run's evidence, and the SHA-256 of its manifest; None before the verdict."""
    try:
        data = run.store.read(f"runs/{run.name}/{FOLDER}/{MANIFEST}")
    except NotFound:
        return None
    gaps = ""
    try:
        bundle = Bundle(f"{run.uri}/{FOLDER}")
        signature = signature_in_words(bundle)
        gaps = bundle.gaps.in_words if bundle.gaps else ""
    except BadInput as error:  # the page is made all the same
        signature = f"{error.problem} Received: {error.received}"
    return {
        "uri": f"{run.uri}/{FOLDER}",
        "folder": FOLDER,
        "sha256": sha256(data),
        "signature": signature,
        "gaps": gaps,
    }


def _config(records: Records) -> Retraining:
    """The configuration that the run was made with; the defaults if nothing was committed."""
    for step in reversed(PIPELINE):
        record = records.of(step)
        if record and record.provenance:
            return record.provenance.config
    return Retraining()


# Sections ----------------------------------------------------------------------------------------


def _pictures(run: Run, records: Records) -> dict[str, Any]:
    """Some pictures of each class, and the melanomas that were missed."""
    source = None
    if records.split:
        source = records.split.parts
    elif records.validate:
        source = records.validate.accepted
    elif records.ingest:
        source = records.ingest.manifest
    found: dict[str, Any] = {"classes": {}, "missed": [], "problem": None}
    if source is None:
        return found
    try:
        found["classes"] = samples(run, source)
        if records.evaluate:
            found["missed"] = missed(run, source, records.evaluate.missed)
    except BadInput as error:  # the page is made all the same, and says what it lacks
        found["problem"] = f"{error.problem} Received: {error.received}"
    return found


def _classes(records: Records) -> list[dict[str, Any]]:
    """For each class: images on each side, and in training before and after oversampling."""
    counts = records.split.counts if records.split else {}
    before = records.check_balance.counts if records.check_balance else counts.get("train", {})
    after = records.oversample.counts if records.oversample else before
    known = {*before, *after, *(name for side in counts.values() for name in side)}
    most = max([1, *before.values(), *after.values()])

    def row(name: Diagnosis) -> dict[str, Any]:
        own, all_of_it = before.get(name, 0), after.get(name, 0)
        return {
            "name": name,
            "sides": [counts.get(side, {}).get(name, 0) for side in SIDES],
            "before": own,
            "copies": max(0, all_of_it - own),
            "share": own / most,
            "share_of_copies": max(0, all_of_it - own) / most,
        }

    return [row(name) for name in DIAGNOSES if name in known]


def _confusion(evaluated: Evaluated) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "cells": [(count, count / max(1, sum(counts))) for count in counts],
            "total": sum(counts),
            "recall": evaluated.figures.per_class[name].recall,
        }
        for name, counts in zip(evaluated.classes, evaluated.figures.confusion, strict=True)
    ]
