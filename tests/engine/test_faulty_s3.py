"""An S3 server that fails now and then: what was read is whole, and what was decoded is kept."""

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.engine import s3
from tasks.engine.s3 import PAUSES_SECONDS
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import AlreadyExists, Momentary, NotFound
from tests.support.deliveries import do, put_lesions, run_of
from tests.support.faulty_proxy import Choice, Fault, faulty
from tests.support.missing import need_public_sets
from tests.support.paths import DATA
from tests.support.servers import S3Server
from tests.support.storms import sample, split_behind_faults, through

pytestmark = pytest.mark.slow

CONFIG = {"image_size": 32, "packed_size": 48, "minimum_groups": 2}


def first_times(fault: Fault, times: int) -> Choice:
    """The fault on the first answers, then none."""
    left = [fault] * times
    return lambda method, path: left.pop() if left else None


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "werkzeug")  # moto's server logs into whatever is open
    monkeypatch.setattr(s3, "PAUSES_SECONDS", (0.01,) * len(s3.PAUSES_SECONDS))
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
@pytest.mark.parametrize("fault", ["500", "503", "reset", "lost", "truncated", "slow"])
@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.usefixtures("without_pauses")
def test_every_use_survives_answers_that_break(
    s3: S3Server, fault: Fault, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    open_store(f"s3://{bucket}").create("raw/1", b"melanoma" * 9000)
    uses = (
        lambda store: store.read("raw/1") == b"melanoma" * 9000,
        lambda store: [entry.key for entry in store.list("raw/")] == ["raw/1"],
        lambda store: store.create("raw/2", b"2") is None and store.read("raw/2") == b"2",
        lambda store: store.replace("raw/2", b"3") is None and store.read("raw/2") == b"3",
        lambda store: store.delete("raw/2") is None,
    )
    left: list[Fault] = []
    with faulty(s3.endpoint, lambda method, path: left.pop() if left else None) as proxy:
        through(proxy, s3, monkeypatch)
        store = open_store(f"s3://{bucket}")
        for use in uses:
            left[:] = [fault] * times
            assert use(store)
            assert fault == "slow" or not left


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
@pytest.mark.parametrize("times", [1, 4, 5])
@pytest.mark.usefixtures("without_pauses")
def test_an_empty_page_of_a_list_is_asked_for_again(
    s3: S3Server, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times; then it is a fault of the moment, and never a list that is silently short."""
    store = open_store(f"s3://{s3.new_bucket()}")
    for number in range(3):
        store.create(f"raw/{number}", b"1")
    left: list[Fault] = ["empty"] * times
    with faulty(s3.endpoint, lambda method, path: left.pop() if left else None) as proxy:
        through(proxy, s3, monkeypatch)
        store = open_store(store.uri)
        if times < 5:
            assert [entry.key for entry in store.list("raw/")] == ["raw/0", "raw/1", "raw/2"]
        else:
            with pytest.raises(Momentary, match="empty answer"):
                list(store.list("raw/"))
        assert not left


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
@pytest.mark.usefixtures("without_pauses")
def test_a_create_that_another_won_is_lost_also_when_answers_break(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    open_store(f"s3://{bucket}").create("record", b"another's")
    with faulty(s3.endpoint, first_times("lost", 2)) as proxy:
        through(proxy, s3, monkeypatch)
        with pytest.raises(AlreadyExists):
            open_store(f"s3://{bucket}").create("record", b"mine")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    assert open_store(f"s3://{bucket}").read("record") == b"another's"


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
@pytest.mark.parametrize("fault", ["500", "503", "reset", "truncated"])
@pytest.mark.usefixtures("without_pauses")
def test_a_server_that_never_answers_whole_is_given_up_for_the_moment(
    s3: S3Server,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri = f"s3://{s3.new_bucket()}"
    put_lesions(open_store(uri), "melanoma", range(3))
    with faulty(s3.endpoint, lambda method, path: fault if "/raw/" in path else None) as proxy:
        through(proxy, s3, monkeypatch)
        argv = ["run", "--store", uri, "--until", "split", "--config", json.dumps(CONFIG)]
        assert main(argv) == Momentary.exit_code
        assert proxy.faults <= 3 * 5  # each image is asked for five times
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "raw/first/Train/melanoma/ISIC_" in said


def breaking_off(after: int) -> Choice:
    """Every image is sent until `after` are; from then on each breaks off."""
    count = [0]

    def choose(method: str, path: str) -> Fault | None:
        if "/raw/" not in path or method != "GET":
            return None
        count[0] += 1
        return "truncated" if count[0] > after else None

    return choose


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
@pytest.mark.parametrize(("name", "parts"), [("first", 1), ("first", 3), ("second", 3)])
@pytest.mark.usefixtures("without_pauses")
def test_the_next_attempt_fetches_only_what_was_not_decoded(
    s3: S3Server, name: str, parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same run or another; and its record is that of a run that nothing disturbed."""
    uri, undisturbed = f"s3://{s3.new_bucket()}", open_store(str(tmp_path))
    config = {"parts": parts}
    for store in (open_store(uri), undisturbed):
        put_lesions(store, "melanoma", range(24))
        # Bytes that lie in two buckets: where they are packed must not depend on the attempts.
        put_lesions(store, "nevus", range(12), part="Test")
    expected = do(run_of(undisturbed), "ingest")
    with faulty(s3.endpoint, breaking_off(20)) as proxy, monkeypatch.context() as patch:
        through(proxy, s3, patch)
        with pytest.raises(Momentary):
            do(run_of(open_store(uri), "first", **config), "ingest")
        before = images_in(proxy.sent)
    decoded = decoded_in(open_store(uri))
    with faulty(s3.endpoint, lambda method, path: None) as proxy, monkeypatch.context() as patch:
        through(proxy, s3, patch)
        record = do(run_of(open_store(uri), name, **config), "ingest")
        after = images_in(proxy.sent)
    delivered = [entry.key for entry in open_store(uri).list("raw/")]
    assert decoded <= set(before)
    assert len(decoded) > 5
    assert sorted(after) == sorted(set(delivered) - decoded)
    assert record.content_hash == expected.content_hash
    assert record.manifest.sha256 == expected.manifest.sha256


def images_in(paths: list[str]) -> list[str]:
    return ["raw/" + path.partition("/raw/")[2] for path in paths if "/raw/" in path]


def decoded_in(store: Store) -> set[str]:
    """The images that attempts which did not end have left decoded."""
    from tasks.intake.manifest import parquet_of

    tables = [parquet_of(store.read(entry.key)) for entry in store.list("shared/packs/")]
    return {str(key) for table in tables for key in table["key"]}


def test_what_a_run_that_ended_left_of_its_packs_is_not_read_again(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    put_lesions(store, "melanoma", range(4))
    do(run_of(store, "first"), "ingest")
    packs = [entry.key for entry in store.list("shared/packs/") if entry.key.endswith(".parquet")]
    for key in packs:
        store.replace(key, b"damaged, which would be told")
    put_lesions(store, "nevus", range(10, 12))
    assert packs
    assert do(run_of(store, "second"), "ingest").fetched == 2


# The public set ---------------------------------------------------------------------------------


@pytest.mark.parametrize("s3", ["radosgw"], indirect=True)
def test_public_images_are_split_within_three_attempts_behind_a_bad_network(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fixed sample: the first 10 images of each class and part. A campaign takes all, often."""
    need_public_sets("isic9", "metadata")
    split_behind_faults(s3, sample(DATA / "isic9", tmp_path / "isic9", 10), 2, monkeypatch)


# Refusals that break off -------------------------------------------------------------------------

NO_KEY = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>none</Message></Error>"


class Abrupt(BaseHTTPRequestHandler):
    """Says that there is no such key; the first `cut` times its words break off."""

    cut = 2
    asked = 0

    def _refuse(self) -> None:
        type(self).asked += 1
        body = NO_KEY[:30] if self.asked <= self.cut else NO_KEY
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_DELETE = _refuse  # noqa: N815  # the names that http.server calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("cut", "asked"), [(0, 1), (2, 3), (99, len(PAUSES_SECONDS) + 1)])
def test_a_refusal_that_breaks_off_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, cut: int, asked: int
) -> None:
    """botocore takes its status for its code, and a missing object ended the run."""
    monkeypatch.setattr(Abrupt, "cut", cut)
    monkeypatch.setattr(Abrupt, "asked", 0)
    monkeypatch.setattr("tasks.engine.s3.PAUSES_SECONDS", (0.01,) * len(PAUSES_SECONDS))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Abrupt)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    try:
        with pytest.raises(NotFound):
            open_store("s3://bucket/prefix").read("a")
    finally:
        server.shutdown()
    assert Abrupt.asked == asked
