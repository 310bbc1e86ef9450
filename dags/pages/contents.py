"""What a run left in the store that a person may look at, and nothing else of the store."""

import errno
import json
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dags.argv import address
from tasks.engine.directory import PARTIAL_FILE, DirectoryStore
from tasks.engine.run import read_record
from tasks.engine.storage import open_store
from tasks.engine.store import Store, not_found
from tasks.errors import BadInput, Corrupt
from tasks.records.record import sha256

EVIDENCE = "evidence/"
MANIFEST = "manifest.json"
SIGNATURE = "evidence.sig"

# A part of a path, and the paths inside the folder of a run that are served.
PART = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f]+"
DOCS = rf"validate/{PART}/data_docs/(?:{PART}/)*{PART}\.html"
SERVED = re.compile(rf"report\.html|quarantine\.html|{DOCS}|{EVIDENCE}(?:{PART}/)*{PART}")
FIRST_OF_DOCS = re.compile(rf"runs/({PART}/{DOCS})")

# What opening a path says where no plain file lies, and none behind a link.
NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)
IN_MEMORY_BYTES = 16 * 2**20  # of a packed bundle; a larger one is packed on the disk


@dataclass(frozen=True)
class Folder:
    """The folder of a run in the store."""

    store: Store
    name: str

    @property
    def uri(self) -> str:
        return f"{self.store.uri}/runs/{self.name}"

    def paths(self, below: str = "") -> dict[str, int | None]:
        """The length in bytes of each object, by its path inside the folder; None for what is no
        plain file, such as a link. Nothing behind a link is listed."""
        top = f"runs/{self.name}/"
        if isinstance(self.store, DirectoryStore):
            return dict(sorted(_walked(self.store.root / top, below)))
        found = self.store.list(top + below)
        return {entry.key.removeprefix(top): entry.size_bytes for entry in found}

    def read(self, path: str) -> bytes:
        """The content of an object that is served.

        Raises:
            NotFound: There is none under this path, or such paths are not served.
        """
        key = f"runs/{self.name}/{path}"
        if not SERVED.fullmatch(path):
            raise not_found(self.store, key)
        if isinstance(self.store, DirectoryStore):
            return _read_below(self.store, self.name, path)
        return self.store.read(key)


def folder_of(run_id: str) -> Folder:
    """The folder of the run that belongs to a DAG run.

    Raises:
        AirflowFailException: MELANOMA_STORE is not set.
        BadInput: MELANOMA_STORE is no address of a store.
    """
    store, _, name = address(run_id).rpartition("/runs/")
    return Folder(open_store(store), name)


def _read_below(store: DirectoryStore, name: str, path: str) -> bytes:
    """Reads a plain file below the folder of a run. Follows no link there: a step that was taken
    over could make one to any file of this machine."""
    *folders, last = path.split("/")
    reached: list[int] = []
    try:
        reached.append(os.open(store.root / "runs" / name, os.O_RDONLY | os.O_DIRECTORY))
        for folder in folders:
            how = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            reached.append(os.open(folder, how, dir_fd=reached[-1]))
        # Without O_NONBLOCK, opening a pipe would wait for its writer.
        how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(last, how, dir_fd=reached[-1]), "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read()
        raise not_found(store, f"runs/{name}/{path}")
    except OSError as error:
        if error.errno in NO_FILE:
            raise not_found(store, f"runs/{name}/{path}") from None
        raise _unreadable(path, store.root / "runs" / name, error) from error
    finally:
        for handle in reached:
            os.close(handle)


def _walked(folder: Path, below: str) -> Iterator[tuple[str, int | None]]:
    """What lies in a folder of a run below a part of it, as `Folder.paths` tells."""

    def stop(error: OSError) -> None:
        if error.errno not in NO_FILE:  # a folder of checkpoints may go meanwhile
            raise error

    try:
        for top, folders, files, handle in os.fwalk(folder / below, onerror=stop):
            for name in (*folders, *files):
                path = (Path(top) / name).relative_to(folder).as_posix()
                mode, size = _kind(name, handle)
                if stat.S_ISREG(mode) and not PARTIAL_FILE.fullmatch(name):
                    yield _text(path), size
                elif mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                    yield _text(path), None
    except OSError as error:
        if error.errno not in NO_FILE:
            raise _unreadable(below or ".", folder, error) from error


