"""Many images in parts on the two Celery workers of the compose stack, and in one process.

    .venv/bin/python -m tests.benchmarks.parts_on_stack 100000 --parts 4 --tag latest

Starts a stack of its own of the images with the tag, delivers generated JPEGs (as
`tests.benchmarks.scale`), and lets Airflow retrain as far as ``split``. Then the same delivery lies
in a folder, and each step runs in one process. Says of each step and part its seconds and its peak
memory, as the records tell, which worker ran it, and whether all records are equal.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from demo.airflow_api import RETRAINING
from tasks.engine.run import read_record
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.parts import Part
from tasks.records.record import Record
from tests.benchmarks.scale import generate
from tests.support.paths import ROOT
from tests.support.stack import STORE, Stack, eventually, need_compose

DIVIDED = ("ingest", "validate")
STEPS = (*DIVIDED, "split")
RUN = "parts"


def by_process(folder: Path, config: dict[str, Any]) -> Store:
    """Do the steps, each in one process, on a store in a folder."""
    store = str(folder / "store")
    run = ["--run", f"{store}/runs/{RUN}", "--config", json.dumps(config)]
    given = ["--images", f"{folder}/delivery/images", "--metadata", f"{folder}/delivery/tables"]
    delivery = ["deliver", "--store", store, *given]
    for argv in (delivery, *([step, *run] for step in STEPS)):
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "tasks", *argv], cwd=ROOT, check=True)
        print(f"one process: {argv[0]} took {time.monotonic() - began:.0f} s", flush=True)
    return open_store(store)


def by_stack(stack: Stack, folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Do the steps on the stack's workers; returns the host of each step and part."""
    began = time.monotonic()
    given = ("--images", "/delivery/images", "--metadata", "/delivery/tables")
    stack(
        "tasks",
        "deliver",
        "--store",
        STORE,
        *given,
        seconds=7200,
        DELIVERY=str(folder / "delivery"),
    )
    print(f"delivered in {time.monotonic() - began:.0f} s", flush=True)
    stack.airflow.wait_for_dag(RETRAINING)
    began = time.monotonic()
    stack.airflow.trigger(RETRAINING, config, RUN)
    eventually(lambda: _ended(stack), 7200, "the end of split")
    print(f"from the trigger to the end of split: {time.monotonic() - began:.0f} s", flush=True)
    path = f"dags/{RETRAINING}/dagRuns/{RUN}/taskInstances"
    found = stack.airflow.request("GET", path, limit=100)["task_instances"]
    stack.airflow.end_runs(RETRAINING)
    return {f"{each['task_id']} {each['map_index']}": each["hostname"] or "" for each in found}


def _ended(stack: Stack) -> bool:
    state = stack.instance(RUN, "split")["state"]
    if state in ("failed", "upstream_failed", "skipped"):
        sys.exit(f"split: {state}")
    return bool(state == "success")


def _told(store: Store, name: str) -> Record:
    record = read_record(store, RUN, name)
    if record is None or record.provenance is None:
        sys.exit(f"{store.uri} has no record of {name}.")
    provenance = record.provenance
    print(
        f"{name} | {provenance.seconds:.1f} s | {provenance.peak_memory_bytes / 1e6:.0f} MB",
        flush=True,
    )
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--tag", default="latest")
    given = parser.parse_args()
    need_compose()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    config = {"packed_size": 64, "image_size": 64, "parts": given.parts}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # the container is another user
        generate(folder / "generated", given.count)
        images, tables = folder / "delivery" / "images", folder / "delivery" / "tables"
        tables.mkdir(parents=True)
        (folder / "generated" / "raw" / "first").rename(images)
        (images / "labels.csv").rename(tables / "labels.csv")
        stack = Stack(folder / "settings", given.tag)
        stack("up")
        try:
            hosts = by_stack(stack, folder, config)
            print(f"memory now: {stack.memory()}")
            print(f"ran on: {hosts}")
            theirs = stack.store()
            ours = by_process(folder, config | {"parts": 1})
            parts = [f"{s}/{Part(n + 1, given.parts)}" for s in DIVIDED for n in range(given.parts)]
            print("on the stack:")
            for part in parts:
                _told(theirs, part)
            in_stack = [_told(theirs, step) for step in STEPS]
            print("in one process:")
            alone = [_told(ours, step) for step in STEPS]
        finally:
            stack("destroy")
    equal = [a.content_hash == b.content_hash for a, b in zip(in_stack, alone, strict=True)]
    print(f"equal records: {dict(zip(STEPS, equal, strict=True))}")
    sys.exit(0 if all(equal) else 1)


if __name__ == "__main__":
    main()
