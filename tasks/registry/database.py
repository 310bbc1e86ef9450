"""Make MLflow's SQLite database beside a store in a directory, completely or not at all.

MLflow makes its tables by about fifty migrations in the file itself. If it is killed in between,
it can neither use nor repair the file. So the tables are made in a file of another name, which one
atomic call turns into the database. If several processes do this at once, one wins and all use its
file.
"""

import logging
import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tasks.errors import BadInput, Momentary

log = logging.getLogger(__name__)

SECONDS_TO_WAIT = 5.0  # for another process that writes
# Tables whose rows must not be lost.
HELD = ("runs", "registered_models", "model_versions")
TABLES = ("alembic_version", "experiments", "metrics", *HELD)


def ensure_database(path: Path, module: Callable[[str], Any]) -> None:
    """Make the database, unless it exists and is complete.

    Args:
        path: Path of the file; its folder exists.
        module: Imports a module of MLflow.

    Raises:
        BadInput: The file is not a database, or is unfinished and holds runs or versions.
        Momentary: Another process keeps it locked.
    """
    if path.exists() and not _is_whole(path):
        aside = path.with_name(f"{path.name}.unfinished-{secrets.token_hex(4)}")
        with suppress(FileNotFoundError):  # another process was faster
            os.rename(path, aside)
            log.warning("%s was unfinished and empty; it is renamed to %s.", path, aside.name)
    if not path.exists():
        _make(path, module)


def _is_whole(path: Path) -> bool:
    """Whether all tables exist. Raises `BadInput` if tables are missing but others hold rows."""
    try:
        address = f"{path.absolute().as_uri()}?mode=rw"  # a killed writer's journal is rolled back
        with closing(sqlite3.connect(address, uri=True, timeout=SECONDS_TO_WAIT)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            there = {str(name) for (name,) in rows}
            revisions = _rows(database, "alembic_version") if "alembic_version" in there else 0
            held = [name for name in HELD if name in there and _rows(database, name)]
            if there >= set(TABLES) and revisions and (held or _is_latest(database)):
                return True
    except sqlite3.OperationalError as error:
        raise Momentary(f"MLflow's database {path} cannot be read now: {error}") from error
    except sqlite3.DatabaseError as error:
        raise BadInput(
            "MLflow's database is damaged, or is not a database.",
            expected=f"an SQLite file {path}",
            received=str(error),
            do="restore it from a backup; if there is none, move it away, and it is made anew: "
            "models that it named must then be registered again",
        ) from error
    if held:
        raise BadInput(
            "MLflow's database is unfinished, but holds rows.",
            expected=f"all tables of MLflow in {path}",
            received=f"{len(there)} tables, with rows in {', '.join(held)}",
            do=f"back it up, then try `mlflow db upgrade sqlite:///{path}`",
        )
    return False


def _rows(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _is_latest(database: sqlite3.Connection) -> bool:
    """Whether the last migration finished: MLflow creates its default experiment afterwards.

    An older database without rows may be made anew as well.
    """
    return _rows(database, "experiments") > 0


def _make(path: Path, module: Callable[[str], Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        places = module("mlflow.store.tracking.sqlalchemy_store")
        store = places.SqlAlchemyStore(
            f"sqlite:///{partial}", path.with_name("mlflow-artifacts").as_uri()
        )
        store.engine.dispose()
        with closing(sqlite3.connect(partial)) as database:  # into one file, whatever the journal
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("PRAGMA journal_mode=DELETE")
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster
            os.link(partial, path)
    finally:
        for left in path.parent.glob(f"{partial.name}*"):
            left.unlink(missing_ok=True)
