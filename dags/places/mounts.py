"""Mount a store in a directory so that a container can write only what its step's row allows.

The store is mounted read-only, and over it each folder that the step writes to. Such a folder must
exist before, so the worker makes it here, for the owner of the store.
"""

import os
from pathlib import Path

from airflow.sdk.exceptions import AirflowFailException
from docker.types import Mount

from tasks.pipeline import PIPELINE, Step, may_write


def places(store: Path, run: str, row: Step | None) -> dict[Path, bool]:
    """Folders and files of the store that a container sees, and whether it may write to each.

    If a step writes a file into the folder of the run, it may write to that folder; everything else
    in the folder, now or later, is locked.

    Args:
        store: Directory of the store.
        run: Name of the run.
        row: Row of the step; None for a command that writes nothing.
    """
    found = {store: False}
    keys = may_write(row, run) if row else ()
    if any(not key.endswith("/") for key in keys):
        folder = store / "runs" / run
        others = {folder / name for step in PIPELINE for name in (step.name, *_folders(step))}
        here = set(folder.iterdir()) if folder.is_dir() else set()
        found |= {folder: True} | dict.fromkeys(sorted(others | here), False)
        for key in keys:
            found.pop(store / key, None)
    return found | {store / key: True for key in keys if key.endswith("/")}


def made(seen: dict[Path, bool]) -> list[Mount]:
    """The mounts of `places`. Missing folders are made.

    Raises:
        AirflowFailException: A folder cannot be made for the owner of the store.
    """
    store = next(iter(seen))
    for path in seen:
        try:
            _make(path, store)
        except OSError as error:
            raise AirflowFailException(
                "The folders that a step writes to cannot be made.\n"
                f"  Expected: {store} to belong to the user of Airflow's workers, or these to run "
                f"as root\n  Received: {error.strerror} at {path}\n"
                f"  Do:       chown the store, or make the folder yourself"
            ) from error
    return [
        Mount(str(path), str(path), type="bind", read_only=not writable)
        for path, writable in seen.items()
    ]


def _make(path: Path, store: Path) -> None:
    if path.exists():
        return
    _make(path.parent, store)
    path.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        owner = store.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(owner.st_mode & 0o777)


def _folders(step: Step) -> list[str]:
    return [each.rstrip("/") for each in step.keeps if each.endswith("/")]