def _kind(name: str, folder: int) -> tuple[int, int]:
    """Mode and length in bytes of an entry of an open folder; zeros if it is gone meanwhile."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0, 0
    return status.st_mode, status.st_size


def _text(path: str) -> str:
    """A path that a page can hold: what is no UTF-8 in it is replaced, and so no file's name."""
    return os.fsencode(path).decode(errors="replace")


def _unreadable(path: str, folder: Path, error: OSError) -> BadInput:
    return BadInput(
        "A file of the store cannot be read.",
        expected=f"{path} in {folder} to be readable for Airflow's API server",
        received=str(error.strerror),
        do="correct its owner or mode",
    )


def first_of_docs(folder: Folder) -> str:
    """Where the Data Docs begin: ``NAME/PATH`` of a run and a path inside its folder. The run is
    another one if `validate` reused what that run had found.

    Raises:
        NotFound: The run has no record of `validate`, or the record names no such page.
        BadInput: This version of the program cannot read the record.
    """
    record: Any = read_record(folder.store, folder.name, "validate")
    named = record.data_docs[0].key if record and record.data_docs else ""
    found = FIRST_OF_DOCS.fullmatch(named)
    if found is None:
        raise not_found(folder.store, named or f"runs/{folder.name}/validate/record.json")
    return found[1]


# The evidence -----------------------------------------------------------------------------------


def seals(folder: Folder) -> dict[str, str]:
    """The SHA-256 of each file of the bundle, by its path inside the bundle, as its manifest says.

    Raises:
        NotFound: The bundle has no manifest, which is written last.
        Corrupt: The manifest cannot be read.
    """
    data = folder.read(EVIDENCE + MANIFEST)
    try:
        named = json.loads(data)["files"].items()
        return {str(path): str(file["sha256"]) for path, file in named}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupt(
            "The manifest of the evidence cannot be read.",
            expected=f"{MANIFEST} as it was written",
            received=f"{type(error).__name__}",
            do="do not rely on this bundle; find out who changed it",
        ) from error


def sealed_file(folder: Folder, path: str) -> bytes:
    """A file of the bundle, by its path inside the bundle.

    Raises:
        NotFound: There is no such file, or the bundle has no manifest.
        Corrupt: The file is not the one that was sealed.
    """
    data, sealed = folder.read(EVIDENCE + path), seals(folder)
    if path not in (MANIFEST, SIGNATURE) and sealed.get(path) != sha256(data):
        raise Corrupt(
            "A file of the evidence is not the one that was sealed.",
            expected=f"{path} with SHA-256 {sealed.get(path, '(none: not sealed)')}",
            received=f"SHA-256 {sha256(data)}",
            do="do not rely on this bundle; find out who changed it",
        )
    return data


def files_of(folder: Folder) -> dict[str, int]:
    """The length in bytes of each file of the bundle, by its path inside the bundle.

    Raises:
        Corrupt: The bundle holds something that is no plain file.
    """
    sizes = {}
    for path, size in folder.paths(EVIDENCE).items():
        if size is None:
            raise Corrupt(
                "The evidence is not made of plain files.",
                expected="a bundle of files and folders",
                received=f"a link, a pipe or a device: {path}",
                do="do not rely on this bundle; find out who changed it",
            )
        sizes[path.removeprefix(EVIDENCE)] = size
    return sizes


def packed(folder: Folder) -> IO[bytes]:
    """The bundle as it lies in the store, packed (zip) into one folder, at its beginning.

    Whether the files are those that were sealed, `python -m tasks verify` finds out.

    Raises:
        NotFound: The bundle has no manifest.
        Corrupt: The manifest cannot be read, or the bundle holds something that is no plain file.
    """
    seals(folder)
    paths = files_of(folder)
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  the answer closes it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            # The same bundle gives the same bytes, whenever it is packed.
            entry = zipfile.ZipInfo(f"evidence-{folder.name}/{path}")
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, folder.read(EVIDENCE + path))
    file.seek(0)
    return file
