"""Which stores a test runs on, and what is asked of them."""

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.store import Store

REAL = ("directory", "radosgw")
on_real_stores = pytest.mark.parametrize("store_uri", REAL, indirect=True)
on_a_directory = pytest.mark.parametrize("store_uri", ["directory"], indirect=True)
on_s3 = pytest.mark.parametrize("store_uri", ["moto", "radosgw"], indirect=True)
on_a_real_s3 = pytest.mark.parametrize("store_uri", ["radosgw"], indirect=True)


def keys(store: Store, prefix: str = "") -> list[str]:
    return [entry.key for entry in store.list(prefix)]


def etag(store: Store, key: str) -> str:
    (entry,) = store.list(key)
    return entry.etag


def assert_explains(error: BaseException, *words: str) -> None:
    text = str(error)
    for word in ("Expected:", "Received:", "Do:", *words):
        assert word in text


def assert_nothing_partial(store: Store) -> None:
    assert isinstance(store, DirectoryStore)
    assert list(store.root.rglob(".partial*")) == []
