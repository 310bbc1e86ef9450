"""oversample: draw copies of training images by Augmentor's operations."""

import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from tasks.balancing.copies import Artist, draw
from tasks.engine.run import Run
from tasks.intake.manifest import IMAGES_PER_SHARD, pixels_of, read_parquet, to_npy, to_parquet
from tasks.lesions import Diagnosis
from tasks.records.balance import Balance
from tasks.records.oversampled import Oversampled
from tasks.records.record import Artifact
from tasks.records.split import Split

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


def oversample(run: Run, split: Split, balance: Balance) -> Oversampled:
    """Draw the planned copies, each from one training image, and link it to that image.

    Each image of a class is copied once, in a seeded order, before any image is copied again.
    """
    rows = read_parquet(run, split.parts)
    training = rows[rows["side"] == "train"]
    sources = pd.concat(
        [_sources(training, name, count, run.config.seed) for name, count in balance.plan.items()],
        ignore_index=True,
    )
    copies, shards = [], []
    artist = Artist()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        kept: Future[Artifact] | None = None
        for start in range(0, len(sources), IMAGES_PER_SHARD):
            chosen = sources.iloc[start : start + IMAGES_PER_SHARD]
            names = zip(chosen["key"], chosen["copy"], strict=True)
            seeds = [f"{run.config.seed}/{key}/{copy}" for key, copy in names]
            pixels, applied = draw(pixels_of(run, chosen), seeds, artist, threads.map)
            if kept:  # write one shard, but no more, while the next is drawn
                shards.append(kept.result())
            kept = threads.submit(_keep, run, pixels)
            copies.append((chosen, applied))
            done = start + len(chosen)
            run.progress(done, len(sources), f"{done} of {len(sources)} copies drawn")
        if kept:
            shards.append(kept.result())
    tables = [_linked(*each, shard) for each, shard in zip(copies, shards, strict=True)]
    table = pd.concat(tables, ignore_index=True) if tables else _linked(sources, [], None)
    if copies:
        log.info("%d copies drawn from %d training images.", len(table), len(training))
    else:
        log.info("No copies are planned; none were drawn.")
    return Oversampled(
        copies=run.keep("copies.parquet", to_parquet(table)),
        shards=tuple(shards),
        counts={name: balance.counts[name] + count for name, count in balance.plan.items()},
    )


def _keep(run: Run, pixels: Array) -> Artifact:
    return run.share("shards", to_npy(pixels), ".npy")


def _sources(training: pd.DataFrame, label: Diagnosis, count: int, seed: int) -> pd.DataFrame:
    """`count` rows of a class; each image comes once before any comes again."""
    rows = training[training["label"] == label].sort_values("key")
    order = np.random.default_rng([seed, len(rows)]).permutation(len(rows))
    return rows.iloc[np.resize(order, count)].assign(copy=np.arange(count) // max(len(rows), 1))


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
