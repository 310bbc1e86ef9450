"""A store in a directory."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.engine.store import Entry, not_found
from tasks.errors import AlreadyExists, BadInput, Momentary

# What a directory store is writing: a hidden file beside its key, as a link does not cross mounts.
# One that a kill left behind is nobody's, and does no harm but in a bundle, which is swept. Earlier
# versions had a folder for it.
PARTIAL = ".partial"
PARTIAL_FILE = re.compile(r"\.partial-[0-9a-f]{16}")

FOREIGN = "raw/"  # where others put files, by whatever name

# Faults of a file system that a retry cannot mend.
LASTING = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),  # EPERM also: no hard links here (FAT)
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP),
    *(errno.EXDEV, errno.ENOTSUP),
)


class DirectoryStore:
    """A store in a directory of a local or shared file system.

    A write goes to a temporary file beside its key first and becomes visible by one atomic system
    call, so a reader, or a crash, never sees half an object. The file has the mode that the umask
    of the process leaves.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)

    def list(self, prefix: str) -> Iterator[Entry]:
        folder = self._path(prefix.rpartition("/")[0])
        try:
            found = [entry for entry in self._walk(folder) if entry.key.startswith(prefix)]
        except OSError as error:
            raise self._explained(error, prefix) from error
        yield from sorted(found, key=lambda entry: entry.key)

    def _walk(self, folder: Path) -> Iterator[Entry]:
        """Everything below; what is deleted meanwhile is left out. A loop of links is ELOOP."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir() and Path(entry.path) != self.root / PARTIAL:
                    yield from self._walk(Path(entry.path))
                elif not entry.is_dir() and not PARTIAL_FILE.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        yield self._entry(Path(entry.path))

    def _entry(self, path: Path) -> Entry:
        key, status = path.relative_to(self.root).as_posix(), path.stat()
        try:
            key.encode()
        except UnicodeEncodeError:
            if key.startswith(FOREIGN):  # told as a key that names no file: no run reads it
                key = os.fsencode(key).decode("utf-8", "backslashreplace")
                return Entry(key, status.st_size, f"{status.st_mtime_ns:x}-{status.st_ino:x}")
            raise BadInput(
                "A file's name is not text.",
                expected=f"names in UTF-8 under {self.uri}",
                received=ascii(key),
                do="rename the file, for example with convmv",
            ) from None
        # The inode tells two contents apart that were put there within one tick of the clock.
        etag = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
        return Entry(key, status.st_size, etag)

    def read(self, key: str) -> bytes:
        try:
            return self._key_path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise not_found(self, key) from None
        except OSError as error:
            raise self._explained(error, key) from error

    def create(self, key: str, data: bytes) -> None:
        with self._partial(key, data) as partial:
            try:
                os.link(partial, self._key_path(key))
            except FileExistsError:
                raise AlreadyExists(key) from None

    def replace(self, key: str, data: bytes) -> None:
        with self._partial(key, data) as partial:
            os.replace(partial, self._key_path(key))

    def delete(self, key: str) -> None:
        try:
            self._key_path(key).unlink(missing_ok=True)
        except NotADirectoryError:
            return  # a part of the key is a file: there is nothing below it
        except OSError as error:
            raise self._explained(error, key) from error

    def sweep(self, folder: str) -> None:
        try:
            for path in self._path(folder.rstrip("/")).rglob(f"{PARTIAL}-*"):
                if PARTIAL_FILE.fullmatch(path.name):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise self._explained(error, folder) from error

    @contextmanager
    def _partial(self, key: str, data: bytes) -> Iterator[str]:
        """A complete temporary file on the same file system, gone afterwards."""
        path = self._key_path(key)
        partial = path.with_name(f"{PARTIAL}-{secrets.token_hex(8)}")
        try:
            self._make(path.parent)
            with partial.open("xb") as file:
                self._give(partial)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # else a power cut may keep the name and lose the content
            yield str(partial)
        except OSError as error:
            raise self._explained(error, key) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != self.root:
            self._make(folder.parent)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir()
            if folder != self.root:
                self._give(folder)

    def _give(self, path: Path) -> None:
        """Let what root writes belong to the owner of the store: steps in containers are another
        user, and read what Airflow's worker has written."""
        if os.geteuid() == 0:
            owner = self.root.stat()
            if owner.st_uid:
                os.chown(path, owner.st_uid, owner.st_gid)

    def _key_path(self, key: str) -> Path:
        parts = key.split("/")
        if "" in parts or parts[0] == PARTIAL or any(map(PARTIAL_FILE.fullmatch, parts)):
            raise self._bad_key(key)
        return self._path(key)

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if key.startswith("/") or "." in parts or ".." in parts or "\0" in key:
            raise self._bad_key(key)
        return self.root.joinpath(*parts)

    def _bad_key(self, key: str) -> BadInput:
        return BadInput(
            "A key would leave the store, or is not a file's.",
            expected=f"a relative key without '.', '..' or empty parts, outside {PARTIAL}/ and of "
            f"no name such as {PARTIAL}-0123456789abcdef",
            received=repr(key),
            do="rename the file",
        )

    def _explained(self, error: OSError, key: str) -> BadInput | Momentary:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return BadInput(
                "The disk of the store is full.",
                expected=f"room for {key}",
                received=f"{error.strerror} in {self.uri}",
                do="free space, or give another store; then run the step again: nothing "
                "half-written was kept",
            )
        if error.errno in LASTING:
            return BadInput(
                "The store cannot be used.",
                expected=f"a directory {self.uri} on one file system with hard links, readable and "
                "writable, where no name is both a file and a folder or longer than 255 bytes",
                received=f"{error.strerror} at {key or '.'}",
                do="correct its owner, mode or names, or give another store",
            )
        return Momentary(f"The store {self.uri} failed at {key}: {error}. Running again may help.")
