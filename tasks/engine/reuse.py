"""Reuse the record of an earlier run while everything that the record depends on is the same."""

import json
import logging
from importlib import import_module, metadata
from typing import Any

from tasks.engine import sources
from tasks.engine.quiet import imports_muted
from tasks.engine.run import Run, read_record
from tasks.errors import BadInput, NotFound
from tasks.parts import Part
from tasks.pipeline import Step
from tasks.records.record import Artifact, Record, artifacts_of, sha256

log = logging.getLogger("tasks")


def fingerprint_of(step: Step, run: Run, inputs: dict[str, Record], outside: dict[str, str]) -> str:
    """SHA-256, hex, over everything that the result of a step depends on."""
    parts: dict[str, Any] = {
        "step": step.name,
        "code": sources.code_hash(step.module),
        "format": step.gives.FORMAT,
        "libraries": {name: metadata.version(name) for name in step.libraries},
        "config": {
            name: value
            for name, value in run.config.model_dump(mode="json").items()
            if name in step.config
        },
        "inputs": {name: record.content_hash for name, record in inputs.items()},
    }
    if outside:
        parts["outside"] = outside
    if not step.needs:
        parts["raw"] = [
            (entry.key, entry.etag)
            for entry in run.delivered()
            if not isinstance(step.part, Part) or step.part.holds(entry.key)
        ]
        sets = [(entry.key, entry.etag) for entry in run.external()]
        if isinstance(step.part, Part):
            sets = [each for each in sets if step.part.holds(each[0])]
        if sets:
            parts["external"] = sets
        # The record of the whole step says what is left out; its parts do not.
        if step.part is None and (gone := run.withdrawn()):
            parts["withdrawn"] = [(each.key, each.entry) for each in gone]
    return sha256(json.dumps(parts, sort_keys=True).encode())


def outside_of(step: Step, run: Run) -> dict[str, str]:
    """State outside records and configuration that a step depends on, such as the champion."""
    with imports_muted():
        modules = {name: import_module(f"tasks.{name}") for name in step.outside}
    return {name: str(module.outside_state(run)) for name, module in modules.items()}


def _reuse_key(step: Step, fingerprint: str) -> str:
    return f"shared/reuse/{step.name}/{fingerprint}.json"


def _etags(run: Run, artifacts: tuple[Artifact, ...]) -> dict[str, str]:
    """The ETag of each artifact that exists, by key."""
    keys = {artifact.key for artifact in artifacts}
    folders = {f"{key.rpartition('/')[0]}/" for key in keys}
    listed = (entry for folder in sorted(folders) for entry in run.store.list(folder))
    return {entry.key: entry.etag for entry in listed if entry.key in keys}


def reusable(step: Step, run: Run, fingerprint: str) -> tuple[str | None, Record | None]:
    """An earlier run's record with this fingerprint, if all its artifacts are unchanged.

    An artifact with the ETag of the commit is not read, or an unchanged run would read every pixel
    again. Any other artifact is read. A step that uses an artifact later compares the SHA-256 in
    any case.
    """
    if not step.reusable:
        return None, None
    try:
        pointer = run.store.read(_reuse_key(step, fingerprint))
    except NotFound:
        return None, None
    try:
        note = json.loads(pointer)
        earlier = str(note["run"])
        record = read_record(run.store, earlier, step.name)
        if not record or not record.provenance or record.provenance.fingerprint != fingerprint:
            return None, None
        artifacts = tuple(artifacts_of(record))
        then, now = note.get("etags", {}), _etags(run, artifacts)
        changed = [each for each in artifacts if now.get(each.key, "") != then.get(each.key)]
        for _ in run.fetch_many(tuple(changed)):
            pass
    except (BadInput, ValueError, KeyError, TypeError) as error:
        log.warning("%s: an earlier result is not reused: %s", step.name, error)
        return None, None
    return earlier, record


def keep_for_reuse(step: Step, run: Run, record: Record) -> None:
    """Note a committed record under its fingerprint, unless the record itself was reused."""
    if not step.reusable or not record.provenance or record.provenance.reused_from:
        return
    note = {"run": run.name, "etags": _etags(run, tuple(artifacts_of(record)))}
    key = _reuse_key(step, record.provenance.fingerprint)
    run.store.replace(key, json.dumps(note).encode())
