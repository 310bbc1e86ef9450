"""oversample: Augmentor's copies of training images, and of nothing else."""

import hashlib
import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tasks.contracts import Artifact, Balance, Oversampled, Split
from tasks.lesions import Diagnosis
from tasks.manifest import IMAGES_PER_SHARD, pixels_of, read_parquet, to_npy, to_parquet
from tasks.run import Run

log = logging.getLogger(__name__)


def oversample(run: Run, split: Split, balance: Balance) -> Oversampled:
    """Draw the planned copies, each from one training image, and link it to that image.

    The copies of a class take its images in turn, in a seeded order. Each copy has its own seed,
    made of the run's seed, the source and the number of the copy, so that it does not depend on
    which others are drawn.
    """
    parts = read_parquet(run, split.parts)
    training = parts[parts["side"] == "train"]
    sources = pd.concat(
        [_sources(training, name, count, run.config.seed) for name, count in balance.plan.items()],
        ignore_index=True,
    )
    copies, shards = [], []
    for start in range(0, len(sources), IMAGES_PER_SHARD):
        chosen = sources.iloc[start : start + IMAGES_PER_SHARD]
        pixels = np.stack(list(_draw(pixels_of(run, chosen), chosen, run.config.seed)))
        shard = run.share("shards", to_npy(pixels), ".npy")
        shards.append(shard)
        copies.append(_linked(chosen, shard))
        done = start + len(chosen)
        run.progress(done, len(sources), f"{done} of {len(sources)} copies drawn")
    table = pd.concat(copies, ignore_index=True) if copies else _linked(sources, None)
    counts = {name: balance.counts[name] + count for name, count in balance.plan.items()}
    log.info("%d copies drawn from %d training images.", len(table), len(training))
    return Oversampled(
        copies=run.keep("copies.parquet", to_parquet(table)),
        shards=tuple(shards),
        counts=counts,
    )


def _sources(training: pd.DataFrame, label: Diagnosis, count: int, seed: int) -> pd.DataFrame:
    """`count` rows of a class, each image once before any is taken again."""
    rows = training[training["label"] == label].sort_values("key")
    order = np.random.default_rng([seed, len(rows)]).permutation(len(rows))
    taken = np.resize(order, count)
    return rows.iloc[taken].assign(copy=np.arange(count) // max(len(rows), 1))


def _draw(pixels: "np.ndarray[Any, Any]", rows: pd.DataFrame, seed: int) -> Iterator[Any]:
    transform = _pipeline().torch_transform()
    for image, key, copy in zip(pixels, rows["key"], rows["copy"], strict=True):
        # Augmentor draws from the process's global generators.
        digest = hashlib.sha256(f"{seed}/{key}/{copy}".encode()).digest()
        random.seed(digest)
        np.random.seed(int.from_bytes(digest[:4]))
        yield np.asarray(transform(Image.fromarray(image)))


def _pipeline() -> Any:
    """What happens to a copy. A lesion has no upright side, so turns and flips change nothing
    that a dermatologist would look at; zoom stays small, so that size keeps its meaning."""
    import Augmentor

    pipeline = Augmentor.Pipeline()
    pipeline.flip_left_right(probability=0.5)
    pipeline.flip_top_bottom(probability=0.5)
    pipeline.rotate(probability=0.7, max_left_rotation=10, max_right_rotation=10)
    pipeline.zoom(probability=0.3, min_factor=1.0, max_factor=1.1)
    return pipeline


def _linked(rows: pd.DataFrame, shard: Artifact | None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "source_key": rows["key"].to_numpy(),
            "label": rows["label"].to_numpy(),
            "group": rows["group"].to_numpy(),
            "shard": shard.key if shard else "",
            "shard_sha256": shard.sha256 if shard else "",
            "index": np.arange(len(rows)),
        }
    )
