"""A copy of a store that is a store of its own: MLflow's database and artifacts move with it."""

import shutil
import sqlite3
from pathlib import Path

from mlflow.tracking._tracking_service import utils

from tasks.engine.directory import DirectoryStore
from tasks.registry.versions import DATABASE

# Where MLflow keeps addresses of artifacts, and tags that name a run of the store.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("model_version_tags", "value"),
    ("tags", "value"),
)


def moved(store: str, to: Path) -> DirectoryStore:
    """A copy of a store in a directory, whose MLflow names only the copy. Records keep the address
    of a run, which is no part of what is compared here."""
    copy = DirectoryStore(Path(shutil.copytree(store, to)))
    with sqlite3.connect(to / DATABASE) as database:
        for table, column in ADDRESSES:
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (store, str(to))
            )
    database.close()
    forget()
    return copy


def forget() -> None:
    """Let MLflow look up anew where the artifacts of a run lie: in one process it remembers it by
    the run's id, which copies share."""
    utils._artifact_repos_cache.clear()
