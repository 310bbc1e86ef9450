"""The app follows the champion, where ledger and alias agree and the model is as judged."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tasks.engine.directory import DirectoryStore
from tasks.registry.promotions import promotions_in
from tasks.registry.versions import CHAMPION, MODEL, mlflow_client
from tests.serving.conftest import client_of, png, sent, switch
from tests.support.approvals import copy_with_two
from tests.support.deliveries import run_of
from tests.support.dicoms import photograph

pytestmark = pytest.mark.slow

FILE = png(photograph(1))


@pytest.fixture
def unused(two_challengers: Path, tmp_path: Path) -> DirectoryStore:
    """A store with two registered models, of which none is in use."""
    return copy_with_two(two_challengers, tmp_path / "store")


@pytest.fixture
def used(switchable: DirectoryStore) -> Iterator[DirectoryStore]:
    """The first model is in use, and the second was."""
    yield switchable
    switch(switchable, 1)
    set_alias(switchable, 1)


@pytest.fixture
def client(used: DirectoryStore) -> Iterator[TestClient]:
    with client_of(used) as found:
        assert found.get("/model").json()["problem"] == ""
        yield found


def look(client: Any) -> dict[str, Any]:
    """What the app says of its models after another look at the ledger."""
    client.follower.look()
    told: dict[str, Any] = client.get("/model").json()
    return told


def version_of(client: TestClient) -> int:
    return int(client.post("/predict", **sent(FILE)).json()["model"]["version"])


def set_alias(store: DirectoryStore, version: int) -> None:
    with mlflow_client(store) as client:
        client.set_registered_model_alias(MODEL, CHAMPION, str(version))


def test_before_a_model_is_in_use_the_challenger_alone_answers(unused: DirectoryStore) -> None:
    with client_of(unused) as client:
        found = client.post("/predict", **sent(FILE))
        assert found.status_code == 503
        assert found.json()["detail"]["problem"] == "No model is in use yet."
        assert client.get("/ready").json()["status"] == "no model is in use yet"
        answer = client.post("/predict?standing=challenger", **sent(FILE)).json()
        assert (answer["model"]["version"], answer["model"]["standing"]) == (2, "challenger")


def test_a_promotion_and_a_rollback_are_followed(client: TestClient, used: DirectoryStore) -> None:
    assert version_of(client) == 1
    switch(used, 2)
    assert version_of(client) == 1  # nobody has looked yet
    assert look(client)["champion"]["version"] == 2
    assert version_of(client) == 2
    switch(used, 1)
    assert look(client)["champion"]["version"] == 1
    assert version_of(client) == 1


def test_where_ledger_and_alias_differ_the_last_good_model_stays_and_is_told(
    client: TestClient, used: DirectoryStore
) -> None:
    set_alias(used, 2)
    told = look(client)
    assert told["champion"]["version"] == 1
    assert "on version 2, but by the ledger of promotions version 1" in told["problem"]
    assert version_of(client) == 1
    assert "melanoma_following_problem 1.0" in client.get("/metrics").text
    set_alias(used, 1)
    assert look(client)["problem"] == ""


def test_where_they_differ_from_the_start_no_model_answers(used: DirectoryStore) -> None:
    set_alias(used, 2)
    with client_of(used) as client:
        assert client.post("/predict", **sent(FILE)).status_code == 503
        assert client.get("/ready").status_code == 503


@pytest.mark.parametrize("name", ["light/model.onnx", "evidence", "golden", "record"])
def test_a_model_that_was_changed_is_not_loaded_and_the_last_good_one_stays(
    client: TestClient, used: DirectoryStore, name: str
) -> None:
    switch(used, 2)
    spoilt, kept = spoil(used, name)
    try:
        told = look(client)
        assert told["champion"]["version"] == 1
        assert "version 2 is the champion and cannot be used" in told["problem"]
        assert version_of(client) == 1
    finally:
        spoilt.write_bytes(kept)
    told = look(client)
    assert (told["champion"]["version"], told["problem"]) == (2, "")


def spoil(store: DirectoryStore, name: str) -> tuple[Path, bytes]:
    """Change a file that vouches for version 2; returns the file, and what it held."""
    if name == "light/model.onnx":
        with mlflow_client(store) as client:
            source = client.get_model_version_download_uri(MODEL, "2")
        path = Path(source.removeprefix("file://"), name)
    else:
        said = promotions_in(store).champion
        assert said
        run = Path(said.run)
        path = {
            "evidence": run / "evidence/manifest.json",
            "golden": run / "evidence/golden/answers.json",
            "record": run / "register/record.json",
        }[name]
    kept = path.read_bytes()
    if name == "light/model.onnx":  # the other model, whole and sound
        with mlflow_client(store) as client:
            source = client.get_model_version_download_uri(MODEL, "1")
        path.write_bytes(Path(source.removeprefix("file://"), name).read_bytes())
    elif name == "record":  # of another light form
        record = json.loads(kept)
        record["files"]["light/model.onnx"] = "0" * 64
        path.write_text(json.dumps(record))
    else:
        path.write_bytes(kept.replace(b"0", b"1", 1))
    return path, kept


def test_while_the_registry_is_gone_the_last_good_model_answers(
    client: TestClient, used: DirectoryStore
) -> None:
    ledger = Path(used.root, "ledger/promotions")
    shutil.move(ledger, ledger.with_name("away"))
    told = look(client)
    assert told["champion"]["version"] == 1
    assert told["problem"]
    assert version_of(client) == 1
    shutil.move(ledger.with_name("away"), ledger)
    assert look(client)["problem"] == ""


def test_a_version_without_a_light_form_is_named(client: TestClient, used: DirectoryStore) -> None:
    """As an earlier version of the program registered it."""
    from tasks.engine.run import Run
    from tasks.errors import BadInput
    from tasks.registry.light_form import LIGHT
    from tasks.serving.in_use import _light_form

    record: Any = Run(used, "first", run_of(used).config).record("register")
    files = {path: sha for path, sha in record.files.items() if path != LIGHT}
    with mlflow_client(used) as registry, pytest.raises(BadInput, match="no light form") as caught:
        _light_form(registry, record.model_copy(update={"files": files}), record, "Version 1")
    assert "run a retraining" in caught.value.do
