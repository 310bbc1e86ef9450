"""One run of the pipeline, as one step sees it: its place in the store, its records, its reuse.

`execute` is the only place that commits a record, and so the only place that decides whether a
step happened.
"""

import ast
import hashlib
import json
import logging
import os
import platform
import re
import resource
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from tasks.config import Retraining
from tasks.engine.quiet import imports_muted
from tasks.engine.storage import Entry, Store, open_store, read_many
from tasks.errors import (
    AlreadyExists,
    BadInput,
    Corrupt,
    Halt,
    Momentary,
    NotFound,
    PipelineError,
)
from tasks.lesions import IMAGE_SUFFIXES
from tasks.parts import Part
from tasks.pipeline import PIPELINE, Step, parts_of, step_named
from tasks.records.record import Artifact, Provenance, Record

log = logging.getLogger("tasks")

CHECKPOINTS = "checkpoints"  # folder of a step's, or a part's, that its record makes superfluous

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class Progress:
    """How far a step is: `done` of `total`, in words `text` ("epoch 3/20, loss 1.21")."""

    step: str
    done: int
    total: int
    text: str


@dataclass(frozen=True)
class Run:
    """Where a step reads and writes.

    Attributes:
        store: The store.
        name: Name of the run, ``runs/<name>/`` in the store.
        config: The run's configuration.
        step: The step that this object was made for, or the part of one, such as
            ``ingest/2-of-4``; its artifacts go to its folder.
        watch: Called with each `Progress`, in the process of the step.
        attempt: Folder of this attempt's artifacts. Two attempts at one step may overlap (a
            worker that was given up for lost goes on); neither may overwrite what the record of
            the other vouches for.
    """

    store: Store
    name: str
    config: Retraining
    step: str = ""
    watch: Callable[[Progress], None] = field(default=lambda progress: None, repr=False)
    attempt: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def uri(self) -> str:
        return f"{self.store.uri}/runs/{self.name}"

    def key(self, filename: str, step: str | None = None) -> str:
        return f"runs/{self.name}/{step or self.step}/{filename}"

    def keep(self, filename: str, data: bytes) -> Artifact:
        """Write an artifact into this attempt's folder of the step."""
        key = self.key(f"{self.attempt}/{filename}")
        self.store.replace(key, data)
        return Artifact(key=key, sha256=sha256(data), size_bytes=len(data))

    def share(self, kind: str, data: bytes, suffix: str) -> Artifact:
        """Write an artifact that other runs may use too, under the hash of its content."""
        digest = sha256(data)
        key = f"shared/{kind}/{digest}{suffix}"
        try:
            self.store.create(key, data)
        except AlreadyExists:
            if sha256(self.store.read(key)) != digest:
                log.warning("%s was damaged; it is written again.", key)
                self.store.replace(key, data)
        return Artifact(key=key, sha256=digest, size_bytes=len(data))

    def fetch(self, artifact: Artifact) -> bytes:
        """Read an artifact. Raises `Corrupt` unless its bytes are what the record holds."""
        return self._checked(artifact, self.store.read(artifact.key))

    def fetch_many(self, artifacts: tuple[Artifact, ...]) -> Iterator[bytes]:
        """Read artifacts in parallel; see `fetch`."""
        contents = read_many(self.store, [artifact.key for artifact in artifacts])
        for artifact, data in zip(artifacts, contents, strict=True):
            yield self._checked(artifact, data)

    def _checked(self, artifact: Artifact, data: bytes) -> bytes:
        if sha256(data) != artifact.sha256:
            raise Corrupt(
                "An artifact is not what its record says.",
                expected=f"SHA-256 {artifact.sha256} of {artifact.key}",
                received=f"SHA-256 {sha256(data)}",
                do="find out who changed it; then start a new run",
            )
        return data

    def delivered(self) -> list[Entry]:
        """What lay under ``raw/`` when this run first looked and found an image.

        It is written down then, so that all parts of a step, however late each begins or begins
        again, speak of the same files. What is delivered meanwhile is for the next run.
        """
        key = f"runs/{self.name}/raw.json"
        with suppress(NotFound):
            return [Entry(**entry) for entry in json.loads(self.store.read(key))]
        found = list(self.store.list("raw/"))
        if any(entry.key.casefold().endswith(IMAGE_SUFFIXES) for entry in found):
            try:
                self.store.create(key, json.dumps([asdict(entry) for entry in found]).encode())
            except AlreadyExists:
                return self.delivered()
        return found

    def progress(self, done: int, total: int, text: str) -> None:
        """Tell whoever watches, here and from afar, how far this step is."""
        now = Progress(self.step, done, total, text)
        self.watch(now)
        self.store.replace(self.key("progress.json"), json.dumps(now.__dict__).encode())

    def record(self, step: str) -> Record | None:
        """The committed record of a step of this run, or None."""
        return read_record(self.store, self.name, step)


