"""Every store keeps its promises: a dict of bytes in order, on a directory and on S3."""

import re
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.engine.directory import DirectoryStore
from tasks.engine.storage import open_store
from tasks.engine.store import PARALLEL_REQUESTS, Store, read_many
from tasks.errors import AlreadyExists, BadInput, NotFound
from tests.support.stores import assert_explains, etag, keys, on_a_directory, on_s3

# What a store does ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"\0\xff\r\n", b"x" * 3_000_000], ids=["empty", "bytes", "3MB"]
)
def test_what_was_created_reads_back(store: Store, data: bytes) -> None:
    store.create("runs/first/ingest/record.json", data)

    assert store.read("runs/first/ingest/record.json") == data


def test_a_key_is_created_once_and_its_first_content_stands(store: Store) -> None:
    store.create("ledger/000001.json", b"first")

    with pytest.raises(AlreadyExists):
        store.create("ledger/000001.json", b"second")

    assert store.read("ledger/000001.json") == b"first"


def test_a_replaced_object_has_the_new_content_and_is_still_not_creatable(store: Store) -> None:
    store.create("progress.json", b"1")
    store.replace("progress.json", b"2")
    store.replace("new.json", b"3")

    assert (store.read("progress.json"), store.read("new.json")) == (b"2", b"3")
    with pytest.raises(AlreadyExists):
        store.create("new.json", b"4")


@pytest.mark.parametrize("key", ["absent", "folder/absent", "folder", "there/below"])
def test_reading_what_is_not_there_is_not_found(store: Store, key: str) -> None:
    store.create("there", b"")
    store.create("folder/present", b"")

    with pytest.raises(NotFound) as caught:
        store.read(key)

    assert_explains(caught.value, key, store.uri)


def test_a_list_is_in_the_order_of_the_keys_with_sizes(store: Store) -> None:
    sizes = {"b": 2, "a/z": 0, "a/é": 1, "a-": 3, "a.b": 5, "a/B": 4, "c/d/e/f": 7}
    for key, size in sizes.items():
        store.create(key, b"." * size)

    listed = [(entry.key, entry.size_bytes) for entry in store.list("")]

    assert listed == sorted(sizes.items())


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["raw.txt", "raw/Train/1", "raw/Train/2", "raw/Training/3", "rawest/4"]),
        ("raw", ["raw.txt", "raw/Train/1", "raw/Train/2", "raw/Training/3", "rawest/4"]),
        ("raw/", ["raw/Train/1", "raw/Train/2", "raw/Training/3"]),
        ("raw/Train", ["raw/Train/1", "raw/Train/2", "raw/Training/3"]),
        ("raw/Train/", ["raw/Train/1", "raw/Train/2"]),
        ("raw/Train/1", ["raw/Train/1"]),
        ("raw/Train/1/", []),
        ("absent/", []),
    ],
)
def test_a_prefix_is_the_start_of_a_key_and_not_a_folder(
    store: Store, prefix: str, expected: list[str]
) -> None:
    for key in ("raw/Train/1", "raw/Train/2", "raw/Training/3", "raw.txt", "rawest/4"):
        store.create(key, b"")

    assert keys(store, prefix) == expected


def test_a_store_nobody_wrote_to_lists_nothing(store: Store) -> None:
    assert keys(store) == []
    assert keys(store, "raw/") == []


def test_more_keys_than_one_page_of_s3_are_all_listed_once(store: Store) -> None:
    written = [f"raw/{number:04}" for number in range(1005)]
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as threads:
        list(threads.map(lambda key: store.create(key, b""), written))

    assert keys(store, "raw/") == written


def test_many_are_read_in_the_order_asked_for(store: Store) -> None:
    wanted = [f"shard-{number}" for number in range(40)]
    for key in wanted:
        store.create(key, key.encode())

    backwards = wanted[::-1]

    assert list(read_many(store, backwards)) == [key.encode() for key in backwards]
    assert list(read_many(store, [])) == []
    with pytest.raises(NotFound):
        list(read_many(store, ["shard-1", "absent", *wanted]))


def test_reading_many_slowly_does_not_pile_them_up(tmp_path: Path) -> None:
    begun: list[str] = []

    class Counting(DirectoryStore):
        def read(self, key: str) -> bytes:
            begun.append(key)
            return b""

    reading = read_many(Counting(tmp_path), (str(number) for number in range(1000)))
    next(reading)

    assert len(begun) <= PARALLEL_REQUESTS
    assert len(list(reading)) == 999


