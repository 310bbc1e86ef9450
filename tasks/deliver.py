"""deliver: copy images and tables into ``raw/`` of a store, once, as they are."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.errors import AlreadyExists, BadInput
from tasks.lesions import IMAGE_SUFFIXES
from tasks.storage import PARALLEL_REQUESTS, Store

log = logging.getLogger(__name__)


def deliver(store: Store, images: Path, metadata: Path | None = None) -> int:
    """Copy ``images`` to ``raw/<its name>/`` and the tables of ``metadata`` to ``raw/metadata/``.

    Files that are there already, byte for byte, are left alone, so a killed delivery can be
    repeated.

    Returns:
        How many files are new in the store.

    Raises:
        BadInput: A folder does not exist or holds no image, or a file stands in the store
            under the same name with other content (nothing is overwritten).
    """
    files = dict(_files(images, f"raw/{images.resolve().name}", "images"))
    if not any(path.name.casefold().endswith(IMAGE_SUFFIXES) for path in files.values()):
        raise BadInput(
            "There is no image to deliver.",
            expected=f"files ending in {', '.join(IMAGE_SUFFIXES)} below {images}",
            received=f"{len(files)} other files",
            do="give the folder that holds the class folders",
        )
    if metadata:
        files |= dict(_files(metadata, "raw/metadata", "metadata"))
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as threads:
        new = sum(threads.map(lambda item: _copy(store, *item), files.items()))
    log.info("%d files delivered to %s, %d of them new.", len(files), store.uri, new)
    return new


def _files(folder: Path, prefix: str, what: str) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        raise BadInput(
            f"The folder of {what} does not exist.",
            expected=f"a folder with {what}",
            received=str(folder),
            do="correct the path",
        )
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield f"{prefix}/{path.relative_to(folder).as_posix()}", path


def _copy(store: Store, key: str, path: Path) -> bool:
    data = path.read_bytes()
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
