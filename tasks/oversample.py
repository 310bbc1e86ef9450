"""oversample: Augmentor's copies of training images, and of nothing else.

Augmentor's own `sample()` reads and writes image files, draws in threads from one random
generator, and names files at random. Here its operations are applied to packed pixels, in
processes, each copy from a seed of its own: the copies are the same bytes on any machine and with
any number of processes.
"""

import hashlib
import logging
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tasks.contracts import Artifact, Balance, Oversampled, Split
from tasks.lesions import Diagnosis
from tasks.manifest import IMAGES_PER_SHARD, pixels_of, read_parquet, to_npy, to_parquet
from tasks.run import Run

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

COPIES_PER_TASK = 64  # some tenths of a second of work: little to send, and all cores stay busy
# Fewer copies are drawn sooner in this process than others start.
COPIES_WORTH_PROCESSES = 4096


def oversample(run: Run, split: Split, balance: Balance) -> Oversampled:
    """Draw the planned copies, each from one training image, and link it to that image.

    The copies of a class take its images in turn, in a seeded order, so that each image is copied
    once before any is copied again.
    """
    parts = read_parquet(run, split.parts)
    training = parts[parts["side"] == "train"]
    sources = pd.concat(
        [_sources(training, name, count, run.config.seed) for name, count in balance.plan.items()],
        ignore_index=True,
    )
    copies, shards = [], []
    with _mapper(len(sources)) as mapper:
        for start in range(0, len(sources), IMAGES_PER_SHARD):
            chosen = sources.iloc[start : start + IMAGES_PER_SHARD]
            names = zip(chosen["key"], chosen["copy"], strict=True)
            seeds = [f"{run.config.seed}/{key}/{copy}" for key, copy in names]
            pixels, operations = draw(pixels_of(run, chosen), seeds, mapper)
            shards.append(run.share("shards", to_npy(pixels), ".npy"))
            copies.append(_linked(chosen, operations, shards[-1]))
            done = start + len(chosen)
            run.progress(done, len(sources), f"{done} of {len(sources)} copies drawn")
    table = pd.concat(copies, ignore_index=True) if copies else _linked(sources, [], None)
    if copies:
        log.info("%d copies drawn from %d training images.", len(table), len(training))
    else:
        log.info("No copies are planned; none were drawn.")
    return Oversampled(
        copies=run.keep("copies.parquet", to_parquet(table)),
        shards=tuple(shards),
        counts={name: balance.counts[name] + count for name, count in balance.plan.items()},
    )


def _sources(training: pd.DataFrame, label: Diagnosis, count: int, seed: int) -> pd.DataFrame:
    """`count` rows of a class, each image once before any is taken again."""
    rows = training[training["label"] == label].sort_values("key")
    order = np.random.default_rng([seed, len(rows)]).permutation(len(rows))
    return rows.iloc[np.resize(order, count)].assign(copy=np.arange(count) // max(len(rows), 1))


@contextmanager
def _mapper(copies: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map`, in as many processes as there are cores where that is worth their start."""
    if copies < COPIES_WORTH_PROCESSES:
        yield map
        return
    # Started afresh, not forked: a fork would share this process's threads and locks.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
        yield processes.map


def draw(
    pixels: Array, seeds: list[str], mapper: Callable[..., Iterator[Any]] = map
) -> tuple[Array, list[str]]:
    """One altered copy of each image.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, RGB.
        seeds: One for each image; the same seed alters the same image in the same way.
        mapper: Where the work is done.

    Returns:
        uint8 ``(n, side, side, 3)``, and the operations that were applied to each, by name.
    """
    starts = range(0, len(pixels), COPIES_PER_TASK)
    drawn = list(
        mapper(
            _draw_some,
            [pixels[start : start + COPIES_PER_TASK] for start in starts],
            [seeds[start : start + COPIES_PER_TASK] for start in starts],
        )
    )
    return np.concatenate([images for images, _ in drawn]), [
        names for _, operations in drawn for names in operations
    ]


def _draw_some(pixels: Array, seeds: list[str]) -> tuple[Array, list[str]]:
    operations = _operations()
    copies, names = np.empty_like(pixels), []
    for position, (image, seed) in enumerate(zip(pixels, seeds, strict=True)):
        # Augmentor draws from the process's global generators.
        digest = hashlib.sha256(seed.encode()).digest()
        random.seed(digest)
        np.random.seed(int.from_bytes(digest[:4]))
        copy, applied = [Image.fromarray(image)], []
        for operation in operations:
            if random.uniform(0, 1) < operation.probability:
                copy = operation.perform_operation(copy)
                applied.append(type(operation).__name__)
        copies[position] = np.asarray(copy[0])
        names.append(" ".join(applied))
    return copies, names


def _operations() -> list[Any]:
    """What happens to a copy. A lesion has no upright side, so turns and flips change nothing
    that a dermatologist would look at; zoom stays small, so that size keeps its meaning."""
    import Augmentor

    pipeline = Augmentor.Pipeline()
    pipeline.flip_left_right(probability=0.5)
    pipeline.flip_top_bottom(probability=0.5)
    pipeline.rotate(probability=0.7, max_left_rotation=10, max_right_rotation=10)
    pipeline.zoom(probability=0.3, min_factor=1.0, max_factor=1.1)
    return list(pipeline.operations)


def _linked(rows: pd.DataFrame, operations: list[str], shard: Artifact | None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "source_key": rows["key"].to_numpy(),
            "source_id": rows["image_id"].to_numpy(),
            "copy": rows["copy"].to_numpy(),
            "operations": operations,
            "label": rows["label"].to_numpy(),
            "group": rows["group"].to_numpy(),
            "shard": shard.key if shard else "",
            "shard_sha256": shard.sha256 if shard else "",
            "index": np.arange(len(rows)),
        }
    )
