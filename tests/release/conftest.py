"""A registered run and its sealed evidence, and a store with two challengers."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.person import VARIABLE
from tasks.engine.run import Run
from tests.support.approvals import ENGINEER, copy_with_two
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
    return copy_with_two(two_challengers, tmp_path / "store")


@pytest.fixture
def first(store_of_two: DirectoryStore) -> Run:
    return run_of(store_of_two, "first", seed=2, **SMALL)


@pytest.fixture
def second(store_of_two: DirectoryStore) -> Run:
    return run_of(store_of_two, "second", **SMALL)
