"""deliver: copy images and tables, unchanged, into ``raw/`` of a store."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.engine.deliveries import note_delivery
from tasks.engine.directory import DirectoryStore
from tasks.engine.person import person_here
from tasks.engine.store import PARALLEL_REQUESTS, Store, read_many
from tasks.errors import AlreadyExists, BadInput
from tasks.figures import listed
from tasks.intake.folder import PlainFile, files_in, shown
from tasks.intake.guide import NAME as GUIDE
from tasks.intake.inspect import check_names, guides_of, inspected
from tasks.lesions import IMAGE_SUFFIXES, is_image

log = logging.getLogger(__name__)


def deliver(
    store: Store,
    images: Path,
    metadata: Path | None = None,
    *,
    reading: Path | None = None,
    accept_unread: bool = False,
) -> int:
    """Copy ``images`` to ``raw/<its name>/`` and the tables of ``metadata`` to ``raw/metadata/``.

    All files are checked before the first is copied. Files that the store already holds, byte for
    byte, are skipped, so a killed delivery can be repeated. Hidden files are left out and logged.
    The ledger of deliveries notes who delivered.

    Args:
        store: The store.
        images: The folder of images.
        metadata: A folder of tables.
        reading: A ``reading.yaml`` that lies elsewhere, see `tasks.intake.guide`.
        accept_unread: Whether to deliver tables that are not understood. They would not be used.

    Returns:
        Number of files that are new in the store.

    Raises:
        BadInput: A folder does not exist, holds no image, or holds something that
            `tasks.intake.folder.files_in` refuses (links, unreadable files, ...); or the folder
            and the store lie within one another; or the store holds another content under the
            same name (nothing is overwritten); or a table is not understood; or a name tells who
            the patient of a DICOM is.
        Momentary: A file changed while it was copied.
    """
    found = files_in(images, "images")
    _check_apart(store, images)
    if not any(is_image(file.within) for file in found):
        raise BadInput(
            "There is no image to deliver.",
            expected=f"files ending in {', '.join(IMAGE_SUFFIXES)} below {shown(str(images))}",
            received=f"{len(found)} other files",
            do="give the folder that holds the class folders",
        )
    files = {f"raw/{_name_of(images)}/{file.within}": file for file in found}
    if metadata:
        _check_apart(store, metadata)
        tables = _tables(store, metadata)
        _refuse_others(sorted(files.keys() & tables.keys()), "both folders")
        files |= tables
    if reading:
        files[f"raw/{_name_of(images)}/{GUIDE}"] = _one_file(reading)
    paths = {key: file.path for key, file in files.items()}
    check_names(paths)
    known = _known(store, files)
    if not accept_unread:
        there = (e.key for e in store.list("raw/") if is_image(e.key))
        inspected(paths, guides_of(paths), there).check()
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as threads:
        fresh = [(key, file) for key, file in files.items() if key not in known]
        new = sum(threads.map(lambda item: _copy(store, *item), fresh))
    note_delivery(store, person_here(), list(files))
    log.info("%d files delivered to %s, %d of them new.", len(files), store.uri, new)
    return new


def _tables(store: Store, metadata: Path) -> dict[str, PlainFile]:
    """The tables by key. A table whose name another table of the store has already gets the name of
    its folder too, so that two clinics may both deliver a ``metadata.csv``."""
    found, there = {}, {entry.key: entry for entry in store.list("raw/metadata/")}
    for file in files_in(metadata, "metadata"):
        key = f"raw/metadata/{file.within}"
        if key in there and file.read() != store.read(key):
            key = f"raw/metadata/{_name_of(metadata)}/{file.within}"
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


def _known(store: Store, files: dict[str, PlainFile]) -> set[str]:
    """The keys that the store already holds. Raises `BadInput` if any has other content."""
    folders = sorted({"/".join(key.split("/")[:2]) + "/" for key in files})
    there = {
        entry.key: entry for folder in folders for entry in store.list(folder) if entry.key in files
    }
    alike = [key for key in there if there[key].size_bytes == files[key].status.st_size]
    others = there.keys() - alike
    for key, data in zip(alike, read_many(store, alike), strict=True):
        if files[key].read() != data:
            others.add(key)
    _refuse_others(sorted(others), store.uri)
    return set(there)


def _refuse_others(keys: list[str], where: str) -> None:
    if keys:
        raise BadInput(
            "Another file stands under this name already.",
            expected="new names, or the same bytes as before: deliveries are never overwritten",
            received=f"other content in {shown(where)} under {listed(keys)}",
            do="deliver it from a folder with another name",
        )


def _copy(store: Store, key: str, file: PlainFile) -> bool:
    data = file.read()
    try:
        store.create(key, data)
    except AlreadyExists:  # another delivery wrote the key after the check
        if store.read(key) == data:
            return False
        _refuse_others([key], store.uri)
    return True
