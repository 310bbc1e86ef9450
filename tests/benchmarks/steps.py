"""How long the steps take, and how much memory, each in a process of its own as Airflow runs it.

    .venv/bin/python -m tests.benchmarks.steps IMAGES [METADATA] [--config JSON] [--until STEP]

Runs the steps on a fresh store, then again in a second run on the unchanged data. The peer, in
the same run: a bare loop that only reads, decodes and hashes the same files. Interpreter and
library start-up are included on both sides.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tasks.pipeline import steps_until

BARE_LOOP = """
import hashlib, sys
from pathlib import Path
from PIL import Image
for path in Path(sys.argv[1]).rglob("*.jpg"):
    hashlib.sha256(path.read_bytes()).hexdigest()
    hashlib.sha256(Image.open(path).convert("RGB").tobytes()).hexdigest()
"""


def timed(*argv: str) -> tuple[float, int]:
    """Wall seconds and peak memory in MB of one process; ends the program if it fails."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *argv], stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if os.waitstatus_to_exitcode(status) not in (0, 99):
        sys.exit(said.decode())
    return seconds, usage.ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("metadata", type=Path, nargs="?")
    parser.add_argument("--config", default="{}")
    parser.add_argument("--until", default="split")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/store"
        tables = ("--metadata", str(given.metadata)) if given.metadata else ()
        timed("-m", "tasks", "deliver", "--store", store, "--images", str(given.images), *tables)
        loop, _ = timed("-c", BARE_LOOP, str(given.images))
        table = Table(
            title=f"{sum(1 for _ in given.images.rglob('*.jpg'))} images, "
            f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
            caption=f"bare loop over the same files: {loop:.1f} s",
        )
        for heading in ("step", "seconds", "of the bare loop", "peak MB", "unchanged, seconds"):
            table.add_column(heading, justify="left" if heading == "step" else "right")
        totals = [0.0, 0.0]
        for step in steps_until(given.until):
            first, memory = timed(*_argv(step.name, store, "first", given.config))
            again, _ = timed(*_argv(step.name, store, "second", given.config))
            totals = [totals[0] + first, totals[1] + again]
            table.add_row(
                step.name, f"{first:.1f}", f"{first / loop:.1f}x", f"{memory}", f"{again:.1f}"
            )
        table.add_section()
        table.add_row("all", f"{totals[0]:.1f}", f"{totals[0] / loop:.1f}x", "", f"{totals[1]:.1f}")
    Console().print(table)


def _argv(step: str, store: str, run: str, config: str) -> tuple[str, ...]:
    return ("-m", "tasks", step, "--run", f"{store}/runs/{run}", "--config", config)


if __name__ == "__main__":
    main()
