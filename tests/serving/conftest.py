"""A store with two registered models, of which people promoted the first; and the app over it."""

import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tasks.engine.directory import DirectoryStore
from tasks.engine.person import Person
from tasks.evaluation.answerable import Answerable
from tasks.intake.drawn_lesions import draw
from tasks.intake.manifest import parquet_of, read_parquet
from tasks.lesions import DIAGNOSES
from tasks.records.evaluated import Evaluated
from tasks.records.split import Split
from tasks.registry.champion import promotions_of
from tasks.registry.versions import mlflow_client
from tasks.release.compare import compare
from tasks.release.rollback import rollback
from tasks.serving.answering import images_of
from tasks.serving.api import app_of
from tasks.serving.follow import Follower
from tasks.serving.settings import Settings
from tasks.serving.website import add_page
from tests.support.approvals import copy_with_two, promoted
from tests.support.deliveries import run_of
from tests.support.paths import ROOT
from tests.support.servers import free_port

Array = np.ndarray[Any, Any]
# Two clinicians, and a reviewer.
USERS = {"anna": "secret", "berta": "hidden", "carl": "third"}
ANNA, BERTA, CARL = USERS.items()
CONSENT = {"consent": "true"}
PROVEN = {"diagnosis": "melanoma", "proof": "histopathology"}
UNKNOWN = "0123456789abcdef"  # no lesion has this number
SOMEBODY = Person(name="anna", how="command line", authenticated=False)


@pytest.fixture(scope="session")
def lesions(two_challengers: Path) -> list[Array]:
    """Drawn lesions, uint8 ``(180, 180, 3)``, that both models can judge."""
    judges = [judge_of(two_challengers, name) for name in ("first", "second")]
    found = list[Array]()
    for number in range(200):
        seeds = (np.random.default_rng(number) for _ in range(2))
        pixels = draw(DIAGNOSES[number % len(DIAGNOSES)], *seeds)
        if not any(grounds_of(judge, pixels) for judge in judges):
            found.append(pixels)
        if len(found) == 6:
            return found
    raise AssertionError("nearly every drawn lesion is refused")


def judge_of(store: Path, name: str) -> Answerable:
    """The judge of images of a run."""
    run = run_of(DirectoryStore(store), name)
    evaluated = run.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    assert evaluated.refusals
    return Answerable.from_bytes(run.fetch(evaluated.refusals.judge))


def grounds_of(judge: Answerable, pixels: Array) -> list[tuple[str, str]]:
    (image,) = images_of(png(pixels), 1, judge.side, 64)
    decoded = image.decoded
    sides = np.array([decoded.width]), np.array([decoded.height])
    (found,) = judge.judge(decoded.pixels[None], *sides)
    return [(str(ground), told) for ground, told in found]


@pytest.fixture(scope="module")
def store(two_challengers: Path, tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    """The first model is in use, the second waits."""
    copy = copy_with_two(two_challengers, tmp_path_factory.mktemp("served") / "store")
    assert promoted(run_of(copy, "first")) == 1
    return copy


@pytest.fixture(scope="session")
def switchable(two_challengers: Path, tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    """Both models were in use, and the first is again: `switch` is quick. Leave it as found."""
    copy = copy_with_two(two_challengers, tmp_path_factory.mktemp("switchable") / "store")
    promoted(run_of(copy, "first"))
    assert promoted(compare(run_of(copy, "second")), "another question") == 2
    switch(copy, 1)
    return copy


def switch(store: DirectoryStore, version: int) -> None:
    """Make a version that was in use the champion, if it is not."""
    with mlflow_client(store) as client:
        now = promotions_of(client, store).champion
    if now is None or now.version != version:
        rollback(store, version, SOMEBODY, "A test.", "")


@contextmanager
def client_of(
    store: DirectoryStore, settings: Settings | None = None, **more: Any
) -> Iterator[TestClient]:
    """The app over a store, which looks at the ledger only when told: ``client.follower.look()``.

    Args:
        store: The store.
        settings: The operator's choices.
        more: Options of the client.
    """
    follower = Follower(store, seconds=3600, prevalence=0.02)
    given = settings or Settings(each_minute=100_000)
    options = {"base_url": "http://127.0.0.1", "client": ("127.0.0.1", 50000)} | more
    with TestClient(app_of(follower, given, add_page), **options) as client:
        client.follower = follower
        yield client


@pytest.fixture(scope="module")
def app(store: DirectoryStore) -> Iterator[TestClient]:
    with client_of(store) as client:
        yield client


@pytest.fixture(scope="session")
def reviewed(two_challengers: Path, tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    """As `store`; images of lesions are kept here. A test counts on its own lesions alone."""
    copy = copy_with_two(two_challengers, tmp_path_factory.mktemp("reviewed") / "store")
    promoted(run_of(copy, "first"))
    return copy


@pytest.fixture(scope="session")
def keeping(reviewed: DirectoryStore) -> Iterator[TestClient]:
    """The app over `reviewed`, where images are kept and Berta reviews. Nobody is logged in."""
    settings = Settings(
        feedback=True, users=USERS, reviewers=("berta",), each_minute=100_000, gather_seconds=0.05
    )
    with client_of(reviewed, settings, follow_redirects=False) as client:
        yield client


@pytest.fixture(scope="module")
def judged(store: DirectoryStore) -> pd.DataFrame:
    """The test part's images with the answers that `evaluate` recorded of the first model:
    ``file``, the path below the store, and a column for each class."""
    run = run_of(store, "first")
    evaluated, split = run.record("evaluate"), run.record("split")
    assert isinstance(evaluated, Evaluated)
    assert isinstance(split, Split)
    parts = read_parquet(run, split.parts)
    keys = parts.loc[parts["side"] == "test", ["image_id", "key"]]
    return parquet_of(run.fetch(evaluated.predictions)).merge(keys, on="image_id")


def asked_with_consent(client: TestClient, file: bytes, person: tuple[str, str] = ANNA) -> Any:
    """The answer about a lesion whose patient has agreed."""
    found = client.post("/predict", data={"consent": "true"}, auth=person, **sent(file))
    assert found.status_code == 200, found.text
    return found.json()


@pytest.fixture
def lesion(keeping: TestClient, lesions: list[Array]) -> str:
    """Number of a lesion that Anna has asked about."""
    number = asked_with_consent(keeping, png(lesions[1]))["lesion"]
    assert re.fullmatch("[0-9a-f]{16}", number)
    return str(number)


def png(pixels: Array) -> bytes:
    """A PNG of uint8 ``(height, width, 3)``."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def sent(*files: bytes, name: str = "lesion.png") -> dict[str, Any]:
    """The argument of a request that sends files."""
    return {"files": [("images", (name, data, "application/octet-stream")) for data in files]}


@contextmanager
def running(store: DirectoryStore, *options: str) -> Iterator[str]:
    """``python -m tasks serve`` in a process of its own; gives the address once a model answers."""
    port = free_port()
    argv = [sys.executable, "-m", "tasks", "serve", "--store", store.uri, "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*argv, "--each-minute", "1000000", *options], cwd=ROOT, stderr=log, stdout=log
        )
        try:
            for _ in range(600):
                with suppress(httpx.TransportError):
                    if httpx.get(f"{address}/ready").status_code == 200:
                        break
                assert process.poll() is None, told_in(log)
                time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            process.wait(20)


def told_in(log: Any) -> str:
    log.seek(0)
    return str(log.read().decode())