def latest_run(store: Store, step: str) -> str | None:
    """The run of a store that committed a step last, or promoted its model last; None if none."""
    try:
        return str(json.loads(store.read(latest_key(step)))["run"])
    except NotFound:
        return None
    except (BadInput, ValueError, KeyError, TypeError) as error:
        log.warning("Which run came to %s last cannot be told: %s", step, error)
        return None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def open_run(uri: str, config: Retraining, *, step: str = "") -> Run:
    """Open ``<store>/runs/<name>``.

    Raises:
        BadInput: The address does not end in ``/runs/<name>``.
    """
    store, separator, name = uri.rstrip("/").rpartition("/runs/")
    if not separator or not store or not RUN_NAME.fullmatch(name):
        raise BadInput(
            "The address of the run is not understood.",
            expected="STORE/runs/NAME, with letters, digits, '.', '_' and '-' in NAME",
            received=repr(uri),
            do="give for example --run store/runs/first, or s3://bucket/prefix/runs/first",
        )
    return Run(open_store(store), name, config, step)


def read_record(store: Store, run: str, step: str) -> Record | None:
    """The committed record of a step, or None.

    Raises:
        BadInput: There is one, but it is not a record of this version of the program.
    """
    key = f"runs/{run}/{step}/record.json"
    try:
        data = store.read(key)
    except NotFound:
        return None
    try:
        return step_named(step).gives.model_validate_json(data)
    except ValidationError as error:
        raise BadInput(
            f"The record {key} cannot be read.",
            expected=f"a {step_named(step).gives.__name__} of this version of the program",
            received=str(error).splitlines()[0],
            do="start a new run: records are never rewritten",
        ) from error


def execute(step: Step, run: Run) -> Record:
    """Run one step, unless its work is done already, and commit its record.

    Raises:
        BadInput: A record that the step needs is missing, or the run already holds this step
            under another configuration; or whatever the step itself raises.
        Halt: The step decided that the steps after it must not run.
    """
    started = time.monotonic()
    run = _narrowed(step, run)
    inputs = {need: _needed(run, need, step.name) for need in step.needs}
    committed = run.record(step.name)
    if committed:
        _check_same_work(run, step, committed, inputs)
        log.info("%s was committed before; nothing to do.", step.name)
    else:
        try:
            committed = _do(step, run, inputs, started)
        except PipelineError as error:
            _leave_word(step, run, error)
            raise
    if committed.reason_to_stop:
        raise Halt(f"{step.name}: {committed.reason_to_stop}")
    return committed


def _narrowed(step: Step, run: Run) -> Run:
    """The part that has a name sees no other name, and so cannot depend on one."""
    if step.division is None or not isinstance(step.part, str):
        return run
    only: dict[str, Any] = {step.division.over: (step.part,)}
    return replace(run, config=run.config.model_copy(update=only))


def _leave_word(step: Step, run: Run, error: PipelineError) -> None:
    """Tell the report why there is no record. Nothing relies on it."""
    word = json.dumps({"error": str(error), "exit_code": error.exit_code}).encode()
    with suppress(PipelineError):  # the store itself may be what failed
        run.store.replace(run.key("stopped.json", step.name), word)


