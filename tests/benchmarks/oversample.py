"""Copies per second, beside Augmentor's own `sample()` with its threads.

    .venv/bin/python -m tests.benchmarks.oversample IMAGES [--copies N] [--rounds N] [--seed N]

Both sides apply the same operations to the same images and keep the copies: Augmentor as files in
its output folder, ours as packed shards on the same disk. They take turns; each figure is the
median over the rounds. Processor time is what a busy machine cannot take away; wall time shows how
well the threads share two cores.
"""

import argparse
import contextlib
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import Augmentor
import Augmentor.Operations
import numpy as np
from PIL import Image

from tasks.balancing.copies import Artist, draw, operations, weights_of
from tasks.intake.manifest import IMAGES_PER_SHARD, to_npy


def theirs(folder: Path, copies: int) -> None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        pipeline = Augmentor.Pipeline(str(folder), output_directory="output")
    for operation in operations(Augmentor.Operations):
        pipeline.add_operation(operation)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # its bar
        pipeline.sample(copies)


def ours(pixels: np.ndarray, to: Path) -> None:
    """As the step does: a shard is written while the next is drawn."""
    weights_of.cache_clear()  # as in a new process
    artist, written = Artist(), []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(pixels), IMAGES_PER_SHARD):
            shard = pixels[start : start + IMAGES_PER_SHARD]
            seeds = [str(start + number) for number in range(len(shard))]
            copies, _ = draw(shard, seeds, artist, threads.map)
            written.append(threads.submit(write, to / f"{start}.npy", copies))
    for each in written:
        each.result()


def write(path: Path, copies: np.ndarray) -> None:
    path.write_bytes(to_npy(copies))


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--copies", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    paths = sorted(given.images.rglob("*.jpg"))
    chosen = random.Random(given.seed).choices(paths, k=given.copies)
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in chosen])
    peer, own, loads = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder, shards = Path(name, "images"), Path(name, "shards")
        folder.mkdir()
        shards.mkdir()
        for path in set(chosen):
            (folder / path.name).write_bytes(path.read_bytes())
        for _ in range(given.rounds):
            peer.append(timed(lambda: theirs(folder, given.copies)))
            own.append(timed(lambda: ours(pixels, shards)))
            loads.append(os.getloadavg()[0])
    print(
        f"{given.copies} copies at {pixels.shape[1]} px, median of {given.rounds} rounds, "
        f"{platform.machine()}, {os.cpu_count()} cores, load {min(loads):.1f} to {max(loads):.1f}"
    )
    for kind, place in (("wall", 0), ("processor", 1)):
        theirs_ms, ours_ms = (
            statistics.median(each[place] for each in side) / given.copies * 1e3
            for side in (peer, own)
        )
        ratios = [p[place] / o[place] for p, o in zip(peer, own, strict=True)]
        print(
            f"{kind}: Augmentor's sample() {theirs_ms:.2f} ms a copy, ours {ours_ms:.2f}: "
            f"{statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()