def test_the_etag_changes_with_the_content_and_only_then(store: Store) -> None:
    store.create("a", b"1111")
    store.create("b", b"1111")
    seen = [etag(store, "a")]
    for content in (b"2222", b"3333", b"44444"):  # the same length within one tick of the clock
        store.replace("a", content)
        seen.append(etag(store, "a"))
        store.read("a")
        store.replace("b", content)
        assert etag(store, "a") == seen[-1]

    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    "key",
    [
        "raw/Test/basal cell carcinoma/ISIC 1.jpg",
        "raw/éàüß/日本.jpg",
        "raw/1+1=2.jpg",
        "raw/100%.jpg",
        "raw/%2F%20.jpg",
        "raw/#1.jpg",
        "raw/a&b;c,d.jpg",
        "raw/?x=1",
        "raw/'\"`$(){}[]<>|\\~!@^*:",
        "raw/ leading and trailing ",
        "raw/...",
        "raw/.hidden",
    ],
)
def test_any_name_a_file_may_have_is_kept_as_it_is(store: Store, key: str) -> None:
    store.create(key, key.encode())
    store.replace(key, key.encode() * 2)

    assert keys(store, key) == keys(store, "raw/") == [key]
    assert store.read(key) == key.encode() * 2
    with pytest.raises(AlreadyExists):
        store.create(key, b"")


def test_two_stores_in_one_place_do_not_see_each_other(store_uri: str) -> None:
    one, other = open_store(f"{store_uri}/one"), open_store(f"{store_uri}/one-more/")
    one.create("key", b"1")
    other.create("key", b"2")

    assert (one.read("key"), other.read("key")) == (b"1", b"2")
    assert keys(one) == keys(other) == ["key"]


@on_s3
def test_the_folder_markers_that_consoles_leave_are_not_objects(store_uri: str) -> None:
    import boto3

    s3_client = boto3.Session().client("s3", region_name="us-east-1")
    bucket, _, prefix = store_uri.removeprefix("s3://").partition("/")
    for key in (f"{prefix}/", f"{prefix}/raw/", f"{prefix}/raw/nevus/"):
        s3_client.put_object(Bucket=bucket, Key=key)
    s3_client.put_object(Bucket=bucket, Key=f"{prefix}/raw/nevus/1.jpg", Body=b"x")

    assert keys(open_store(store_uri)) == ["raw/nevus/1.jpg"]


# Properties: a store is a dict ------------------------------------------------------------------

# No name is a folder in one key and a file in another: a disk cannot hold both.
NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\0"),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", ".."))
KEYS = st.sampled_from(("raw", "runs/first", "shared/é")).flatmap(
    lambda folder: NAMES.map(lambda name: f"{folder}/{name}")
)
WRITES = st.lists(
    st.tuples(st.sampled_from(("create", "replace")), KEYS, st.binary(max_size=64)), max_size=12
)


def behaves_as_a_dict(store: Store, writes: list[tuple[str, str, bytes]], prefix: str) -> None:
    model: dict[str, bytes] = {}
    for verb, key, data in writes:
        if verb == "create" and key in model:
            with pytest.raises(AlreadyExists):
                store.create(key, data)
        else:
            getattr(store, verb)(key, data)
            model[key] = data
    listed = [(entry.key, entry.size_bytes) for entry in store.list(prefix)]
    assert listed == sorted((k, len(v)) for k, v in model.items() if k.startswith(prefix))
    assert dict(zip(model, read_many(store, model), strict=True)) == model


def property_test(examples: int) -> Callable[..., Any]:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


@on_a_directory
@property_test(200)
@given(writes=WRITES, prefix=st.sampled_from(("", "r", "raw/", "runs/", "shared/é/")))
def test_a_directory_behaves_as_a_dict(
    store_uri: str, writes: list[tuple[str, str, bytes]], prefix: str
) -> None:
    behaves_as_a_dict(open_store(f"{store_uri}/{secrets.token_hex(8)}"), writes, prefix)


@on_s3
@property_test(12)
@given(writes=WRITES, prefix=st.sampled_from(("", "r", "raw/", "runs/", "shared/é/")))
def test_s3_behaves_as_a_dict(
    store_uri: str, writes: list[tuple[str, str, bytes]], prefix: str
) -> None:
    behaves_as_a_dict(open_store(f"{store_uri}/{secrets.token_hex(8)}"), writes, prefix)


@property_test(300)
@given(key=st.text(st.sampled_from("ab./\0é "), max_size=10))
def test_no_key_writes_outside_of_its_directory(
    tmp_path_factory: pytest.TempPathFactory, key: str
) -> None:
    outer = tmp_path_factory.mktemp("outer")
    store = DirectoryStore(outer / "inner" / "store")
    try:
        store.create(key, b"x")
    except BadInput as error:
        assert_explains(error)
        # What is plainly a file's name is never refused.
        assert not re.fullmatch(r"[ab\u00e9][ab\u00e9 ]*(/[ab\u00e9][ab\u00e9 ]*)*", key)
    else:
        assert keys(store) == [key]
    outside = [
        path for path in outer.rglob("*") if path.is_file() and store.root not in path.parents
    ]
    assert outside == []
    shutil.rmtree(outer)
