"""Open a store by its address."""

from pathlib import Path

from tasks.engine.directory import DirectoryStore
from tasks.engine.s3 import S3Store
from tasks.engine.store import Store
from tasks.errors import BadInput


def open_store(uri: str) -> Store:
    """Open a store.

    Args:
        uri: ``s3://bucket/prefix``, or the path of a directory (made when first written to).

    Raises:
        BadInput: The address has another scheme, or names no bucket.
    """
    if uri.startswith("s3://"):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise _bad_address(uri)
        return S3Store(bucket, prefix.strip("/"))
    if ("://" in uri and not uri.startswith("file://")) or not uri.strip():
        raise _bad_address(uri)
    return DirectoryStore(Path(uri.removeprefix("file://")).expanduser().resolve())


def _bad_address(uri: str) -> BadInput:
    return BadInput(
        "The address of the store is not understood.",
        expected="s3://bucket/prefix, or the path of a directory",
        received=repr(uri),
        do="correct the address",
    )
