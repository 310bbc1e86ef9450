"""The registry on PostgreSQL, which counts the characters of a text where SQLite does not."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.records.registered import Registered
from tasks.registry.model_folder import MOST_DESCRIBED
from tasks.registry.versions import CHAMPION, MODEL, mlflow_client
from tests.support.approvals import promoted
from tests.support.deliveries import do
from tests.support.postgres import running
from tests.support.servers import mlflow_server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server on PostgreSQL."""
    folder = tmp_path_factory.mktemp("mlflow")
    with (
        running() as server,
        mlflow_server(folder, database=f"{server.address}/postgres") as address,
    ):
        yield address


@pytest.fixture
def run(registered_run: Run, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A judged run that no MLflow knows."""
    there = Path(registered_run.store.uri)
    copy = shutil.copytree(there, tmp_path / "store", ignore=shutil.ignore_patterns("mlflow*"))
    for step in ("register", "evidence"):
        shutil.rmtree(copy / "runs" / registered_run.name / step)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served)
    return Run(DirectoryStore(copy), registered_run.name, registered_run.config)


def version_of(run: Run, number: int) -> Any:
    with mlflow_client(run.store) as client:
        return client.get_model_version(MODEL, str(number))


def test_a_model_is_registered_and_promoted_though_its_card_is_longer_than_a_description(
    run: Run,
) -> None:
    registered = do(run, "register")
    assert isinstance(registered, Registered)
    card = run.store.read(f"runs/{run.name}/evidence/model_card.md").decode()
    description = version_of(run, registered.version).description
    assert len(card) > MOST_DESCRIBED >= len(description)
    begun, _, rest = description.partition("\n\n**The page goes on**")
    assert card.startswith(begun + "\n")
    assert "release/model_card.md" in rest

    assert promoted(run) == registered.version
    with mlflow_client(run.store) as client:
        now = client.get_model_version_by_alias(MODEL, CHAMPION)
    assert int(now.version) == registered.version
