"""A registered run and its sealed evidence, and a store with two challengers."""

import shutil
from pathlib import Path

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tests.support.approvals import copy_with_two
from tests.support.deliveries import OF_TWO, run_of


@pytest.fixture(scope="module")
def run(registered_run: Run) -> Run:
    return registered_run


@pytest.fixture(scope="module")
def sealed(run: Run) -> Path:
    return Path(run.store.uri, "runs", run.name, "evidence")


@pytest.fixture
def copied(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "bundle"))


@pytest.fixture
def store_of_two(two_challengers: Path, tmp_path: Path) -> DirectoryStore:
    return copy_with_two(two_challengers, tmp_path / "store")


@pytest.fixture
def first(store_of_two: DirectoryStore) -> Run:
    return run_of(store_of_two, "first", seed=2, **OF_TWO)


@pytest.fixture
def second(store_of_two: DirectoryStore) -> Run:
    return run_of(store_of_two, "second", **OF_TWO)
