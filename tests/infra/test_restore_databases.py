"""The commands of infra/README.md bring every database back, over one that has gone on since."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.postgres import PostgreSQL

pytestmark = pytest.mark.slow
README = (ROOT / "infra/README.md").read_text()
(RESTORING,) = re.findall(r"^```sh\n(in_postgres\(\).*?)^```$", README, re.MULTILINE | re.DOTALL)
# Runs on this machine what it would run in a pod, the name of which it checks.
KUBECTL = """#!/bin/sh
[ "$*" != "${*#exec --stdin --namespace melanoma postgres-0 -- }" ] || exit 1
shift 6
exec "$@"
"""


def typed(postgres: PostgreSQL, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with the programs of PostgreSQL, and a kubectl of ours, at hand."""
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    environment = {
        "PATH": f"{folder}:{postgres.programs}:{os.environ['PATH']}",
        "PGPORT": str(postgres.port),
    }
    return subprocess.run(
        ["sh", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def asked(postgres: PostgreSQL, folder: Path, database: str, user: str, *commands: str) -> str:
    options = " ".join(f'--command "{each}"' for each in commands)
    psql = f"psql --host 127.0.0.1 --username {user} --tuples-only --no-align --quiet"
    done = typed(postgres, folder, f"{psql} --set ON_ERROR_STOP=1 {options} {database}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(postgres: PostgreSQL, tmp_path: Path) -> Path:
    """A folder with the dumps of three databases that have gone on since."""
    script = (ROOT / "containers/stack/databases.sh").read_text()
    script = script.replace("cat /run/secrets/", "echo ").replace("psql ", "psql --host 127.0.0.1 ")
    made = typed(postgres, tmp_path, f"export POSTGRES_USER=postgres\n{script}")
    assert made.returncode == 0, made.stderr
    (tmp_path / "restored/databases").mkdir(parents=True)
    for name, owner in (("airflow", "airflow"), ("mlflow", "mlflow"), ("mlflow_users", "mlflow")):
        asked(postgres, tmp_path, name, owner, f"CREATE TABLE saved AS SELECT '{name}' AS name")
        dump = f"pg_dump --host 127.0.0.1 --username {owner} --format custom {name}"
        saved = typed(postgres, tmp_path, f"{dump} >restored/databases/{name}.dump")
        assert saved.returncode == 0, saved.stderr
        asked(postgres, tmp_path, name, owner, "DELETE FROM saved", "CREATE TABLE newer (a int)")
    return tmp_path


def test_every_database_comes_back_as_it_was_saved(postgres: PostgreSQL, folder: Path) -> None:
    done = typed(postgres, folder, RESTORING)
    assert done.returncode == 0, done.stderr

    tables = "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'"
    for name, owner in (("airflow", "airflow"), ("mlflow", "mlflow"), ("mlflow_users", "mlflow")):
        assert asked(postgres, folder, name, owner, "SELECT name FROM saved", tables) == (
            f"{name}\nsaved|{owner}"
        )
    refused = typed(
        postgres, folder, "psql --host 127.0.0.1 --username mlflow --command '' airflow"
    )
    assert "permission denied for database" in refused.stderr

    (folder / "restored/databases/airflow.dump").write_bytes(b"no dump")
    assert typed(postgres, folder, RESTORING).returncode != 0
