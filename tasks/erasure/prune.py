"""prune: remove from a store what nothing needs any more, after saying what and why.

Ledgers, deliveries, records, notes, pages and evidence always stay. Of a run that nothing needs,
the tables, weights and pictures go, unless the record of a needed run names them; so do pixels that
no needed run and no delivered file has.
"""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pandas as pd

from tasks.engine.erasures import erasures_in
from tasks.engine.run import CHECKPOINTS
from tasks.engine.store import Entry, Store, read_many
from tasks.erasure.kept import Reasons, is_recent, kept_runs, runs_of
from tasks.errors import BadInput, Momentary
from tasks.intake.contents import ENDED, in_largest_packs
from tasks.intake.feature_files import COMPARED, compared_now, folder_now, shard_of
from tasks.intake.feature_files import FOLDER as FEATURES
from tasks.release.evidence import FOLDER

log = logging.getLogger("tasks")

SHARED = ("shared/shards/", "shared/manifests/")
POINTERS, PACKS, DECODED = "shared/reuse/", "shared/packs/", "shared/decoded/"
# What people read, and what is small, of every run. Anything else is an artifact of a step.
STAYS = re.compile(rf"runs/[^/]+/({FOLDER}/.*|.*\.json|policy/.*|report\.html|quarantine\.html)")
KINDS = {
    ".npy": "pixels",
    ".parquet": "tables",
    ".csv": "tables",
    ".keras": "weights",
    ".npz": "checkpoints",
    ".judge": "judges of images",
    ".features": "local features",
    ".html": "pages of checks",
    ".png": "pictures",
}


