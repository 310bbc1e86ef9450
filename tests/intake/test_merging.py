"""Small packs of small deliveries are merged, and nothing that was written is rewritten."""

import shutil
from itertools import count, islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.__main__ import main
from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.intake import merging
from tasks.intake.manifest import pixels_of
from tasks.parts import bucket_of
from tasks.records.ingested import Ingested
from tests.support.deliveries import do, picture, run_of, table_of

pytestmark = pytest.mark.slow
on_a_directory = pytest.mark.parametrize("store_uri", ["directory"], indirect=True)
DAYS = 3  # one more than may stay small here


@pytest.fixture(autouse=True)
def two_may_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with eight, in fewer runs."""
    monkeypatch.setattr(merging, "MOST_SMALL", DAYS - 1)


def keys_of(bucket: int, many: int) -> list[str]:
    """Keys of files that share a bucket, so that each delivery adds a small pack to it."""
    keys = (f"raw/first/Train/nevus/ISIC_{number:07d}.png" for number in count())
    return list(islice((key for key in keys if bucket_of(key) == bucket), many))


def number_of(key: str) -> int:
    return int(key.rpartition("_")[2].removesuffix(".png"))


def deliver_daily(store: Store, keys: list[str], first: int = 0, **config: int) -> list[Ingested]:
    """One file and one run a day; the record of each."""
    records = []
    for day, key in enumerate(keys, first):
        store.create(key, picture(number_of(key)))
        records.append(do(run_of(store, f"day-{day}", **config), "ingest"))
    return records


def manifest_of(store: Store, record: Ingested) -> pd.DataFrame:
    return table_of(run_of(store), record.manifest)


def check_pixels(store: Store, record: Ingested) -> None:
    rows = manifest_of(store, record)
    expected = [np.random.default_rng(number_of(key)) for key in rows["key"]]
    each = [random.integers(0, 256, (48, 48, 3), np.uint8) for random in expected]
    assert (pixels_of(run_of(store), rows) == np.stack(each)).all()


def test_many_small_packs_become_one_and_the_pixels_stay(store: Store) -> None:
    *before, after = deliver_daily(store, keys_of(3, DAYS + 1))

    # What the last day brought is a pack of its own, beside the merged one.
    assert [len(record.shards) for record in before] == list(range(1, DAYS + 1))
    assert len(after.shards) == 2
    assert (after.files, after.decoded, after.fetched) == (DAYS + 1, DAYS + 1, 1)
    check_pixels(store, after)


@on_a_directory
def test_records_of_earlier_runs_name_the_packs_that_they_named(store: Store) -> None:
    *_, last, _ = deliver_daily(store, keys_of(3, DAYS + 1))

    assert run_of(store, f"day-{DAYS - 1}").record("ingest") == last
    check_pixels(store, last)


@on_a_directory
def test_a_run_on_unchanged_data_merges_nothing_and_reuses_all(store: Store) -> None:
    """A manifest with other places would be another manifest, and everything would be done anew."""
    *_, last = deliver_daily(store, keys_of(3, DAYS))
    again = do(run_of(store, "again"), "ingest")

    assert again.manifest == last.manifest
    assert len(again.shards) == DAYS


@on_a_directory
def test_what_was_merged_stays_merged(store: Store) -> None:
    *_, after = deliver_daily(store, keys_of(3, DAYS + 1))
    again = do(run_of(store, "again"), "ingest")

    assert again.manifest == after.manifest


@on_a_directory
def test_a_few_small_packs_of_each_bucket_stay_as_they_are(store: Store) -> None:
    keys = [key for bucket in range(3) for key in keys_of(bucket, DAYS - 1)]
    *_, last = deliver_daily(store, keys)

    assert len(last.shards) == len(keys)


def test_any_number_of_parts_merges_alike(tmp_path: Path) -> None:
    keys = [
        key for two in zip(keys_of(3, DAYS + 1), keys_of(4, DAYS + 1), strict=True) for key in two
    ]
    told = []
    for parts in (1, 2):
        store = DirectoryStore(tmp_path / str(parts))
        *_, last = deliver_daily(store, keys, parts=parts)
        told.append((last.manifest, last.shards))

    assert told[0] == told[1]
    assert len(told[0][1]) == 4  # of each bucket what was merged, and what came last


@on_a_directory
def test_an_attempt_that_dies_after_merging_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = keys_of(3, DAYS + 1)
    deliver_daily(store, keys[:-1])
    store.create(keys[-1], picture(number_of(keys[-1])))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tasks.intake.ingest.describe", killed)
        with pytest.raises(KeyboardInterrupt):
            do(run_of(store, "second"), "ingest")
    after = do(run_of(store, "second"), "ingest")

    assert len(after.shards) == 2
    check_pixels(store, after)


@on_a_directory
def test_one_content_under_two_names_is_copied_once(store: Store) -> None:
    first, copy, *others = keys_of(3, DAYS + 2)
    deliver_daily(store, [first])
    store.create(copy, picture(number_of(first)))
    *_, record = deliver_daily(store, others, first=1)
    rows = manifest_of(store, record).set_index("key")

    assert rows.loc[[copy, first], "index"].nunique() == 1
    assert rows["shard"].nunique() == 2
    assert len(rows) == DAYS + 2


@on_a_directory
def test_a_damaged_pack_is_never_copied(store: Store) -> None:
    keys = keys_of(3, DAYS + 1)
    *_, last = deliver_daily(store, keys[:-1])
    rows = manifest_of(store, last).assign(shard_sha256="0" * 64)

    with pytest.raises(BadInput):
        merging.merged(run_of(store), rows)


def test_prune_removes_small_packs_once_no_run_names_them(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    *_, after = deliver_daily(store, keys_of(3, DAYS + 1))
    packs = {entry.key for entry in store.list("shared/shards/")}
    named = {shard.key for shard in after.shards}
    assert len(packs) == DAYS + 2  # one a day, and the merged one

    shutil.rmtree(tmp_path / "store/runs")
    assert main(["prune", "--store", store.uri, "--yes"]) == 0

    assert {entry.key for entry in store.list("shared/shards/")} == named
    again: Run = run_of(store, "again")
    record = do(again, "ingest")
    assert (record.fetched, record.manifest) == (0, after.manifest)


def test_an_erasure_reaches_the_merged_pack_too(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    keys = keys_of(3, DAYS + 1)
    *_, after = deliver_daily(store, keys)
    rows = manifest_of(store, after).set_index("key")
    (kept, *_), gone = keys, keys[1]
    given = [
        "erase",
        "--store",
        store.uri,
        "--image",
        Path(gone).stem,
        "--reason",
        "consent",
        "--stop-runs",
    ]
    assert main(given) == 0

    pack = np.load(tmp_path / "store" / str(rows["shard"][gone]))
    black = [int(row) for row in range(len(pack)) if not pack[row].any()]
    assert black == [rows["index"][gone]]
    assert rows["shard"][kept] == rows["shard"][gone]
