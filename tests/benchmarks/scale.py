"""Time and memory per image as the store grows, and an unchanged second run.

    .venv/bin/python -m tests.benchmarks.scale 1000 10000 [100000] [--folder DIR] [--pairs]

For each number a store of distinct generated JPEGs (64 to 96 px, with a table of lesions) is put
into a folder, and ingest, validate and split run on it, each in a process of its own, as Airflow
runs them; then once more, in a second run on the unchanged store. Processor time is what a busy
machine cannot take away. With --pairs: the search for near duplicates alone, and its exponent.
"""

import argparse
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import simplejpeg
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from tasks.intake.likeness import near_duplicates
from tasks.lesions import DIAGNOSES

STEPS = ("ingest", "validate", "split")
CONFIG = '{"packed_size": 64, "image_size": 64}'


def generate(store: Path, count: int) -> None:
    """Pictures of random low frequencies: no two are near duplicates of each other."""
    random = np.random.default_rng(count)
    rows = []
    for number in range(count):
        label = DIAGNOSES[number // 2 % len(DIAGNOSES)]  # two images of each lesion
        folder = store / "raw" / "first" / label
        folder.mkdir(parents=True, exist_ok=True)
        side = int(random.integers(64, 97))
        field = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        pixels = np.asarray(field.resize((side, side), Image.Resampling.BICUBIC))
        name = f"ISIC_{number:07d}"
        data = simplejpeg.encode_jpeg(pixels, quality=90)
        (folder / f"{name}.jpg").write_bytes(data)
        rows.append((name, f"L{number // 2}", 20 + number % 60, ("male", "female")[number % 2]))
    table = pd.DataFrame(rows, columns=["image_id", "lesion_id", "age", "sex"])
    table.to_csv(store / "raw" / "first" / "labels.csv", index=False)


def measured(step: str, run: str) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak memory in MB of one step in its own process."""
    argv = [sys.executable, "-m", "tasks", step, "--run", run, "--config", CONFIG]
    started = time.monotonic()
    process = subprocess.Popen(argv, stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 99):
        sys.exit(said.decode())
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure_steps(counts: list[int], folder: str | None) -> Table:
    table = Table(title=f"{platform.machine()}, {os.cpu_count()} cores; s: seconds, CPU: processor")
    for heading in ("images", "step", "s", "CPU s", "CPU ms an image", "peak MB", "unchanged s",
                    "unchanged CPU s", "load"):  # fmt: skip
        table.add_column(heading, justify="right")
    for count in counts:
        with tempfile.TemporaryDirectory(dir=folder) as store:
            generate(Path(store), count)
            for step in STEPS:
                wall, cpu, peak = measured(step, f"{store}/runs/first")
                again, cpu_again, _ = measured(step, f"{store}/runs/second")
                told = (f"{count}", step, f"{wall:.1f}", f"{cpu:.1f}", f"{cpu / count * 1e3:.2f}",
                        f"{peak:.0f}", f"{again:.1f}", f"{cpu_again:.1f}",
                        f"{os.getloadavg()[0]:.1f}")  # fmt: skip
                table.add_row(*told)
                print(*told, flush=True)
    return table


def measure_pairs(counts: list[int]) -> None:
    before: tuple[int, float] | None = None
    for count in counts:
        noise = np.random.default_rng(count).normal(size=(count, 32, 32)).astype(np.float32)
        smooth = gaussian_filter(noise, (0, 3, 3))
        low, high = smooth.min(axis=(1, 2), keepdims=True), smooth.max(axis=(1, 2), keepdims=True)
        thumbnails = ((smooth - low) / (high - low) * 255).astype(np.uint8)
        del noise, smooth
        started = time.process_time()
        pairs = near_duplicates(thumbnails)
        cpu = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        exponent = ""
        if before:
            exponent = f", exponent {math.log(cpu / before[1]) / math.log(count / before[0]):.2f}"
        print(
            f"{count} pictures: {cpu:.1f} CPU s, {len(pairs)} pairs, peak {peak:.0f} MB{exponent}"
        )
        before = count, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("counts", type=int, nargs="+")
    parser.add_argument("--folder")
    parser.add_argument("--pairs", action="store_true")
    given = parser.parse_args()
    if given.pairs:
        measure_pairs(given.counts)
    else:
        Console(width=120).print(measure_steps(given.counts, given.folder))


if __name__ == "__main__":
    main()
