"""A server of a newer MLflow finds its databases in the form that it wants."""

import os
import subprocess
import sys
from collections.abc import Iterator
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

from tests.support.missing import lacking, need_root
from tests.support.paths import ROOT
from tests.support.servers import free_port

pytestmark = pytest.mark.slow
# MLflow's own say nothing of their types.
utils: Any = of_databases
Server: Any = of_runs.SqlAlchemyStore
Users: Any = of_users.SqlAlchemyStore
SCRIPT = ROOT / "containers/stack/mlflow_databases.py"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL, without the name of a database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        lacking("no PostgreSQL", install="apt-get install postgresql")
    need_root("start PostgreSQL as its own user")
    programs, port = found[-1].parent, free_port()
    folder = tmp_path_factory.mktemp("postgres")
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    subprocess.run(["chown", "postgres", folder], check=True)
    as_user = ["runuser", "-u", "postgres", "--"]
    data = str(folder / "data")
    initdb = [*as_user, str(programs / "initdb"), "--auth", "trust", "--no-sync", data]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder)
    options = f"-c port={port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
    control = [*as_user, str(programs / "pg_ctl"), "--pgdata", data, "--wait", "--silent"]
    log = ["--log", str(folder / "log")]
    subprocess.run([*control, *log, "--options", options, "start"], check=True, cwd=folder)
    try:
        yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}"
    finally:
        subprocess.run([*control, "--mode", "fast", "stop"], check=True, cwd=folder)


@pytest.fixture
def databases(postgres: str, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Addresses of two empty databases: MLflow's, and that of its login."""
    name = f"tests_{abs(hash(request.node.name))}"
    server = sqlalchemy.create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        for each in (name, f"{name}_users"):
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {each}"))
    server.dispose()
    return f"{postgres}/{name}", f"{postgres}/{name}_users"


def bring_up(databases: tuple[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script as a container does, with secrets in files."""
    folder.mkdir(exist_ok=True)
    (folder / "mlflow_database").write_text(databases[0])
    (folder / "mlflow_users").write_text(f"[mlflow]\ndatabase_uri = {databases[1]}\n")
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


def test_an_older_database_is_brought_up(databases: tuple[str, str], tmp_path: Path) -> None:
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


def test_a_server_alone_may_refuse_an_older_database(
    databases: tuple[str, str], tmp_path: Path
) -> None:
    """Why the script is needed: a server changes nothing where only columns differ."""
    assert bring_up(databases, tmp_path / "secrets").returncode == 0
    script = ScriptDirectory.from_config(utils._get_alembic_config(databases[0]))
    _, before, *_ = (each.revision for each in script.walk_revisions())
    version_of(databases[0], becomes=before)

    with pytest.raises(MlflowException, match="out-of-date database schema"):
        Server(databases[0], str(tmp_path / "artifacts"))


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


def test_a_database_of_a_newer_mlflow_is_refused(
    databases: tuple[str, str], tmp_path: Path
) -> None:
    assert bring_up(databases, tmp_path / "secrets").returncode == 0
    version_of(databases[0], becomes="abc")
    done = bring_up(databases, tmp_path / "secrets")

    assert done.returncode != 0
    assert "Can't locate revision identified by 'abc'" in done.stderr
