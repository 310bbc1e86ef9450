"""Copies per second, beside Augmentor's own `sample()` with its threads.

    .venv/bin/python tests/benchmarks/oversample.py IMAGES [--copies N] [--seed N]

Both sides apply the same operations to the same images and keep the copies: Augmentor as files in
its output folder, ours as one packed shard on the same disk.
"""

import argparse
import os
import random
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import Augmentor
import numpy as np
from PIL import Image

from tasks.manifest import to_npy
from tasks.oversample import _operations, draw


def theirs(folder: Path, copies: int) -> float:
    pipeline = Augmentor.Pipeline(str(folder), output_directory="output")
    for operation in _operations():
        pipeline.add_operation(operation)
    started = time.monotonic()
    pipeline.sample(copies)
    return time.monotonic() - started


def ours(pixels: np.ndarray, to: Path) -> float:
    started = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
        copies, _ = draw(pixels, [str(number) for number in range(len(pixels))], processes.map)
    to.write_bytes(to_npy(copies))
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--copies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    paths = sorted(given.images.rglob("*.jpg"))
    chosen = random.Random(given.seed).choices(paths, k=given.copies)
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in chosen])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in set(chosen):
            (folder / path.name).write_bytes(path.read_bytes())
        peer, own = theirs(folder, given.copies), ours(pixels, folder / "shard.npy")
    print(
        f"{given.copies} copies at {pixels.shape[1]} px, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}: Augmentor's sample() {given.copies / peer:.0f} a second, ours "
        f"{given.copies / own:.0f} a second, start of the processes included: {peer / own:.1f}x"
    )


if __name__ == "__main__":
    main()
