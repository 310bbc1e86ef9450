"""Addresses, keys, credentials and servers that will not do are refused with what to do."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import AlreadyExists, BadInput, Momentary, NotFound
from tests.support.servers import S3Server, free_port
from tests.support.stores import (
    assert_explains,
    assert_nothing_partial,
    keys,
    on_a_directory,
    on_a_real_s3,
    on_s3,
)

EVERY_USE: tuple[Callable[[Store], Any], ...] = (
    keys,
    lambda store: store.read("a"),
    lambda store: store.create("a", b""),
    lambda store: store.replace("a", b""),
)


@pytest.mark.parametrize(
    "uri", ["", "  ", "s3://", "s3:///prefix", "gs://bucket", "https://bucket/x"]
)
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_store(uri)

    assert_explains(caught.value, "s3://bucket/prefix", repr(uri))


def test_an_address_may_have_slashes_too_many() -> None:
    assert open_store("s3://bucket//a/b/").uri == "s3://bucket/a/b"


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        ({}, "us-east-1"),
        ({"AWS_DEFAULT_REGION": "eu-central-1"}, "eu-central-1"),
        ({"AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "eu-central-1"}, "eu-west-3"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-central-1"}, "eu-central-1"),
    ],
)
def test_requests_are_signed_for_the_region_that_the_environment_names(
    environment: dict[str, str], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amazon refuses a signature for another region."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    store: Any = open_store("s3://bucket/prefix")

    assert store._client.meta.region_name == region


@pytest.mark.parametrize(
    "key",
    [
        *("../escaped", "raw/../../escaped", "/etc/passwd", "a\0b", ".", "..", "a/./b"),
        *("", "a//b", "a/", ".partial/x", "a/.partial-0123456789abcdef"),
    ],
)
@on_a_directory
def test_a_key_that_leaves_a_directory_is_refused(store: Store, key: str) -> None:
    for use in (store.read, lambda k: store.create(k, b""), lambda k: store.replace(k, b"")):
        with pytest.raises(BadInput) as caught:
            use(key)
        assert_explains(caught.value, repr(key))


@on_a_directory
def test_a_list_outside_of_a_directory_is_refused(store: Store) -> None:
    for prefix in ("../", "/etc/", "raw/../../"):
        with pytest.raises(BadInput) as caught:
            keys(store, prefix)
        assert_explains(caught.value)


@on_a_directory
@pytest.mark.parametrize("key", ["file/below", "folder", "n" * 256, "n/" * 3000 + "n"])
def test_a_key_that_a_disk_cannot_hold_is_refused(store: Store, key: str) -> None:
    store.create("file", b"1")
    store.create("folder/file", b"1")

    for write in (store.create, store.replace):
        with pytest.raises((BadInput, AlreadyExists)) as caught:
            write(key, b"2")
        if isinstance(caught.value, BadInput):
            assert_explains(caught.value)

    assert keys(store) == ["file", "folder/file"]
    assert_nothing_partial(store)


@on_a_directory
def test_a_file_name_that_is_not_text_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    """Delivered files come from anywhere: such a name there is listed, and names no file."""
    store.create("raw/good", b"")
    store.create("shared/good", b"")
    for folder in ("raw", "shared"):
        Path(os.fsdecode(os.fsencode(tmp_path / "store" / folder) + b"/nev\xe9.jpg")).touch()

    with pytest.raises(BadInput) as caught:
        keys(store, "shared/")

    assert_explains(caught.value, "UTF-8", "nev")
    assert keys(store, "raw/") == ["raw/good", "raw/nev\\xe9.jpg"]


@on_a_directory
def test_links_are_followed_and_a_loop_of_links_is_refused(store: Store, tmp_path: Path) -> None:
    delivery = tmp_path / "delivery"
    delivery.mkdir()
    (delivery / "1.jpg").write_bytes(b"1")
    store.create("raw/0.jpg", b"0")
    (tmp_path / "store/raw/linked").symlink_to(delivery)
    (tmp_path / "store/raw/dangling.jpg").symlink_to(delivery / "absent.jpg")

    assert keys(store) == ["raw/0.jpg", "raw/linked/1.jpg"]

    (delivery / "loop").symlink_to(delivery)
    with pytest.raises(BadInput) as caught:
        keys(store)
    assert_explains(caught.value)


@on_s3
def test_a_missing_bucket_is_bad_input(store_uri: str) -> None:
    store = open_store("s3://no-such-bucket-anywhere/prefix")

    for use in EVERY_USE:
        with pytest.raises(BadInput) as caught:
            use(store)
        assert not isinstance(caught.value, NotFound)
        assert_explains(caught.value, "no-such-bucket-anywhere", "create the bucket")


@on_a_real_s3
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_bad_input_and_write_nothing(
    store_uri: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = os.environ[name]
    monkeypatch.setenv(name, "wrong")
    store = open_store(store_uri)

    for use in EVERY_USE:
        with pytest.raises(BadInput) as caught:
            use(store)
        assert not isinstance(caught.value, NotFound)
        assert_explains(caught.value, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        assert "wrong" not in str(caught.value)

    monkeypatch.setenv(name, right)
    assert keys(open_store(store_uri)) == []


@pytest.mark.parametrize("present", [[], ["AWS_ACCESS_KEY_ID"]])
def test_absent_credentials_are_bad_input(
    present: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in present:
        monkeypatch.setenv(name, "x")

    with pytest.raises(BadInput) as caught:
        open_store("s3://bucket").read("a")

    assert_explains(caught.value, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


def test_an_unreachable_server_is_a_fault_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    for name, value in S3Server(endpoint, "key", "secret").environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(Momentary) as caught:
        open_store("s3://bucket").read("raw/a")

    assert caught.value.exit_code == 75
    assert endpoint in str(caught.value)
    assert "raw/a" in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "uri"),
    [
        ("127.0.0.1:9000", "s3://bucket"),
        ("http://", "s3://bucket"),
        ("http://127.0.0.1:9", "s3://not a bucket!"),
    ],
)
def test_a_malformed_server_or_bucket_is_bad_input(
    endpoint: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in S3Server(endpoint, "key", "secret").environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(BadInput) as caught:
        open_store(uri).read("a")

    assert_explains(caught.value, uri)


@contextmanager
def answering(status: int, code: str) -> Iterator[str]:
    """A server that answers every request with this refusal."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    body = f"<Error><Code>{code}</Code><Message>because</Message></Error>".encode()

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (503, "SlowDown", Momentary),
        (500, "InternalError", Momentary),
        (409, "OperationAborted", Momentary),
        (400, "RequestTimeout", Momentary),
        (403, "RequestTimeTooSkewed", BadInput),
        (403, "QuotaExceeded", BadInput),
        (400, "InvalidBucketName", BadInput),
        (501, "NotImplemented", BadInput),
        (404, "NoSuchKey", NotFound),
    ],
)
def test_a_refusal_is_retried_only_if_it_may_pass(
    status: int, code: str, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    with answering(status, code) as endpoint:
        for name, value in S3Server(endpoint, "key", "secret").environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(expected) as caught:
            open_store("s3://bucket").read("a")

    assert type(caught.value) is expected
    if expected is not NotFound:
        assert code in str(caught.value)
