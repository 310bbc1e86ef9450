"""Show the outcome of a run as tables in a terminal."""

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.config import Retraining
from tasks.engine.run import Run, read_record
from tasks.engine.spreadsheet import read_csv
from tasks.engine.store import Store
from tasks.figures import at_least, at_most
from tasks.lesions import MELANOMA
from tasks.recipes import recipe_now
from tasks.records.evaluated import Evaluated
from tasks.records.ingested import Ingested
from tasks.records.registered import Registered
from tasks.records.split import Split
from tasks.records.validated import Validated
from tasks.records.verdict import Verdict

SYNTHETIC = "SYNTHETIC: drawn lesions. These figures say nothing about real ones."


def show(store: Store, name: str, config: Retraining, console: Console) -> None:
    """Print the content of a run's records; a step that did not happen is left out."""
    records: dict[str, Any] = {
        step: read_record(store, name, step)
        for step in ("ingest", "validate", "split", "evaluate", "gate", "register")
    }
    ingested: Ingested | None = records["ingest"]
    if ingested and ingested.synthetic:
        console.print(f"\n[bold yellow]{SYNTHETIC}[/]")
    if records["validate"]:
        run = Run(store, name, config)
        console.print(_classes(records["validate"], records["split"], records["evaluate"]))
        console.print(_quarantine(run, records["validate"]))
    console.print(_model(records["evaluate"], records["gate"], records["register"]))


def _classes(validated: Validated, split: Split | None, evaluated: Evaluated | None) -> Table:
    table = Table("class", title="Classes", title_justify="left", show_edge=False)
    for title in (
        "images",
        "lesions",
        "train",
        "validation",
        "test",
        "recall, most probable class",
    ):
        table.add_column(title, justify="right")
    for diagnosis, images in validated.classes.items():
        counts = [
            str(split.counts[side].get(diagnosis, 0)) if split else ""
            for side in ("train", "validation", "test")
        ]
        judged = evaluated.figures.per_class.get(diagnosis) if evaluated else None
        known = f"{judged.recall.successes}/{judged.recall.n}" if judged else ""
        table.add_row(diagnosis, str(images), str(validated.groups[diagnosis]), *counts, known)
    return table


def _quarantine(run: Run, validated: Validated) -> Table:
    table = Table("law", title="Quarantined", title_justify="left", show_edge=False)
    table.add_column("files", justify="right")
    table.add_column("why")
    said = {finding.law: finding for finding in validated.findings}
    for law, files in Counter(read_csv(run, validated.quarantine)["law"]).most_common():
        why = said[law].description.split(". ")[0] if law in said else ""
        table.add_row(law, str(files), why)
    if not table.rows:
        table.add_row("none", "0", "every file may be learned from")
    return table


def _model(
    evaluated: Evaluated | None, verdict: Verdict | None, registered: Registered | None
) -> Table:
    table = Table(title="Model", title_justify="left", show_header=False, show_edge=False)
    if evaluated:
        found = evaluated.figures.sensitivity
        table.add_row("recipe", f"{recipe_now(evaluated.recipe)}, chosen on validation")
        table.add_row(
            f"{MELANOMA} sensitivity",
            f"{found.successes} of {found.n} lesions; 95 % interval {at_least(found.lower, 1)} "
            f"to {at_most(found.upper, 1)}",
        )
        table.add_row("test images", str(evaluated.figures.images))
    if verdict:
        table.add_row("verdict", f"[bold]{verdict.decision}[/]: {verdict.reason}")
    table.add_row("model", _version(registered, verdict))
    return table


def _version(registered: Registered | None, verdict: Verdict | None) -> str:
    if registered and registered.newly:
        version = f"{registered.name}, version {registered.version}"
        return registered.passed_over or f"{version}, alias {registered.alias}"
    if registered:
        return f"none new: {registered.reason_to_stop}"
    if verdict and verdict.decision != "pass":
        return "none: the gate did not pass, so nothing was registered"
    return "none: the run did not come that far"
