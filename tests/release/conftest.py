"""A registered run and its sealed evidence, and a store with two challengers."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.person import VARIABLE
from tasks.engine.run import Run
from tasks.registry.versions import MODEL, mlflow_client
from tests.support.approvals import ENGINEER
from tests.support.deliveries import BEFORE_REGISTER, delivered, do, run_of


@pytest.fixture(scope="module")
def run(registered_run: Run) -> Run:
    return registered_run


@pytest.fixture(scope="module")
def sealed(run: Run) -> Path:
    return Path(run.store.uri, "runs", run.name, "evidence")


@pytest.fixture
def copied(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "bundle"))


SMALL: dict[str, Any] = {
    "epochs": 1, "minimum_groups": 4, "recipes": ("baseline",), "policy": "smoke",
}  # fmt: skip


@pytest.fixture(scope="session")
def two_challengers(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two registered models, which an engineer trained, and no champion."""
    store = delivered(drawn, tmp_path_factory.mktemp("two") / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, ENGINEER.model_dump_json())
        for name, seed in (("first", 2), ("second", 20)):
            do(run_of(store, name, seed=seed, **SMALL), *BEFORE_REGISTER, "register")
    return Path(store.uri)


@pytest.fixture
def store_of_two(two_challengers: Path, tmp_path: Path) -> DirectoryStore:
    """A copy, to be promoted in. MLflow's artifacts stay where they were."""
    copy = DirectoryStore(Path(shutil.copytree(two_challengers, tmp_path / "store")))
    with mlflow_client(copy) as client:
        for version, name in (("1", "first"), ("2", "second")):
            client.set_model_version_tag(MODEL, version, "run", f"{copy.uri}/runs/{name}")
    return copy


@pytest.fixture
def first(store_of_two: DirectoryStore) -> Run:
    return run_of(store_of_two, "first", seed=2, **SMALL)


@pytest.fixture
def second(store_of_two: DirectoryStore) -> Run:
    return run_of(store_of_two, "second", **SMALL)
