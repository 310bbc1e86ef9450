"""deliver: copy images and tables into ``raw/`` of a store, once, as they are."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.errors import AlreadyExists, BadInput
from tasks.folder import files_in
from tasks.lesions import IMAGE_SUFFIXES
from tasks.storage import PARALLEL_REQUESTS, DirectoryStore, Store

log = logging.getLogger(__name__)


def deliver(store: Store, images: Path, metadata: Path | None = None) -> int:
    """Copy ``images`` to ``raw/<its name>/`` and the tables of ``metadata`` to ``raw/metadata/``.

    Files that are there already, byte for byte, are left alone, so a killed delivery can be
    repeated. Everything is looked at before the first file is copied. A folder that is hidden
    (``.isic9``) is delivered without the dots of its name, else `ingest` would take it for litter.

    Returns:
        How many files are new in the store.

    Raises:
        BadInput: A folder does not exist, holds no image, holds the store, or holds what cannot be
            delivered (see `tasks.folder`); or a file stands in the store under the same name with
            other content (nothing is overwritten).
    """
    files = _files(store, images, f"raw/{_name(images)}", "images")
    if not any(path.name.casefold().endswith(IMAGE_SUFFIXES) for path in files.values()):
        raise BadInput(
            "There is no image to deliver.",
            expected=f"files ending in {', '.join(IMAGE_SUFFIXES)} below {images}",
            received=f"{len(files)} other files",
            do="give the folder that holds the class folders",
        )
    if metadata:
        files |= _files(store, metadata, "raw/metadata", "metadata")
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as threads:
        new = sum(threads.map(lambda item: _copy(store, *item), files.items()))
    log.info("%d files delivered to %s, %d of them new.", len(files), store.uri, new)
    return new


def _name(folder: Path) -> str:
    name = folder.resolve().name.lstrip(".") or "images"
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadInput(
            "The name of the folder is no text.",
            expected="a name in UTF-8: it becomes part of the names in the store",
            received=ascii(name),
            do="rename the folder, for example with convmv",
        ) from None
    return name


def _files(store: Store, folder: Path, prefix: str, what: str) -> dict[str, Path]:
    """The files of a folder by the keys that they get."""
    if isinstance(store, DirectoryStore) and store.root.is_relative_to(folder.resolve()):
        raise BadInput(
            f"The store lies in the folder of {what}.",
            expected=f"a store outside {folder}: else it would be delivered into itself",
            received=store.uri,
            do="give a store beside the folder, or a folder that holds the images only",
        )
    found = files_in(folder, what)
    return {f"{prefix}/{path.relative_to(folder).as_posix()}": path for path in found}


def _copy(store: Store, key: str, path: Path) -> bool:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(
            "A file changed while it was delivered.",
            expected=f"{path} to be readable, as it was a moment ago",
            received=str(error.strerror),
            do="deliver again when nothing changes the folder: what was copied stays",
        ) from error
    try:
        store.create(key, data)
    except AlreadyExists:
        if store.read(key) == data:
            return False
        raise BadInput(
            "Another file stands under this name already.",
            expected=f"{key} to be new, or the same bytes as before: deliveries are never "
            "overwritten",
            received=f"other content in {path}",
            do="deliver it from a folder with another name",
        ) from None
    return True
