"""deliver: copy images and tables, unchanged, into ``raw/`` of a store, or into an external set."""

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.engine.deliveries import note_delivery, note_withdrawal
from tasks.engine.directory import DirectoryStore
from tasks.engine.person import Person, person_here
from tasks.engine.store import PARALLEL_REQUESTS, Store
from tasks.engine.withdrawals import (
    EXTERNAL,
    RAW,
    SET_NAME,
    Withdrawals,
    replacement,
    withdrawals_in,
)
from tasks.errors import AlreadyExists, BadInput
from tasks.figures import listed, plural
from tasks.intake.folder import PlainFile, found_in, shown
from tasks.intake.guide import NAME as GUIDE
from tasks.intake.inspect import check_names, guides_of, inspected
from tasks.intake.placing import Placed, placed, refuse_others, tell
from tasks.lesions import IMAGE_SUFFIXES, is_image

log = logging.getLogger(__name__)

METADATA = "metadata"  # where the tables of all deliveries lie


def deliver(
    store: Store,
    images: Path | None,
    metadata: Path | None = None,
    *,
    reading: Path | None = None,
    accept_unread: bool = False,
    replace: bool = False,
    restore: bool = False,
    external: str | None = None,
    by: Person | None = None,
) -> int:
    """Copy ``images`` to ``raw/<its name>/`` and the tables of ``metadata`` to ``raw/metadata/``.

    All files are checked before the first is copied. Files that the store already holds, byte for
    byte, are skipped, so a killed delivery can be repeated. Hidden files are left out and logged.
    The ledger of deliveries notes who delivered, and what was replaced.

    Args:
        store: The store.
        images: The folder of images; None for tables alone.
        metadata: A folder of tables.
        reading: A ``reading.yaml`` that lies elsewhere, see `tasks.intake.guide`.
        accept_unread: Whether to deliver tables that are not understood. They would not be used.
        replace: Whether a file of other content takes the place of the one of its name, which is
            withdrawn. Its bytes stay in the store.
        restore: Whether files that were withdrawn come back.
        external: Name of an external set: models are judged on its images, and never learn from
            them. They go to ``external/<name>/``, their tables to ``external/<name>/metadata/``.
        by: Who delivers; None for the person behind this process.

    Returns:
        Number of files that are new in the store.

    Raises:
        BadInput: A folder does not exist, holds no image, or holds something that
            `tasks.intake.folder.found_in` refuses (links, unreadable files, ...); or the folder
            and the store lie within one another; or the store holds another content under the
            same name (nothing is overwritten); or a table is not understood; or a name tells who
            the patient of a DICOM is.
        Momentary: A file changed while it was copied.
    """
    withdrawals = withdrawals_in(store)
    root = f"{EXTERNAL}{_checked_name(external)}/" if external is not None else RAW
    files = _images(store, images, external) if images else {}
    if metadata:
        _check_apart(store, metadata)
        tables = _tables(store, metadata, withdrawals, replace, f"{root}{METADATA}/")
        refuse_others(sorted(files.keys() & tables.keys()), "both folders")
        files |= tables
    if reading:
        files[f"{_own(images, external)}{GUIDE}"] = _one_file(reading)
    if not files:
        raise BadInput(
            "There is nothing to deliver.",
            expected="a folder of images, or one of tables",
            received="no file",
            do="give --images, --metadata or both",
        )
    check_names({key: file.path for key, file in files.items()})
    made = placed(store, files, withdrawals, replace=replace, restore=restore)
    paths = {key: file.path for key, file in made.files.items()}
    gone = withdrawals.now.keys() | made.replaced.keys()
    there = (e.key for e in store.list(root) if is_image(e.key) and e.key not in gone)
    told = inspected(paths, guides_of(paths), there)
    told.external = external is not None
    if not accept_unread:
        told.check()
    for sentence in told.in_short:
        log.info("%s", sentence)
    return _taken(store, made, by or person_here())


def _taken(store: Store, made: Placed, by: Person) -> int:
    """Copy what is new, and note all; the number of new files."""
    if made.replaced:  # first, so that no run ever takes both
        note_withdrawal(store, replacement(by, made.replaced))
    tell(made)
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as threads:
        fresh = [(key, file) for key, file in made.files.items() if key not in made.known]
        new = sum(threads.map(lambda item: _copy(store, *item), fresh))
    note_delivery(store, by, list(made.files))
    log.info("%d files delivered to %s, %d of them new.", len(made.files), store.uri, new)
    return new