def _do(step: Step, run: Run, inputs: dict[str, Record], started: float) -> Record:
    outside = _outside(step, run)
    fingerprint = _fingerprint(step, run, inputs, outside)
    reused, record = _reusable(step, run, fingerprint)
    parts: dict[str, Record] = {}
    away = 0.0  # seconds in which parts were done, which have their own account
    if record:
        log.info(
            "%s: nothing it depends on has changed; reused the work of run %s.", step.name, reused
        )
    else:
        before = time.monotonic()
        parts = _parts(step, run)
        away = time.monotonic() - before
        record = _call(step, run, inputs, tuple(parts.values()))
        if _outside(step, run) != outside:
            changed = " or ".join(step.outside)
            message = f"{step.name}: what {changed} holds changed while it ran; try again."
            raise Momentary(message)
    record = record.with_provenance(
        Provenance(
            step=step.name,
            run=run.name,
            config=run.config,
            code=code_hash(step.module),
            fingerprint=fingerprint,
            inputs={name: record.content_hash for name, record in inputs.items()},
            parts={name: record.content_hash for name, record in parts.items()},
            outside=outside,
            reused_from=reused,
            committed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started - away, 3),
            seconds_of_parts=round(_seconds(parts), 3),
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            machine=_machine(),
            image=os.environ.get("IMAGE_DIGEST"),  # set by whoever started the container
        )
    )
    return _commit(step, run, record, inputs)


def _call(step: Step, run: Run, inputs: dict[str, Record], parts: tuple[Record, ...]) -> Record:
    with imports_muted():
        module = import_module(f"tasks.{step.module}")
    if step.part:
        made = getattr(module, f"{step.whole}_part")(run, *inputs.values(), step.part)
    elif step.division:
        made = getattr(module, step.name)(run, *inputs.values(), parts)
    else:
        made = getattr(module, step.name)(run, *inputs.values())
    return cast(Record, made)


def _parts(step: Step, run: Run) -> dict[str, Record]:
    """The records of a step's parts, by their names; what no machine has done yet is done here."""
    rows = parts_of(step, run.config)
    records = {}
    for before, row in enumerate(rows):

        def watch(now: Progress, before: int = before) -> None:
            run.progress(before * now.total + now.done, len(rows) * now.total, now.text)

        records[str(row.part)] = execute(row, replace(run, step=row.name, watch=watch))
    return records


def _seconds(parts: dict[str, Record]) -> float:
    return sum(part.provenance.seconds for part in parts.values() if part.provenance)


def _machine() -> str:
    """The hardware that this process runs on, as far as Linux tells."""
    processor = platform.machine()
    with suppress(OSError, IndexError):  # ARM names no model
        lines = Path("/proc/cpuinfo").read_text().split("model name\t: ")[1]
        processor = lines.partition("\n")[0]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpus = [
        line.partition(":")[2].strip()
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in path.read_text().splitlines()
        if line.startswith("Model")
    ]
    return ", ".join(
        [
            f"{processor}, {os.cpu_count()} cores, {memory_gib:.0f} GiB",
            *(gpus or ["no NVIDIA GPU"]),
            socket.gethostname(),
        ]
    )


def _commit(step: Step, run: Run, record: Record, inputs: dict[str, Record]) -> Record:
    key = run.key("record.json", step.name)
    data = record.model_dump_json(indent=1).encode()
    try:
        run.store.create(key, data)
    except AlreadyExists:
        winner = run.record(step.name)
        if winner is None:
            raise
        _check_same_work(run, step, winner, inputs)
        log.warning("%s: another attempt committed first; its record stands.", step.name)
        return winner
    _sweep(step, run)
    if not step.part:
        run.store.replace(latest_key(step.name), json.dumps({"run": run.name}).encode())
    if step.reusable and record.provenance and not record.provenance.reused_from:
        key = _reuse_key(step, record.provenance.fingerprint)
        note = {"run": run.name, "etags": _etags(run, tuple(artifacts_of(record)))}
        run.store.replace(key, json.dumps(note).encode())
    return record


def _sweep(step: Step, run: Run) -> None:
    """Delete the checkpoints of what is committed. That they stay does no harm."""
    try:
        for entry in list(run.store.list(run.key(f"{CHECKPOINTS}/", step.name))):
            run.store.delete(entry.key)
    except PipelineError as error:
        log.warning("%s: its checkpoints stay behind: %s", step.name, error)


