"""A server of a newer MLflow finds its databases in the form that it wants."""

import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.exceptions import MlflowException
from mlflow.server.auth import sqlalchemy_store as of_users
from mlflow.store.db import utils as of_databases
from mlflow.store.tracking import sqlalchemy_store as of_runs

from tests.support.paths import ROOT
from tests.support.postgres import PostgreSQL

pytestmark = pytest.mark.slow
# MLflow's own say nothing of their types.
utils: Any = of_databases
Server: Any = of_runs.SqlAlchemyStore
Users: Any = of_users.SqlAlchemyStore
SCRIPT = ROOT / "containers/stack/mlflow_databases.py"


@pytest.fixture
def databases(postgres: PostgreSQL) -> tuple[str, str]:
    """Addresses of two empty databases: MLflow's, and that of its login."""
    name = f"tests_{secrets.token_hex(4)}"
    server = sqlalchemy.create_engine(f"{postgres.address}/postgres", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        for each in (name, f"{name}_users"):
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {each}"))
    server.dispose()
    address = postgres.address.replace("postgres@", "postgres:a%25%2Fb@")  # a hard password
    return f"{address}/{name}", f"{address}/{name}_users"


def bring_up(databases: tuple[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script as a container does, with secrets in files."""
    folder.mkdir(exist_ok=True)
    (folder / "mlflow_database").write_text(databases[0])
    users = databases[1].replace("%", "%%")  # as MLflow reads it
    (folder / "mlflow_users").write_text(f"[mlflow]\ndatabase_uri = {users}\n")
    script = folder / "script.py"
    script.write_text(SCRIPT.read_text().replace("/run/secrets", str(folder)))
    argv = [sys.executable, str(script)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def version_of(address: str, becomes: str = "") -> str:
    """The form of MLflow's database; written over where another is given."""
    engine = sqlalchemy.create_engine(address)
    if becomes:
        with engine.begin() as connection:
            written = sqlalchemy.text("UPDATE alembic_version SET version_num = :version")
            connection.execute(written, {"version": becomes})
    try:
        return str(utils._get_schema_version(engine))
    finally:
        engine.dispose()


def test_an_older_database_is_brought_up_and_a_newer_one_refused(
    databases: tuple[str, str], tmp_path: Path
) -> None:
    """A server refuses an older one where columns alone differ: so the script is needed."""
    config = utils._get_alembic_config(databases[0])
    newest, *before = (
        each.revision for each in ScriptDirectory.from_config(config).walk_revisions()
    )
    engine = sqlalchemy.create_engine(databases[0])
    utils.InitialBase.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, before[9])
    engine.dispose()
    assert version_of(databases[0]) == before[9]

    for _ in range(2):  # the second time there is nothing to do
        done = bring_up(databases, tmp_path / "secrets")
        assert done.returncode == 0, done.stderr
        assert version_of(databases[0]) == newest
    assert Server(databases[0], str(tmp_path / "artifacts")).search_experiments()

    version_of(databases[0], becomes=before[0])
    with pytest.raises(MlflowException, match="out-of-date database schema"):
        Server(databases[0], str(tmp_path / "artifacts"))

    version_of(databases[0], becomes="abc")
    done = bring_up(databases, tmp_path / "secrets")
    assert done.returncode != 0
    assert "Can't locate revision identified by 'abc'" in done.stderr


def test_two_that_start_at_once_do_not_disturb_each_other(
    databases: tuple[str, str], tmp_path: Path
) -> None:
    with ThreadPoolExecutor() as side_by_side:
        both = list(side_by_side.map(lambda n: bring_up(databases, tmp_path / str(n)), range(2)))

    assert [each.returncode for each in both] == [0, 0], [each.stderr[-2000:] for each in both]
    assert Server(databases[0], str(tmp_path / "artifacts")).search_experiments()
    users = Users()
    users.init_db(databases[1])
    assert users.list_users() == []
