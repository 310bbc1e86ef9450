"""Where each delivered file goes in a store: under its own name, or beside an earlier version.

``raw/`` and ``external/`` are never overwritten. A file that replaces another one lies in a folder
of its own, ``raw/clinic@2/``, and the ledger of deliveries says what it replaces.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.engine.store import Store, read_many
from tasks.engine.withdrawals import EXTERNAL, RAW, Withdrawals, Withdrawn
from tasks.errors import BadInput
from tasks.figures import listed, plural
from tasks.intake.folder import PlainFile, shown
from tasks.records.record import sha256

log = logging.getLogger(__name__)


@dataclass
class Placed:
    """Where the files of a delivery go.

    Attributes:
        files: Each file that is delivered, by the key that it has or gets.
        known: Keys that the store holds already, with these bytes.
        replaced: The new key, by the key of the file that it replaces.
        withdrawn: Files that the store holds and that were withdrawn; they stay withdrawn.
    """

    files: dict[str, PlainFile] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    replaced: dict[str, str] = field(default_factory=dict)
    withdrawn: list[Withdrawn] = field(default_factory=list)


def placed(
    store: Store,
    files: Mapping[str, PlainFile],
    withdrawals: Withdrawals,
    *,
    replace: bool,
    restore: bool,
) -> Placed:
    """Where the files of a delivery go.

    Args:
        store: The store.
        files: Each file, by the key that it has in a new store.
        withdrawals: What the ledger says.
        replace: Whether a file of other content takes the place of the one that is there.
        restore: Whether files that were withdrawn come back.

    Raises:
        BadInput: The store holds another content under a name, and `replace` is not given.
        Momentary: A file changed while it was read.
    """
    listed_now = (entry for folder in (RAW, EXTERNAL) for entry in store.list(folder))
    there = {entry.key: entry.size_bytes for entry in listed_now}
    versions = {key: [v for v in withdrawals.versions(key) if v in there] for key in files}
    same = _alike(store, files, versions, there)
    elsewhere = _withdrawn_elsewhere(store, files, withdrawals, there)
    made, others = Placed(), []
    for key, file in files.items():
        active = [each for each in versions[key] if each not in withdrawals.now]
        alike = [each for each in versions[key] if each in same]
        if kept := [each for each in alike if each in active]:
            made.files[kept[-1]] = file
            made.known.add(kept[-1])
        elif active and not replace:
            others.append(active[-1])
        elif alike and not active and not restore:
            made.withdrawn.append(withdrawals.now[alike[-1]])
        elif key in elsewhere and not versions[key] and not restore:
            made.withdrawn.append(elsewhere[key])
        else:
            new = alike[-1] if alike else _place(key, versions[key], withdrawals, there)
            made.files[new] = file
            made.known |= {new} & there.keys()
            made.replaced |= dict.fromkeys(active, new)
    refuse_others(sorted(others), store.uri)
    return made


def _alike(
    store: Store,
    files: Mapping[str, PlainFile],
    versions: Mapping[str, list[str]],
    sizes: Mapping[str, int],
) -> set[str]:
    """The keys in the store that hold the very bytes of the file that is delivered under their
    name."""
    asked = [
        (key, version)
        for key, found in versions.items()
        for version in found
        if sizes[version] == files[key].status.st_size
    ]
    contents = read_many(store, [version for _, version in asked])
    return {
        version
        for (key, version), data in zip(asked, contents, strict=True)
        if data == files[key].read()
    }


def _withdrawn_elsewhere(
    store: Store,
    files: Mapping[str, PlainFile],
    withdrawals: Withdrawals,
    sizes: Mapping[str, int],
) -> dict[str, Withdrawn]:
    """The files whose very bytes were withdrawn under another name, and stand under no other."""
    gone = {key for key in withdrawals.now if key in sizes}
    wanted = {sizes[key] for key in gone}
    near = {key: file for key, file in files.items() if file.status.st_size in wanted}
    if not near:
        return {}
    lengths = {file.status.st_size for file in near.values()}
    keys = [key for key, size in sizes.items() if size in lengths]
    held: dict[str, list[str]] = {}
    for key, data in zip(keys, read_many(store, keys), strict=True):
        held.setdefault(sha256(data), []).append(key)
    found = {}
    for key, file in near.items():
        root = key.partition("/")[0]  # what was withdrawn from raw/ may become an external set
        alike = [each for each in held.get(sha256(file.read()), []) if each.startswith(root)]
        if alike and gone.issuperset(alike):
            found[key] = withdrawals.now[alike[-1]]
    return found


def _place(
    key: str, versions: list[str], withdrawals: Withdrawals, there: Mapping[str, int]
) -> str:
    """The key of new bytes: their own, if it is free; else the one that the ledger promised before
    a delivery was killed; else the next version's."""
    promised = withdrawals.successors.get(versions[-1]) if versions else key
    return promised if promised and promised not in there else _free(key, there)


def _free(key: str, there: Mapping[str, int]) -> str:
    """The key of the next version: ``raw/clinic@2/...``, or a later number."""
    root = EXTERNAL if key.startswith(EXTERNAL) else RAW
    name, _, within = key.removeprefix(root).partition("/")
    number = 2
    while (found := f"{root}{name}@{number}/{within}") in there:
        number += 1
    return found


def refuse_others(keys: list[str], where: str) -> None:
    """Raise `BadInput` if there are keys under which the store holds another content."""
    if keys:
        raise BadInput(
            "Another file stands under this name already.",
            expected="new names, or the same bytes as before: deliveries are never overwritten",
            received=f"other content in {shown(where)} under {listed(keys)}",
            do="deliver it from a folder with another name; or give --replace, if these files "
            "correct the earlier ones, which are then withdrawn",
        )


def tell(made: Placed) -> None:
    """Say what is replaced, and what stays withdrawn."""
    if made.replaced:
        some = listed([f"{new} replaces {old}" for old, new in made.replaced.items()], 3)
        log.warning("%s withdrawn and replaced: %s.", plural(len(made.replaced), "file"), some)
    if made.withdrawn:
        first = made.withdrawn[0]
        log.warning(
            "%s not delivered: withdrawn before, and withdrawn they stay (%s, entry %d, %s: %s). "
            "--restore brings them back.",
            plural(len(made.withdrawn), "file"), first.key, first.entry, first.by, first.reason,
        )  # fmt: skip
