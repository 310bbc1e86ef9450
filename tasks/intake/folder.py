"""List every plain file in a folder that a person gave, or refuse the folder.

A folder with anything that cannot be read is refused, with the names; otherwise a whole class could
be missing without notice. Links are never followed: their files would be delivered twice, or come
from another folder than the person gave.
"""

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import BadInput, Momentary
from tasks.figures import listed

log = logging.getLogger(__name__)

SPECIAL = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class PlainFile:
    """A file that could be opened.

    Attributes:
        path: Path of the file.
        within: Path below the folder, with ``/`` between the names.
        status: Status of the file when it was found.
    """

    path: Path
    within: str
    status: os.stat_result = field(repr=False)

    def read(self) -> bytes:
        """The content of the file. Raises `Momentary` if the file has changed since."""
        try:
            with open(os.open(self.path, PLAINLY), "rb") as file:
                if _identity(os.fstat(file.fileno())) != _identity(self.status):
                    raise self._changed()
                data = file.read()
                after = os.fstat(file.fileno())
        except OSError as error:
            raise self._changed(error) from error
        if _identity(after) != _identity(self.status) or len(data) != after.st_size:
            raise self._changed()
        return data

    def _changed(self, error: OSError | None = None) -> Momentary:
        why = f" ({error.strerror})" if error else ""
        return Momentary(
            f"{shown(str(self.path))} changed while it was read{why}; it was not taken. Run the "
            "command again when nothing else writes there: complete files are not taken twice."
        )


# Do not follow a link, and do not wait for a pipe, that has replaced the file.
PLAINLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def files_in(folder: Path, what: str) -> list[PlainFile]:
    """The files of a folder, at any depth, in the order of their paths.

    Hidden files and folders (their name begins with a dot) are left out and counted in the log. The
    folder itself may be hidden or a link, because a person named it.

    Args:
        folder: The folder.
        what: The expected content, in one word, for messages.

    Raises:
        BadInput: The folder does not exist; or it holds something that cannot be read, a link, a
            pipe, a socket or a device, or a name that is not UTF-8.
    """
    offenders: list[str] = []
    hidden: list[str] = []
    empty: list[str] = []
    try:
        os.listdir(folder)
    except OSError as error:
        raise BadInput(
            f"The folder of {what} cannot be read.",
            expected=f"a folder with {what}",
            received=f"{error.strerror}: {shown(str(folder))}",
            do="correct the path, or the folder's owner or mode",
        ) from error
    root = folder.resolve()
    files = list(_walk(root, offenders, hidden, empty))
    if offenders:
        raise _refused(root, what, sorted(offenders))
    _tell(folder, "hidden files and folders are left out", hidden)
    _tell(folder, "folders are empty", empty)
    return sorted(files, key=lambda file: file.within)


def _tell(folder: Path, what: str, names: list[str]) -> None:
    if names:
        told = listed(sorted(names))
        log.warning("In %s %d %s: %s.", shown(str(folder)), len(names), what, told)


def _walk(
    root: Path, offenders: list[str], hidden: list[str], empty: list[str]
) -> Iterator[PlainFile]:
    """The plain files below a folder, at any depth. Everything else is added to the lists."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as scan:
                entries = list(scan)
        except OSError as error:
            offenders.append(f"{_within(root, folder)}/ ({error.strerror})")
            continue
        if not entries and folder != root:
            empty.append(f"{_within(root, folder)}/")
        for entry in entries:
            name = _within(root, Path(entry.path))
            if entry.name.startswith("."):
                hidden.append(name)
            elif not _is_text(entry.name):
                offenders.append(f"{name} (its name is not UTF-8)")
            else:
                file = _looked_at(Path(entry.path), name, folders, offenders)
                if file:
                    yield file


def _looked_at(
    path: Path, within: str, folders: list[Path], offenders: list[str]
) -> PlainFile | None:
    """The plain file at a path. A folder joins the folders, anything else the offenders."""
    try:
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            folders.append(path)
        elif not stat.S_ISREG(status.st_mode):
            offenders.append(f"{within} ({_kind(path, status)})")
        else:
            os.close(os.open(path, PLAINLY))  # modes do not tell everything: try to open the file
            return PlainFile(path, within, status)
    except OSError as error:
        offenders.append(f"{within} ({error.strerror})")
    return None


def _kind(path: Path, status: os.stat_result) -> str:
    kind = SPECIAL.get(stat.S_IFMT(status.st_mode), "no plain file")
    if stat.S_ISLNK(status.st_mode):
        return f"{kind} to {shown(os.readlink(path))}" + (
            "" if os.path.exists(path) else ", broken"
        )
    return kind


def _is_text(name: str) -> bool:
    return shown(name) == name


def _within(root: Path, path: Path) -> str:
    return shown(path.relative_to(root).as_posix())


def shown(name: str) -> str:
    """A name that can be written anywhere: bytes that are not UTF-8 become ``\\xe4``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _refused(root: Path, what: str, offenders: list[str]) -> BadInput:
    return BadInput(
        f"The folder of {what} holds something that cannot be taken. Nothing was taken.",
        expected=f"folders and plain files below {shown(str(root))}, readable by this user, with "
        "names in UTF-8; links are not followed, wherever they lead",
        received=listed(offenders),
        do="give a copy without links (cp -rL), correct owners and modes, rename files (convmv), "
        "or remove what is named",
    )
