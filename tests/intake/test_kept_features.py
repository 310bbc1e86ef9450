"""Local features are found once for each content, and again if what is kept is damaged."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pandas as pd
import pytest

from tasks.engine.run import Run
from tasks.engine.store import Store
from tasks.intake import kept_features
from tasks.intake.feature_files import FOLDER, shard_of
from tasks.intake.kept_features import features_at
from tasks.intake.local_features import features_of
from tasks.intake.manifest import to_npy
from tests.support.deliveries import run_of
from tests.support.stores import keys


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


def rows_of(run: Run, pixels: np.ndarray, index: list[int]) -> pd.DataFrame:
    shard = run.share("shards", to_npy(pixels), ".npy")
    return pd.DataFrame({"shard": shard.key, "shard_sha256": shard.sha256, "index": index})


def test_features_come_in_the_order_of_the_rows(store: Store, pixels: np.ndarray) -> None:
    run = replace(run_of(store), step="validate")
    rows = pd.concat([rows_of(run, pixels[:2], [1, 0]), rows_of(run, pixels[2:], [2, 0])])
    rows = rows.iloc[[0, 2, 1, 3]]

    found = features_at(run, rows)

    expected = features_of(pixels[[1, 4, 0, 2]])
    assert np.array_equal(found.codes, expected.codes)
    assert np.array_equal(found.places, expected.places)
    assert list(found.counts) == list(expected.counts)


def test_what_is_known_is_not_found_again_unless_damaged(
    store: Store, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(run_of(store), step="validate")
    rows = rows_of(run, pixels, [0, 3])
    first = features_at(run, rows)
    asked: list[int] = []

    def counting(given: np.ndarray) -> object:
        asked.append(len(given))
        return features_of(given)

    monkeypatch.setattr(kept_features, "features_of", counting)
    assert np.array_equal(features_at(run, rows).codes, first.codes)
    assert asked == []

    (kept,) = keys(store, FOLDER)
    assert shard_of(kept) == rows["shard"].iloc[0]
    store.replace(kept, store.read(kept)[:-1] + b"?")
    assert np.array_equal(features_at(run, rows).codes, first.codes)
    assert asked == [5]


def test_no_rows_have_no_features(store: Store) -> None:
    empty = pd.DataFrame({"shard": [], "shard_sha256": [], "index": []})

    assert not len(features_at(replace(run_of(store), step="validate"), empty).counts)
    assert keys(store, FOLDER) == []


def test_parts_that_work_side_by_side_do_not_describe_each_others_shards(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of four parts compares its own pictures with all, so each needs the features of all."""
    run, parts, shards = replace(run_of(store), step="validate"), 4, 24
    pictures = np.random.default_rng(2).integers(0, 256, (shards, 1, 64, 64, 3), dtype=np.uint8)
    rows = pd.concat([rows_of(run, each, [0]) for each in pictures], ignore_index=True)
    expected = features_of(pictures[:, 0]).codes
    asked: list[int] = []
    together = Barrier(parts)

    def slowly(given: np.ndarray) -> object:
        asked.append(len(given))
        time.sleep(0.1)  # as long as a shard of some pictures takes
        return features_of(given)

    def part(number: int) -> np.ndarray:
        together.wait()
        found = features_at(run, rows, np.arange(shards) % parts == number)
        return np.asarray(found.codes)

    monkeypatch.setattr(kept_features, "features_of", slowly)
    with ThreadPoolExecutor(parts) as pool:
        found = list(pool.map(part, range(parts)))

    assert all(np.array_equal(each, expected) for each in found)
    assert shards <= len(asked) <= 1.5 * shards  # the meeting points of parts that end unequally
