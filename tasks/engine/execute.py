"""Execute one step: do its work or reuse an earlier run's, and commit the record.

Only `execute` commits records, so only `execute` decides whether a step happened.
"""

import json
import logging
import os
import resource
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, cast

from tasks.engine import sources
from tasks.engine.environment import machine
from tasks.engine.erasures import erasures_in
from tasks.engine.quiet import imports_muted
from tasks.engine.reuse import fingerprint_of, keep_for_reuse, outside_of, reusable
from tasks.engine.run import CHECKPOINTS, Progress, Run, latest_key
from tasks.engine.signing import RECORD, SPOT, keys_here, with_signature
from tasks.engine.started import note_start
from tasks.errors import AlreadyExists, BadInput, Halt, Momentary, PipelineError
from tasks.pipeline import Step, parts_of
from tasks.records.record import Provenance, Record

log = logging.getLogger("tasks")


def execute(step: Step, run: Run) -> Record:
    """Run one step, unless its record exists already, and commit the record.

    Raises:
        BadInput: A record that the step needs is missing; or the run already holds this step,
            made from another configuration, code or input; or the step itself raises it.
        Halt: The step decided that the steps after it must not run.
    """
    started = time.monotonic()
    keys_here().check_can_sign()
    run = _narrowed(step, run)
    inputs = {need: _needed(run, need, step.name) for need in step.needs}
    committed = run.record(step.name)
    stopped = erasures_in(run.store).stops(run.name)
    if committed:
        if not stopped:  # else its inputs are no longer what they were, as the ledger says
            _check_same_work(run, step, committed, inputs)
        log.info("%s was committed before; nothing to do.", step.name)
    else:
        if stopped:
            raise _erased(step, run)
        try:
            committed = _do(step, run, inputs, started)
        except PipelineError as error:
            _leave_word(step, run, error)
            raise
    if committed.reason_to_stop:
        raise Halt(f"{step.name}: {committed.reason_to_stop}")
    return committed


def _narrowed(step: Step, run: Run) -> Run:
    """The run as a named part of a step sees it: without the other parts' names, so that the part
    cannot depend on them."""
    if step.division is None or not isinstance(step.part, str):
        return run
    only: dict[str, Any] = {step.division.over: (step.part,)}
    return replace(run, config=run.config.model_copy(update=only))


def _leave_word(step: Step, run: Run, error: PipelineError) -> None:
    """Leave a note for the report, why there is no record. No step relies on the note."""
    word = json.dumps({"error": str(error), "exit_code": error.exit_code}).encode()
    with suppress(PipelineError):  # the store itself may have failed
        run.store.replace(run.key("stopped.json", step.name), word)


def _do(step: Step, run: Run, inputs: dict[str, Record], started: float) -> Record:
    if step.starts and not step.part:
        import_module(f"tasks.{step.starts}").start()
    for module in step.begins:
        import_module(f"tasks.{module}").begin(run)
    if not step.needs:
        note_start(run.store, run.name)
    outside = outside_of(step, run)
    fingerprint = fingerprint_of(step, run, inputs, outside)
    reused, record = reusable(step, run, fingerprint)
    parts: dict[str, Record] = {}
    away = 0.0  # seconds spent on parts, which count their own time
    if record:
        log.info("%s: no input has changed; reused the work of run %s.", step.name, reused)
    else:
        before = time.monotonic()
        parts = _parts(step, run)
        away = time.monotonic() - before
        record = _call(step, run, inputs, tuple(parts.values()))
        if outside_of(step, run) != outside:
            changed = " or ".join(step.outside)
            message = f"{step.name}: the state of {changed} changed while the step ran; try again."
            raise Momentary(message)
    record = record.with_provenance(
        Provenance(
            step=step.name,
            run=run.name,
            config=run.config,
            code=sources.code_hash(step.module),
            format=record.FORMAT,
            fingerprint=fingerprint,
            inputs={name: record.content_hash for name, record in inputs.items()},
            parts={name: record.content_hash for name, record in parts.items()},
            outside=outside,
            reused_from=reused,
            committed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started - away, 3),
            seconds_of_parts=round(_seconds(parts), 3),
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            machine=machine(),
            image=os.environ.get("IMAGE_DIGEST"),  # set by the program that started the container
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
    """The records of a step's parts, by name. Parts that no machine has done are done here."""
    rows = parts_of(step, run.config)
    records = {}
    for before, row in enumerate(rows):

        def watch(now: Progress, before: int = before) -> None:
            run.progress(before * now.total + now.done, len(rows) * now.total, now.text)

        records[str(row.part)] = execute(row, replace(run, step=row.name, watch=watch))
    return records


def _seconds(parts: dict[str, Record]) -> float:
    return sum(part.provenance.seconds for part in parts.values() if part.provenance)


def _erased(step: Step, run: Run) -> BadInput:
    return BadInput(
        f"Run {run.name} does not go on with {step.name}.",
        expected="a run that holds no image which was erased",
        received="an image that this run holds was erased from the store",
        do="start a new run: it takes what is left. If this run was at work meanwhile, erase again",
    )


def _commit(step: Step, run: Run, record: Record, inputs: dict[str, Record]) -> Record:
    if erasures_in(run.store).stops(run.name):  # while the step was at work
        raise _erased(step, run)
    key = run.key("record.json", step.name)
    try:
        run.store.create(key, _signed(record, key))
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
    keep_for_reuse(step, run, record)
    return record


def _signed(record: Record, key: str) -> bytes:
    """The bytes of a record's file, with its signature if there is a key."""
    keys = keys_here()
    if keys.on and record.provenance:
        unsigned = record.provenance.model_copy(update={"signature": SPOT})
        data = record.with_provenance(unsigned).model_dump_json(indent=1).encode()
        return with_signature(keys, RECORD, key, data)
    return record.model_dump_json(indent=1).encode()


def _sweep(step: Step, run: Run) -> None:
    """Delete the checkpoints of a committed step. Checkpoints that stay behind do no harm."""
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
    """Check that a committed record was made from the same configuration, code and inputs.

    State outside the records, such as the champion, may have changed since: the record stands.
    """
    then = committed.provenance
    if then and then.fingerprint != fingerprint_of(step, run, inputs, then.outside):
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
