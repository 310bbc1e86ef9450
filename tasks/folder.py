"""A folder that a person names: what lies in it, with nothing left out in silence.

Links are never followed. One that leads out of the folder would deliver what nobody named; one that
stays inside would show the same file twice, perhaps under two diagnoses.
"""

import logging
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import BadInput

log = logging.getLogger(__name__)

SHOWN = 10  # of what is wrong or left out; the rest is counted
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass
class _Found:
    files: list[Path] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def files_in(folder: Path, what: str) -> list[Path]:
    """Every file below a folder, at any depth, in order; each can be read at this moment.

    Hidden files and folders (``.name``) are left out, and told. The folder itself may be hidden,
    or a link.

    Args:
        folder: The folder.
        what: What lies in it, in words.

    Raises:
        BadInput: It is no folder; or something in it is a link, cannot be read, is no file, or has
            a name that is no UTF-8. All of them are told at once.
    """
    found = _Found()
    try:
        missing = "" if stat.S_ISDIR(folder.stat().st_mode) else "not a folder"
    except (OSError, ValueError) as error:
        missing = getattr(error, "strerror", None) or str(error)
    if missing:
        raise BadInput(
            f"The folder of {what} does not exist.",
            expected=f"a folder with {what}",
            received=f"{missing}: {str(folder)!a}",
            do="correct the path, or the right to see it",
        )
    _walk(folder, folder, found)
    if found.wrong:
        raise BadInput(
            f"The folder of {what} holds what cannot be taken as it is.",
            expected=f"readable files and folders in {folder}, no links, with names in UTF-8",
            received=listed(found.wrong),
            do="correct these, or move them out; a link can be replaced by what it leads to with "
            "`cp -rL`, a name be corrected with convmv. Nothing was taken",
        )
    if found.hidden:
        log.warning(
            "%d hidden files or folders in %s were left out: %s.",
            len(found.hidden), folder, listed(found.hidden),
        )  # fmt: skip
    return sorted(found.files)


def listed(names: list[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return "; ".join(sorted(names)[:SHOWN]) + more


def _walk(folder: Path, root: Path, found: _Found) -> None:
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        found.wrong.append(f"{_shown(folder, root)}: {error.strerror}")
        return
    for entry in entries:
        path = Path(entry.path)
        name = _shown(path, root)
        if entry.name.startswith("."):
            found.hidden.append(name)
        elif problem := _problem(path):
            found.wrong.append(f"{name}: {problem}")
        elif entry.is_dir(follow_symlinks=False):
            _walk(path, root, found)
        else:
            found.files.append(path)


def _problem(path: Path) -> str:
    """Why something cannot be taken; empty if it can. Nothing but a file is opened: a pipe would
    wait for ever."""
    try:
        str(path.name).encode()
    except UnicodeEncodeError:
        return "its name is no UTF-8"
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return f"a link to {os.readlink(path)!a}" + ("" if path.exists() else ", broken")
        if stat.S_ISREG(mode):
            path.open("rb").close()
        elif not stat.S_ISDIR(mode):
            return KINDS.get(stat.S_IFMT(mode), "neither a file nor a folder")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _shown(path: Path, root: Path) -> str:
    """A path as people read it, also one whose name is no text."""
    name = path.relative_to(root).as_posix()
    return name if name.isprintable() else ascii(name)