@dataclass(frozen=True)
class Plan:
    """What would go.

    Attributes:
        kept: Each run that is needed, with the reasons.
        gone: The objects that nothing needs.
        pointers: Keys of the notes by which a later run would reuse something of these.
        runs: The names of all runs.
        remark: Why shared objects stay although nothing names them; empty if they do not.
    """

    kept: Reasons
    gone: tuple[Entry, ...]
    pointers: tuple[str, ...]
    runs: tuple[str, ...]
    remark: str = ""

    @property
    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Number of objects, and bytes, of each kind."""
        found: dict[str, tuple[int, int]] = {}
        for entry in self.gone:
            kind = KINDS.get(f".{entry.key.rpartition('.')[2]}", "others")
            count, size = found.get(kind, (0, 0))
            found[kind] = (count + 1, size + entry.size_bytes)
        return dict(sorted(found.items()))


@dataclass
class _Needed:
    """Keys that must stay."""

    keys: set[str] = field(default_factory=set)

    def of_records(self, store: Store, run: str) -> None:
        """What the records of a run name, of whatever version of the program."""
        names = [e.key for e in store.list(f"runs/{run}/") if e.key.endswith("/record.json")]
        for data in read_many(store, names):
            with suppress(ValueError, RecursionError):
                self.keys |= set(_keys_in(json.loads(data)))


def _keys_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if {"key", "sha256"} <= value.keys():
            yield str(value["key"])
        for part in value.values():
            yield from _keys_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from _keys_in(part)


def planned(store: Store, days: float) -> Plan:
    """What nothing needs any more.

    Args:
        store: The store.
        days: Runs younger than so many days are kept, and nothing that runs share goes while one of
            them is at work.

    Raises:
        BadInput: An erasure is not complete.
        Corrupt: A ledger is damaged.
        Momentary: MLflow failed.
    """
    _check_no_erasure_is_open(store)
    kept, runs = kept_runs(store, days), runs_of(store)
    needed = _Needed()
    for run in kept:
        needed.of_records(store, run)
    at_work = [
        run for run, why in kept.items() if "not finished" in why and is_recent(store, run, days)
    ]
    gone = list(_of_runs(store, kept, needed.keys))
    remark = ""
    if at_work:
        remark = f"what runs share stays, as {', '.join(at_work[:3])} may be at work"
    else:
        gone += _shared(store, needed.keys)
    dropped = {entry.key for entry in gone}
    pointers = tuple(_pointers(store, kept, dropped))
    return Plan(kept, tuple(gone), pointers, tuple(runs), remark)


def _check_no_erasure_is_open(store: Store) -> None:
    now = erasures_in(store)
    for fact in now.begun.values():
        if now.open_of(fact.asked, fact.asked_sha256):
            raise BadInput(
                "Nothing was removed: an erasure is not complete.",
                expected="complete erasures",
                received=f"one of {fact.by.in_words}, for: {fact.reason}",
                do="give the same command of erase again",
            )


def _of_runs(store: Store, kept: Reasons, needed: set[str]) -> Iterator[Entry]:
    for entry in store.list("runs/"):
        run = entry.key.split("/")[1]
        checkpoint = f"/{CHECKPOINTS}/" in entry.key and "not finished" not in kept.get(run, ())
        idle = run not in kept and not STAYS.fullmatch(entry.key)
        if (checkpoint or idle) and entry.key not in needed:
            yield entry


def _shared(store: Store, needed: set[str]) -> Iterator[Entry]:
    """Pixels and manifests that no needed run names; but pixels of files that lie under ``raw/`` as
    they were decoded stay, or the next run would decode them again. Packs of runs that have ended
    tell nothing that is not known. Local features go with their pixels, or if they are of other
    code.
    """
    packs = list(store.list(PACKS))
    ended = {e.key.rpartition("/")[0] for e in packs if e.key.endswith(f"/{ENDED}")}
    over = [
        e for e in packs if e.key.rpartition("/")[0] in ended and not e.key.endswith(f"/{ENDED}")
    ]
    indexes = [e.key for e in (*store.list(DECODED), *packs) if e.key.endswith(".parquet")]
    known = _decoded(store, indexes)
    for prefix in SHARED:
        yield from (e for e in store.list(prefix) if e.key not in needed | known)
    for entry in store.list(FEATURES):
        if shard_of(entry.key) not in needed | known or not entry.key.startswith(folder_now()):
            yield entry
    yield from (e for e in store.list(COMPARED) if not e.key.startswith(compared_now()))
    yield from over


def _decoded(store: Store, indexes: list[str]) -> set[str]:
    """The shards in which the next run looks for the pixels of what lies under ``raw/``."""
    raw = {(e.key, e.etag) for e in store.list("raw/")}
    there = {e.key for e in store.list("shared/shards/")}
    tables: dict[str, list[pd.DataFrame]] = {}
    for index, data in zip(indexes, read_many(store, indexes), strict=True):
        rows = pd.read_parquet(io.BytesIO(data), columns=["key", "etag", "shard", "index"])
        tables.setdefault(index.split("/")[2], []).append(rows)  # by the kind of pixels
    found: set[str] = set()
    for of_kind in tables.values():
        rows = pd.concat(of_kind)
        rows = in_largest_packs(rows[rows["shard"].isin(there)])
        present = [pair in raw for pair in zip(rows["key"], rows["etag"], strict=True)]
        found |= set(rows.loc[present, "shard"])
    return found


def _pointers(store: Store, kept: Reasons, dropped: set[str]) -> Iterator[str]:
    """Notes that lead to a run of which something goes."""
    runs = {key.split("/")[1] for key in dropped if key.startswith("runs/")}
    keys = [entry.key for entry in store.list(POINTERS)]
    for key, data in zip(keys, read_many(store, keys), strict=True):
        try:
            run = str(json.loads(data)["run"])
        except (ValueError, KeyError, TypeError):
            continue
        if run not in kept or run in runs:
            yield key


def prune(store: Store, plan: Plan) -> None:
    """Remove what a plan names: first the notes that lead there, then the objects.

    Raises:
        Momentary: A run began meanwhile, which may have found a note before it was gone.
    """
    for key in plan.pointers:
        store.delete(key)
    new = set(runs_of(store)) - set(plan.runs)
    if new:
        raise Momentary(
            f"Nothing but notes was removed: run {sorted(new)[0]} began meanwhile. Try again later."
        )
    for entry in plan.gone:
        store.delete(entry.key)
    log.info("%d objects are removed.", len(plan.gone))


def in_words(plan: Plan, *, done: bool) -> list[str]:
    """What a person is told."""
    told = [f"Kept: run {run}: {', '.join(why)}." for run, why in sorted(plan.kept.items())]
    idle = sorted(set(plan.runs) - plan.kept.keys())
    told += [f"Not needed: run {run}. Its records, pages and evidence stay." for run in idle]
    verb = "Removed" if done else "Would go"
    for kind, (count, size) in plan.by_kind.items():
        told.append(f"{verb}: {kind}, {count} objects, {size / 1e6:.1f} MB.")
    if not plan.gone:
        told.append("Nothing is there that nothing needs.")
    if plan.remark:
        told.append(f"Note: {plan.remark}.")
    if plan.gone and not done:
        told.append("Nothing was removed. Give --yes to remove it.")
    return told
