"""List every plain file in a folder that a person gave, or refuse the folder.

A folder with anything that cannot be read is refused, with the names; otherwise a whole class could
be missing without notice. Links are never followed: their files would be delivered twice, or come
from another folder than the person gave.
"""

import hashlib
import logging
import os
import re
import stat
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


LONGEST, LONGEST_PART = 900, 200  # characters of a path below a delivery; S3 takes 1,024 bytes
ODD_NAME = "its name is none that a store can keep: rename the file, for example with convmv"
TOO_LONG = "\\long~"
# What `shown` makes of a byte that is not UTF-8; what is too long; and what a library puts there.
ODD = re.compile(r"\\x[89a-f][0-9a-f]|\\long~|\ufffd")


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


@dataclass
class Found:
    """What lies in a folder.

    Attributes:
        files: The plain files, in the order of their paths.
        hidden: Hidden files and folders (their name begins with a dot), which are left out.
        empty: Folders without a file.
        odd: Files whose names no store could keep; `PlainFile.within` holds another spelling.
        offenders: What cannot be taken.
    """

    files: list[PlainFile] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    offenders: list[str] = field(default_factory=list)


def files_in(folder: Path, what: str) -> list[PlainFile]:
    """The files of a folder, at any depth, in the order of their paths; see `found_in`.

    Raises:
        BadInput: As `found_in`; or a name is not UTF-8, or too long for a store.
    """
    found = found_in(folder, what)
    if found.odd:
        raise _refused(folder.resolve(), what, found.odd)
    return found.files


def found_in(folder: Path, what: str) -> Found:
    """What lies in a folder, at any depth.

    Hidden files and folders are left out and counted in the log. The folder itself may be hidden or
    a link, because a person named it.

    Args:
        folder: The folder.
        what: The expected content, in one word, for messages.

    Raises:
        BadInput: The folder does not exist; or it holds something that cannot be read, a link, a
            pipe, a socket or a device.
    """
    found = Found()
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
    _walk(root, found)
    if found.offenders:
        raise _refused(root, what, sorted(found.offenders))
    for names in (found.hidden, found.empty, found.odd):
        names.sort()
    _tell(folder, "hidden files and folders are left out", found.hidden)
    _tell(folder, "folders are empty", found.empty)
    found.files.sort(key=lambda file: file.within)
    return found


def _tell(folder: Path, what: str, names: list[str]) -> None:
    if names:
        told = listed(sorted(names))
        log.warning("In %s %d %s: %s.", shown(str(folder)), len(names), what, told)


def _walk(root: Path, found: Found) -> None:
    """Add all that lies below a folder, at any depth."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as scan:
                entries = list(scan)
        except OSError as error:
            found.offenders.append(f"{_within(root, folder)}/ ({error.strerror})")
            continue
        if not entries and folder != root:
            found.empty.append(f"{_within(root, folder)}/")
        for entry in entries:
            if entry.name.startswith("."):
                found.hidden.append(_within(root, Path(entry.path)))
            else:
                _look_at(root, Path(entry.path), folders, found)


def _look_at(root: Path, path: Path, folders: list[Path], found: Found) -> None:
    """Add the plain file at a path. A folder joins the folders, anything else the offenders."""
    within = _within(root, path)
    try:
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            folders.append(path)
        elif not stat.S_ISREG(status.st_mode):
            found.offenders.append(f"{within} ({_kind(path, status)})")
        else:
            os.close(os.open(path, PLAINLY))  # modes do not tell everything: try to open the file
            if why := _odd(path.relative_to(root)):
                found.odd.append(f"{shortened(within)} ({why})")
                within = _spelled(within)
            found.files.append(PlainFile(path, within, status))
    except OSError as error:
        found.offenders.append(f"{within} ({error.strerror})")


def shortened(name: str, most: int = 80) -> str:
    """A name for a message, with its end, which tells most."""
    return name if len(name) <= most else f"...{name[-most:]}"


def _odd(within: Path) -> str:
    """Why no store could keep a name; empty if stores can."""
    if not _is_text(str(within)):
        return "its name is not UTF-8"
    return "its path is too long" if len(str(within).encode()) > LONGEST else ""


def _spelled(within: str) -> str:
    """Another spelling of a path, which a store can keep and which `is_odd` knows."""
    parts = [part if len(part) <= LONGEST_PART else _short(part) for part in within.split("/")]
    short = "/".join(parts)
    return short if is_odd(short) and len(short) <= LONGEST else f"{TOO_LONG}/{_short(within)}"


def _short(name: str) -> str:
    """A shorter name, which no other has."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[:60].replace('/', '_')}{TOO_LONG}{digest}{Path(name).suffix[:12]}"


def is_odd(key: str) -> bool:
    r"""Whether a key stands for a name that no store can keep: bytes that are not UTF-8 are written
    as ``\xe4``, and what was too long is shortened.

    >>> is_odd(r"raw/clinic/n\xe4vus.png"), is_odd("raw/clinic/nävus.png")
    (True, False)
    """
    return bool(ODD.search(key))


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
        expected=f"folders and plain files below {shown(str(root))}, readable by this user; "
        "links are not followed, wherever they lead",
        received=listed(offenders),
        do="give a copy without links (cp -rL), correct owners and modes, or remove what is named",
    )