def _checked_name(name: str) -> str:
    """The name of an external set: it stands in reports, policies and keys."""
    if not re.fullmatch(SET_NAME, name):
        raise BadInput(
            "This is no name for an external set.",
            expected="1 to 63 small letters, digits, '-' and '_', a letter or digit first",
            received=shown(name),
            do="give another name, such as --external clinic-b",
        )
    return name


def _own(images: Path | None, external: str | None) -> str:
    """The folder of the store to which images, or a guide, go."""
    if external is not None:
        return f"{EXTERNAL}{external}/"
    return f"{RAW}{_name_of(images) if images else METADATA}/"


def _images(store: Store, images: Path, external: str | None) -> dict[str, PlainFile]:
    """The files of the folder of images by key."""
    found = _found(images, "images")
    _check_apart(store, images)
    if not any(is_image(file.within) for file in found):
        raise BadInput(
            "There is no image to deliver.",
            expected=f"files ending in {', '.join(IMAGE_SUFFIXES)} below {shown(str(images))}",
            received=f"{len(found)} other files",
            do="give the folder that holds the class folders",
        )
    own = _own(images, external)
    return {f"{own}{file.within}": file for file in found}


def _found(folder: Path, what: str) -> list[PlainFile]:
    """The files of a folder; a file whose name no store could keep gets another spelling."""
    found = found_in(folder, what)
    if found.odd:
        log.warning(
            "%s: names that no store can keep. They are copied under another spelling, and kept "
            "apart from all others: %s. Rename them, for example with convmv.",
            plural(len(found.odd), "file"), listed(found.odd, 3),
        )  # fmt: skip
    return found.files


def _tables(
    store: Store, metadata: Path, withdrawals: Withdrawals, replace: bool, folder: str
) -> dict[str, PlainFile]:
    """The tables by key. A table whose name another table of the store has already gets the name of
    its folder too, so that two clinics may both deliver a ``metadata.csv``; one that replaces
    another keeps the name."""
    found = dict[str, PlainFile]()
    there = {entry.key for entry in store.list(folder.rstrip("/"))}  # and its later versions
    for file in _found(metadata, "metadata"):
        key, own = folder + file.within, f"{folder}{_name_of(metadata)}/{file.within}"
        versions = [e for e in withdrawals.versions(key) if e in there - withdrawals.now.keys()]
        if own in there and any(e not in withdrawals.now for e in withdrawals.versions(own)):
            key = own
        elif versions and not replace and file.read() not in map(store.read, versions):
            log.warning(
                "%s is another table: this one is delivered beside it, as %s. If it corrects that "
                "one, withdraw this delivery, and give --replace.", key, own,
            )  # fmt: skip
            key = own
        found[key] = file
    return found


def _one_file(path: Path) -> PlainFile:
    try:
        return PlainFile(path, path.name, path.stat())
    except OSError as error:
        raise BadInput(
            "The reading cannot be opened.",
            expected=f"a file {GUIDE}",
            received=f"{error.strerror}: {shown(str(path))}",
            do="correct --reading",
        ) from error


def _name_of(folder: Path) -> str:
    """The name of a delivery."""
    name = folder.resolve().name
    if not name or shown(name) != name:
        raise BadInput(
            "The folder of images has no name that a delivery could have.",
            expected="a folder with a name in UTF-8, which becomes the name of the delivery",
            received=shown(str(folder.resolve())),
            do="rename the folder, or give another",
        )
    return name


def _check_apart(store: Store, folder: Path) -> None:
    """Check that store and folder lie apart, or a delivery would deliver the store itself."""
    if not isinstance(store, DirectoryStore):
        return
    place = folder.resolve()
    if store.root.is_relative_to(place) or place.is_relative_to(store.root):
        raise BadInput(
            "The store and the delivered folder lie within one another.",
            expected="two separate folders, neither inside the other",
            received=f"the store {shown(store.uri)} and the folder {shown(str(place))}",
            do="give a store elsewhere, or the folder that the images came in",
        )


def _copy(store: Store, key: str, file: PlainFile) -> bool:
    data = file.read()
    try:
        store.create(key, data)
    except AlreadyExists:  # another delivery wrote the key after the check
        if store.read(key) == data:
            return False
        refuse_others([key], store.uri)
    return True
