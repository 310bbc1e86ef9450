"""A registered run and its sealed evidence."""

import shutil
from pathlib import Path

import pytest

from tasks.engine.run import Run


@pytest.fixture(scope="module")
def run(registered_run: Run) -> Run:
    return registered_run


@pytest.fixture(scope="module")
def sealed(run: Run) -> Path:
    return Path(run.store.uri, "runs", run.name, "evidence")


@pytest.fixture
def copied(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "bundle"))
