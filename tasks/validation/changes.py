"""Compare the accepted data of this run with those of the run before."""

import io
import logging
from dataclasses import dataclass

import pandas as pd
from pyarrow import parquet

from tasks.engine.run import Run, latest_run, read_record
from tasks.engine.spreadsheet import read_csv, to_csv
from tasks.errors import BadInput
from tasks.intake.manifest import BYTES, COLUMNS
from tasks.lesions import DIAGNOSES, Diagnosis
from tasks.records.record import Artifact
from tasks.records.validated import Basis, Changed, Changes, Finding, Validated
from tasks.registry.promotions import promotions_in

OTHERS = "other_counterparts"  # a column of a quarantine table, for people only


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Previous:
    """The run whose data were accepted before.

    Attributes:
        run: Name of that run.
        basis: As `tasks.records.validated.Changes.basis`.
        record: The record of validate of that run.
        accepted: The accepted rows, without thumbnails.
        quarantined: The quarantine table of that run.
    """

    run: str
    basis: Basis
    record: Validated
    accepted: pd.DataFrame
    quarantined: pd.DataFrame

    @property
    def ids(self) -> pd.Series:
        """The image id of every file that the run knew, by the file's key."""
        both = pd.concat([self.accepted, self.quarantined])
        return both.set_index("key")["image_id"].astype("str")


# A failed run, or one whose model was refused, must not hide what is new: people compare the next
# model with the model that they know.
BASES: tuple[tuple[str, Basis], ...] = (
    ("promote", "in use"),
    ("register", "registered"),
    ("gate", "judged"),
    ("validate", "accepted"),
)


def previous_of(run: Run) -> Previous | None:
    """The run to compare with; None if there is no run that can be read.

    It is the run whose model is in use, else the run whose model was registered last. If no model
    was ever registered, it is the last run that reached a verdict, else the last that accepted
    data.
    """
    for step, basis in BASES:
        name = _run_in_use(run) if step == "promote" else latest_run(run.store, step)
        if name is not None and name != run.name:
            found = _previous(run, name, basis)
            if found:
                return found
    return None


def _run_in_use(run: Run) -> str | None:
    """The run of the champion, if this store made it; by the note of earlier versions where there
    is no ledger of promotions."""
    now = promotions_in(run.store)
    if not now.facts:
        return latest_run(run.store, "promote")
    store, _, name = now.champion.run.rpartition("/runs/") if now.champion else ("", "", "")
    return name if name and store == run.store.uri else None


def _previous(run: Run, name: str, basis: Basis) -> Previous | None:
    try:
        record = read_record(run.store, name, "validate")
    except BadInput as error:
        log.warning("Cannot compare with the data that run %s accepted: %s", name, error.problem)
        return None
    if not isinstance(record, Validated) or not record.provenance:
        return None
    try:
        file = io.BytesIO(run.fetch(record.accepted))
        there = set(parquet.read_schema(file).names)  # earlier versions kept fewer columns
        columns = [name for name in COLUMNS if name in there and name not in BYTES]
        accepted = pd.read_parquet(file, columns=columns).reindex(columns=list(COLUMNS))
        quarantined = read_quarantine(run, record.quarantine)
    except (BadInput, ValueError):  # gone, or of another version of the program
        return None
    return Previous(name, basis, record, accepted, quarantined)


def read_quarantine(run: Run, artifact: Artifact) -> pd.DataFrame:
    """A table of quarantined files, every cell as text; a missing value is an empty text."""
    table = read_csv(run, artifact)
    if OTHERS not in table and "counterpart" in table:  # format 1 joined all counterparts
        first = table["counterpart"].str.partition("; ")[0]
        return table.assign(counterpart=first)
    return table


def changes_since(
    run: Run,
    before: Previous,
    accepted: pd.DataFrame,
    quarantined: pd.DataFrame,
    findings: tuple[Finding, ...],
) -> Changes:
    """Compare the accepted and quarantined files of this run with those of the run before."""
    ids = pd.concat([accepted, quarantined]).set_index("key")["image_id"].astype("str")
    files = _files(before, ids, accepted, quarantined)
    counted = files["change"].value_counts()
    lost = files[files["change"] == "quarantined now"]
    now = accepted["label"].value_counts()
    classes: list[Diagnosis] = [
        name for name in DIAGNOSES if name in now.index or name in before.record.classes
    ]
    past = {finding.law: finding.count for finding in before.record.findings}
    new = ids[~ids.index.isin(before.ids.index)]
    return Changes(
        since=before.run,
        basis=before.basis,
        new_files=len(new),
        new_images=new[~new.isin(before.ids)].nunique(),
        recognized=new[new.isin(before.ids)].nunique(),
        gone_files=int(counted.get("gone", 0)),
        learnable=tuple(n for n in classes if n in now.index and n not in before.record.classes),
        not_learnable=tuple(n for n in classes if n not in now.index),
        accepted={n: (before.record.classes.get(n, 0), int(now.get(n, 0))) for n in classes},
        findings=tuple(
            Changed(law=each.law, before=past.get(each.law, 0), now=each.count)
            for each in findings
            if past.get(each.law, 0) != each.count
        ),
        now_quarantined={
            finding.law: int(count)
            for finding in findings
            if (count := (lost["law"] == finding.law).sum())
        },
        now_accepted=int(counted.get("accepted now", 0)),
        files=run.keep("changes.csv", to_csv(files)),
    )


def _files(
    before: Previous, ids: pd.Series, accepted: pd.DataFrame, quarantined: pd.DataFrame
) -> pd.DataFrame:
    """A row for each file that changed: key, image_id, change, law, reason."""
    past = before.ids
    fresh = ids.index[~ids.index.isin(past.index)]
    groups = {
        "new image": fresh[~ids[fresh].isin(past)],
        "recognized again": fresh[ids[fresh].isin(past)],
        "gone": past.index[~past.index.isin(ids.index)],
        "quarantined now": before.accepted["key"][before.accepted["key"].isin(quarantined["key"])],
        "accepted now": before.quarantined["key"][before.quarantined["key"].isin(accepted["key"])],
    }
    rows = pd.DataFrame(
        [(str(key), change) for change, keys in groups.items() for key in keys],
        columns=["key", "change"],
        dtype="str",
    )
    rows.insert(1, "image_id", rows["key"].map(ids).fillna(rows["key"].map(past)))
    why = quarantined.set_index("key")
    for name in ("law", "reason"):
        rows[name] = rows["key"].map(why[name]).astype("str").fillna("")
    return rows.sort_values(["change", "key"], ignore_index=True)
