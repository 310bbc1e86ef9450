"""What ingest computes of each image, beside a plain loop and beside bare decoding.

    .venv/bin/python -m tests.benchmarks.ingest IMAGES [IMAGES ...] [--images N] [--rounds N]

The peer is the loop that one would write: Pillow and imagehash, one image after the other in one
process, for the same features: SHA-256 of the bytes, upright pixels and their SHA-256, the packed
square, the grey thumbnail, pHash, mean colour. The limit is libjpeg-turbo alone, in two threads.
All read the files from memory and take turns; each figure is the median over the rounds. Ingest is
also timed with all that the loop leaves out: threads that read the store, a shard written safely.
Without IMAGES: generated photographs of 600 x 450 px.
"""

import argparse
import hashlib
import io
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import simplejpeg
from PIL import Image, ImageOps, ImageStat
from rich.console import Console
from rich.table import Table

from tasks.config import Retraining
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.intake.contents import decode_many, describe, known
from tasks.intake.images import THUMBNAIL_PX, Decoded
from tasks.intake.likeness import perceptual_hashes, to_hex

PACKED_PX = Retraining().packed_size
Work = Callable[[list[bytes]], Any]  # whole_ingest alone measures itself


def plain_loop(files: list[bytes]) -> list[object]:
    square = (PACKED_PX, PACKED_PX)
    found: list[object] = []
    for data in files:
        rgb = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        packed = rgb.resize(square, Image.Resampling.LANCZOS)
        thumbnail = rgb.convert("L").resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
        found.append(
            (
                hashlib.sha256(data).hexdigest(),
                hashlib.sha256(rgb.tobytes()).hexdigest(),
                np.asarray(packed),
                thumbnail.tobytes(),
                str(imagehash.phash(rgb)),
                ImageStat.Stat(packed).mean,
            )
        )
    return found


def features(files: list[bytes]) -> list[str]:
    """What ingest computes, without storage."""
    named = ((hashlib.sha256(data).hexdigest(), data) for data in files)
    found = [each for made in decode_many(named, Retraining()).values() for each in made.each]
    thumbnails = [each.thumbnail for each in found if isinstance(each, Decoded)]
    assert len(thumbnails) == len(found)
    planes = np.frombuffer(b"".join(thumbnails), np.uint8)
    return to_hex(perceptual_hashes(planes.reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)))


def bare_decode(files: list[bytes]) -> list[object]:
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(lambda data: simplejpeg.decode_jpeg(data, "RGB").shape, files))


def whole_ingest(files: list[bytes]) -> tuple[float, float]:
    """One pack through a directory store: read, describe, and write the shard."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(open_store(folder), "benchmark", Retraining(), "ingest")
        for number, data in enumerate(files):
            path = Path(folder, "raw", f"{number}.jpg")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        entries = list(run.store.list("raw/"))
        started = time.monotonic(), time.process_time()
        describe(run, entries, known(run))
        return time.monotonic() - started[0], time.process_time() - started[1]


def timed(work: Work, files: list[bytes]) -> tuple[float, float]:
    """Wall and processor milliseconds an image."""
    wall, processor = time.monotonic(), time.process_time()
    own = work(files)
    spent = time.monotonic() - wall, time.process_time() - processor
    wall, processor = own if work is whole_ingest else spent
    return wall / len(files) * 1e3, processor / len(files) * 1e3


def generated(count: int) -> list[bytes]:
    random = np.random.default_rng(0)
    files = []
    for _ in range(count):
        field = Image.fromarray(random.integers(0, 256, (45, 60, 3), np.uint8))
        pixels = np.asarray(field.resize((600, 450), Image.Resampling.BICUBIC))
        files.append(simplejpeg.encode_jpeg(pixels, quality=90))
    return files


def measure(name: str, files: list[bytes], rounds: int, table: Table) -> None:
    works: dict[str, Work] = {
        "plain loop": plain_loop,
        "features": features,
        "ingest, store included": whole_ingest,
        "bare decoding": bare_decode,
    }
    times: dict[str, list[tuple[float, float]]] = {work: [] for work in works}
    for _ in range(rounds):
        for work, function in works.items():
            times[work].append(timed(function, files))
    loop = times["plain loop"]
    for work, own in times.items():
        wall, processor = (statistics.median(each[at] for each in own) for at in (0, 1))
        faster = statistics.median(a[0] / b[0] for a, b in zip(loop, own, strict=True))
        cheaper = statistics.median(a[1] / b[1] for a, b in zip(loop, own, strict=True))
        table.add_row(
            f"{name}, {len(files)}", work, f"{wall:.2f}", f"{processor:.2f}", f"{faster:.1f}x",
            f"{cheaper:.1f}x", f"{os.getloadavg()[0]:.1f}",
        )  # fmt: skip
    table.add_section()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    table = Table(
        title=f"{platform.machine()}, {os.cpu_count()} cores, packed to {PACKED_PX} px, median of "
        f"{given.rounds} rounds; ms an image"
    )
    for heading in ("images", "work", "wall", "processor", "wall, to the loop",
                    "processor, to the loop", "load"):  # fmt: skip
        table.add_column(heading, justify="left" if heading in ("images", "work") else "right")
    for folder in given.folders:
        paths = sorted(folder.rglob("*.jpg"))[: given.images]
        measure(folder.name, [path.read_bytes() for path in paths], given.rounds, table)
    if not given.folders:
        measure("generated", generated(min(given.images, 200)), given.rounds, table)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
