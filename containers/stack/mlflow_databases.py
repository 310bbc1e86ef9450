"""Bring the databases of MLflow and of its login to the form that this MLflow wants.

Runs before a server starts: a server of a newer MLflow may refuse an older database.

One at a time: where two servers start at once, the second waits, and finds nothing left to do. The
servers of the older MLflow must have ended. A database of a newer MLflow is refused.
"""

import configparser
from pathlib import Path

import sqlalchemy
from mlflow.db import commands as of_mlflow
from mlflow.server.auth.db.cli import commands as of_its_login

SECRETS = Path("/run/secrets")
LOCK = 20_261_130  # any number that nothing else in this database locks


def bring_up(database: str, users: str) -> None:
    """Bring both to the newest form.

    Args:
        database: Address of MLflow's database, as SQLAlchemy takes it.
        users: Address of the database of its login.
    """
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as holding:
        holding.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        # What `mlflow db upgrade` does, without an address in a list of processes.
        of_mlflow(["upgrade", database], standalone_mode=False)
        of_its_login(["upgrade", "--url", users], standalone_mode=False)
    engine.dispose()  # which ends the lock


if __name__ == "__main__":
    settings = configparser.ConfigParser()  # as MLflow reads it: "%" is written twice
    settings.read(SECRETS / "mlflow_users")
    bring_up((SECRETS / "mlflow_database").read_text().strip(), settings["mlflow"]["database_uri"])
    print("MLflow's databases are of this version")
