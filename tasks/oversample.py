"""oversample: Augmentor's copies of training images, and of nothing else.

Augmentor's own `sample()` reads and writes image files, draws in threads from one random
generator, and names files at random. Here its operations are applied to packed pixels, in threads,
each copy from a seed of its own: the copies are the same bytes on any machine and with any number
of threads. Nearly all of a copy's time is Pillow's, which does not hold the interpreter meanwhile.
"""

import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec, module_from_spec
from random import Random
from threading import local
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
    artists = Artists()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(sources), IMAGES_PER_SHARD):
            chosen = sources.iloc[start : start + IMAGES_PER_SHARD]
            names = zip(chosen["key"], chosen["copy"], strict=True)
            seeds = [f"{run.config.seed}/{key}/{copy}" for key, copy in names]
            pixels, applied = draw(pixels_of(run, chosen), seeds, artists, threads.map)
            shards.append(run.share("shards", to_npy(pixels), ".npy"))
            copies.append(_linked(chosen, applied, shards[-1]))
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


def draw(
    pixels: Array, seeds: list[str], artists: "Artists", mapper: Callable[..., Iterator[str]] = map
) -> tuple[Array, list[str]]:
    """One altered copy of each image.

    Args:
        pixels: uint8 ``(n, side, side, 3)``, RGB.
        seeds: One for each image; the same seed alters the same image in the same way.
        artists: What draws.
        mapper: Where it draws: here, or in threads.

    Returns:
        uint8 ``(n, side, side, 3)``, and the operations that were applied to each, by name.
    """
    copies = np.empty_like(pixels)
    return copies, list(mapper(partial(_draw_one, artists), pixels, seeds, copies))


class Artists(local):
    """Augmentor's operations, for each thread its own, and the generator that they draw from.

    They draw from what their module calls ``random``, a generator that all threads would share, so
    that a copy would depend on what other threads draw meanwhile. A thread's module of its own,
    made from the same unchanged source, has a generator of its own.
    """

    def __init__(self) -> None:
        spec = find_spec("Augmentor.Operations")
        assert spec
        assert spec.loader
        module: Any = module_from_spec(spec)
        spec.loader.exec_module(module)
        self.generator = module.random = Random()
        self.operations = operations(module)


def operations(module: Any) -> list[Any]:
    """What happens to a copy, in the classes of ``Augmentor.Operations``.

    A lesion has no upright side, so turns and flips change nothing that a dermatologist would look
    at; zoom stays small, so that size keeps its meaning.
    """
    return [
        module.Flip(probability=0.5, top_bottom_left_right="LEFT_RIGHT"),
        module.Flip(probability=0.5, top_bottom_left_right="TOP_BOTTOM"),
        module.RotateRange(probability=0.7, max_left_rotation=10, max_right_rotation=10),
        module.Zoom(probability=0.3, min_factor=1.0, max_factor=1.1),
    ]


class Unturned:
    """An image that ``RotateRange`` is given, to turn it, crop it, and look at nothing else.

    It turns a canvas that grows with the angle and then throws away up to half of it; here only
    what it crops is computed, to the same bytes.
    """

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.size = image.size

    def rotate(self, degrees: int, *, expand: bool, resample: int) -> "Turned | Image.Image":
        assert expand
        if degrees == 0:
            return self.image
        return Turned(self.image, degrees, Image.Resampling(resample))


class Turned:
    """An image on the canvas that turning it needs; see `Unturned`.

    The matrix, from canvas to image, is that of Pillow's ``Image.rotate``, in its order of adding.
    """

    def __init__(self, image: Image.Image, degrees: int, resample: Image.Resampling) -> None:
        self.image, self.resample = image, resample
        width, height = image.size
        angle = -math.radians(degrees % 360.0)
        self.cos, self.sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
        x, y = self._from(-width / 2, -height / 2, 0.0, 0.0)
        self.x, self.y = x + width / 2, y + height / 2
        corners = [
            self._from(*each, self.x, self.y)
            for each in ((0, 0), (width, 0), (width, height), (0, height))
        ]
        reach = zip(*corners, strict=True)
        across, down = (math.ceil(max(ends)) - math.floor(min(ends)) for ends in reach)
        self.size = (across, down)
        left, above = -(across - width) / 2.0, -(down - height) / 2.0
        self.x, self.y = self._from(left, above, self.x, self.y)

    def _from(self, across: float, down: float, x: float, y: float) -> tuple[float, float]:
        return self.cos * across + self.sin * down + x, -self.sin * across + self.cos * down + y

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        left, above, right, below = box
        x, y = self._from(left, above, self.x, self.y)
        return self.image.transform(
            (right - left, below - above),
            Image.Transform.AFFINE,
            (self.cos, self.sin, x, -self.sin, self.cos, y),
            self.resample,
        )


def _draw_one(artists: Artists, pixels: Array, seed: str, copy: Array) -> str:
    """Alter one image, ``(side, side, 3)``, into `copy`; returns the names of the operations."""
    artists.generator.seed(hashlib.sha256(seed.encode()).digest())
    image, applied = Image.fromarray(pixels), []
    for operation in artists.operations:
        if artists.generator.uniform(0, 1) < operation.probability:
            name = type(operation).__name__
            given = Unturned(image) if name == "RotateRange" else image
            image = operation.perform_operation([given])[0]
            applied.append(name)
    copy[:] = np.asarray(image)
    return " ".join(applied)


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