def _needed(run: Run, need: str, step: str) -> Record:
    record = run.record(need)
    if record is None:
        raise BadInput(
            f"{step} cannot start.",
            expected=f"the record of {need} in {run.uri}",
            received="no such record: the step did not happen",
            do=f"run `python -m tasks {need} --run {run.uri}` first, or all of it with "
            "`python -m tasks run`",
        )
    return record


def _check_same_work(run: Run, step: Step, committed: Record, inputs: dict[str, Record]) -> None:
    """What lies outside, the champion for one, may have changed since: the record stands."""
    then = committed.provenance
    if then and then.fingerprint != _fingerprint(step, run, inputs, then.outside):
        changed = [
            name for name in step.config if getattr(then.config, name) != getattr(run.config, name)
        ]
        raise BadInput(
            f"Run {run.name} already holds {step.name}, made from something else.",
            expected="the same configuration, code and inputs as when it was committed",
            received="changed since: "
            + (", ".join(changed) or "the code, a library or an earlier record"),
            do="start a new run: a committed record is never rewritten",
        )


# Reuse ------------------------------------------------------------------------------------------


def latest_key(step: str) -> str:
    return f"shared/latest/{step}.json"


def _reuse_key(step: Step, fingerprint: str) -> str:
    return f"shared/reuse/{step.name}/{fingerprint}.json"


def _etags(run: Run, artifacts: tuple[Artifact, ...]) -> dict[str, str]:
    """The ETag of each artifact that is there, by its key."""
    keys = {artifact.key for artifact in artifacts}
    folders = {f"{key.rpartition('/')[0]}/" for key in keys}
    listed = (entry for folder in sorted(folders) for entry in run.store.list(folder))
    return {entry.key: entry.etag for entry in listed if entry.key in keys}


def _reusable(step: Step, run: Run, fingerprint: str) -> tuple[str | None, Record | None]:
    """An earlier run's record with this fingerprint, if all that it vouches for still holds.

    An artifact whose ETag is still that of the commit is believed without reading it, as delivered
    files are: else an unchanged run would read every pixel again. Any other is read. Whoever uses
    an artifact later compares its SHA-256 in any case.
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


def artifacts_of(value: Any) -> Iterator[Artifact]:
    """Every artifact inside a record."""
    if isinstance(value, Artifact):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from artifacts_of(getattr(value, name))
    elif isinstance(value, dict):
        for part in value.values():
            yield from artifacts_of(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from artifacts_of(part)


def _fingerprint(step: Step, run: Run, inputs: dict[str, Record], outside: dict[str, str]) -> str:
    parts: dict[str, Any] = {
        "step": step.name,
        "code": code_hash(step.module),
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
    return sha256(json.dumps(parts, sort_keys=True).encode())


def _outside(step: Step, run: Run) -> dict[str, str]:
    """What a step depends on that is neither a record nor configuration, such as the champion."""
    with imports_muted():
        modules = {name: import_module(f"tasks.{name}") for name in step.outside}
    return {name: str(module.outside_state(run)) for name, module in modules.items()}


@lru_cache
def code_hash(module: str) -> str:
    """SHA-256 over the source of a module and of all of ``tasks/`` that it imports.

    Args:
        module: Within ``tasks``, as a dotted path, such as ``training.train``.
    """
    folder = Path(__file__).parent.parent
    seen: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        path = folder / f"{name.replace('.', '/')}.py"
        if name not in seen and path.is_file():
            seen[name] = path.read_text()
            todo += imports_of(seen[name])
    return sha256("\0".join(f"{name}\0{seen[name]}" for name in sorted(seen)).encode())


def imports_of(source: str) -> list[str]:
    """What a file imports of ``tasks``, as dotted paths within it. ``from tasks.a import b`` gives
    both ``a`` and ``a.b``, for the second may be a module too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name.removeprefix("tasks.") for name in found if name.startswith("tasks.")]


def steps_until(last: str | None) -> tuple[Step, ...]:
    """The steps of the pipeline up to and with `last`; all of them for None."""
    if last is None:
        return PIPELINE
    names = [step.name for step in PIPELINE]
    return PIPELINE[: names.index(step_named(last).name) + 1]
