"""Deliveries behind an S3 server that fails now and then."""

import random
import shutil
import time
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.engine.run import read_record
from tasks.engine.storage import open_store
from tasks.errors import Momentary
from tasks.intake.deliver import deliver
from tasks.records.ingested import Ingested
from tasks.records.split import Split
from tests.support.faulty_proxy import FaultyProxy, at_random, faulty
from tests.support.servers import S3Server

RATE = 0.05
TRIES = 3


def sample(whole: Path, to: Path, each: int) -> Path:
    """Some images of every class, chosen by the order of their names."""
    for folder in sorted(whole.glob("*/*")):
        for image in sorted(folder.iterdir())[:each]:
            copy = to / image.relative_to(whole)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, copy)
    return to


def through(proxy: FaultyProxy, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process speak with a server through the proxy."""
    for name, value in (server.environment | {"AWS_ENDPOINT_URL": proxy.endpoint}).items():
        monkeypatch.setenv(name, value)


def split_behind_faults(
    server: S3Server, images: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """Deliver images and run to the split, each within three attempts; returns what happened."""
    uri = f"s3://{server.new_bucket()}/melanoma"
    random.seed(seed)  # botocore's and our pauses
    codes: list[int] = []
    with faulty(server.endpoint, at_random(seed, RATE)) as proxy:
        through(proxy, server, monkeypatch)
        began = time.monotonic()
        for attempt in range(TRIES):
            try:
                deliver(open_store(uri), images)
                break
            except Momentary:
                assert attempt + 1 < TRIES
        argv = ["run", "--store", uri, "--name", "one", "--until", "split"]
        while not codes or (codes[-1] == Momentary.exit_code and len(codes) < TRIES):
            codes.append(main(argv))
        seconds = time.monotonic() - began
        assert codes[-1] == 0, codes
        assert proxy.faults > 0.03 * len(proxy.sent)
    store = open_store(uri)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    ingested, split = (read_record(store, "one", step) for step in ("ingest", "split"))
    assert isinstance(ingested, Ingested)
    assert isinstance(split, Split)
    files = [path for path in images.rglob("*") if path.is_file()]
    assert ingested.files == ingested.decoded == ingested.fetched == len(files)
    return {
        "images": len(files),
        "requests": len(proxy.sent),
        "faults": proxy.faults,
        "attempts": len(codes),
        "seconds": round(seconds),
    }
