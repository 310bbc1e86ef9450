"""Object storage behind one small interface: a directory, or S3 through boto3.

Two kinds of write, both all-or-nothing:

- ``create`` writes a key once. Of any number of writers that race, one wins and the others get
  `AlreadyExists` (``link(2)`` on a disk, ``If-None-Match: *`` on S3). Records and shared objects
  are created.
- ``replace`` overwrites. Only artifacts that a record will vouch for by their SHA-256, and
  progress, are replaced.

Only checkpoints are ever deleted.

Addresses and credentials of an S3 server come from the environment, under the names that every
AWS tool reads: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
"""

import errno
import os
import random
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tasks.errors import AlreadyExists, BadInput, Momentary, NotFound

# What a directory store is writing: a hidden file beside its key, as a link does not cross mounts.
# One that a kill left behind is nobody's, and does no harm. Earlier versions had a folder for it.
PARTIAL = ".partial"
PARTIAL_FILE = re.compile(r"\.partial-[0-9a-f]{16}")

# Faults of a file system that a retry cannot mend.
LASTING = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),  # EPERM also: no hard links here (FAT)
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP),
    *(errno.EXDEV, errno.ENOTSUP),
)

# Refusals of S3 that pass by themselves although their status says otherwise.
PASSING_CODES = ("ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "BadDigest")

# Before an object is asked for again because the body of the answer broke off, times 0.5 to 1.5:
# botocore asks again only as long as it has no answer's head.
PAUSES_SECONDS = (0.1, 0.4, 1.6, 4.0)

# "Another conditional write of this key is under way"; as a number, where the words broke off.
CONFLICTS = ("ConditionalRequestConflict", "409")

T = TypeVar("T")

PARALLEL_REQUESTS = 16  # S3 latency is tens of ms; 16 in flight hide it without flooding a server


@dataclass(frozen=True)
class Entry:
    """One stored object.

    Attributes:
        key: Path inside the store, with ``/`` between its parts.
        size_bytes: Length of the content.
        etag: Changes whenever the content changes, and at most when the object is written.
            Opaque: it is not a hash of the content.
    """

    key: str
    size_bytes: int
    etag: str


class Store(Protocol):
    """What the pipeline asks of object storage. Keys are relative, with ``/`` between parts."""

    uri: str

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects whose key starts with `prefix`, in the order of their keys."""
        ...

    def read(self, key: str) -> bytes:
        """Return the content. Raises `NotFound`."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Write a new object, whole or not at all. Raises `AlreadyExists`."""
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all, over whatever stood there."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no fault."""
        ...


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


def read_many(store: Store, keys: Iterable[str]) -> Iterator[bytes]:
    """Read objects in parallel; yields contents in the order of `keys`.

    At most PARALLEL_REQUESTS contents are held at a time, however slowly they are taken.
    """
    reading: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as threads:
        try:
            for key in keys:
                reading.append(threads.submit(store.read, key))
                if len(reading) == PARALLEL_REQUESTS:
                    yield reading.popleft().result()
            while reading:
                yield reading.popleft().result()
        finally:
            for unwanted in reading:
                unwanted.cancel()


def _may_be_ours(error: Any) -> bool:
    """Whether a create that was refused may have been won by this very request: it was sent
    again because the answer to the first sending got lost."""
    metadata = error.response["ResponseMetadata"]
    return bool(metadata.get("HTTPStatusCode") == 412 and metadata.get("RetryAttempts", 0) > 0)


class _BrokeOff(Exception):
    """An answer of S3 that began well and did not come to its end."""


def _refused_without_words(error: Any) -> bool:
    """Whether a refusal came without its words; 412 needs none."""
    code = str(error.response["Error"].get("Code", ""))
    return code.isdecimal() and error.response["ResponseMetadata"].get("HTTPStatusCode") != 412


def _bad_address(uri: str) -> BadInput:
    return BadInput(
        "The address of the store is not understood.",
        expected="s3://bucket/prefix, or the path of a directory",
        received=repr(uri),
        do="correct the address",
    )


def _not_found(store: Store, key: str) -> NotFound:
    return NotFound(
        "An object is missing from the store.",
        expected=f"an object {key}",
        received=f"no such object in {store.uri}",
        do="check the address of the store; if the object was deleted, start a new run",
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
            raise _not_found(self, key) from None
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

    @contextmanager
    def _partial(self, key: str, data: bytes) -> Iterator[str]:
        """A complete temporary file on the same file system, gone afterwards."""
        path = self._key_path(key)
        partial = path.with_name(f"{PARTIAL}-{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # else a power cut may keep the name and lose the content
            yield str(partial)
        except OSError as error:
            raise self._explained(error, key) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

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


class S3Store:
    """A store in a bucket of an S3 server, under a prefix."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        # A client is safe to share between threads. Newer checksum trailers are asked for only
        # where an operation requires them: S3 servers other than AWS's often lack them.
        # A session of its own, because the default one keeps the first credentials it ever saw.
        return boto3.Session().client(
            "s3",
            region_name=os.environ.get("AWS_REGION", "us-east-1"),
            config=Config(
                max_pool_connections=PARALLEL_REQUESTS,
                retries={"mode": "standard", "max_attempts": 5},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=10,
                read_timeout=60,
            ),
        )

    def list(self, prefix: str) -> Iterator[Entry]:
        where = {"Bucket": self.bucket, "Prefix": self.prefix + prefix}
        with self._explained(prefix):
            while True:
                page = self._page(where)
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self.prefix)
                    if found["Key"].endswith("/"):
                        continue  # the mark that consoles and sync tools leave for a folder
                    yield Entry(key, found["Size"], found["ETag"].strip('"'))
                if not page.get("IsTruncated"):
                    return
                where["ContinuationToken"] = page["NextContinuationToken"]

    def _page(self, where: dict[str, str]) -> dict[str, Any]:
        """One page of a list. botocore takes half a page for a fault, but none for an empty one."""

        def once() -> dict[str, Any]:
            page = dict(self._client.list_objects_v2(**where))
            if "IsTruncated" not in page:
                raise _BrokeOff("an empty answer to a list")
            return page

        return self._whole(once)

    def read(self, key: str) -> bytes:
        from botocore.exceptions import BotoCoreError
        from botocore.httpsession import URLLib3SSLError

        def once() -> bytes:
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            try:
                return bytes(answer["Body"].read())
            except (BotoCoreError, URLLib3SSLError) as error:
                raise _BrokeOff(" ".join(str(error).split())) from error

        with self._explained(key):
            return self._whole(once)

    def _whole(self, once: Callable[[], T]) -> T:
        """What a request that may be sent twice gives; sent again where the answer broke off.

        botocore sends again only as long as it has no answer's head. Of a refusal that broke off
        nobody knows what was refused; botocore takes the status for it.
        """
        from botocore.parsers import ResponseParserError

        for pause_seconds in PAUSES_SECONDS:
            try:
                return once()
            except self._client.exceptions.ClientError as error:
                if not _refused_without_words(error):
                    raise
            except (_BrokeOff, ResponseParserError):
                pass
            time.sleep(pause_seconds * random.uniform(0.5, 1.5))
        return once()

    def create(self, key: str, data: bytes) -> None:
        with self._explained(key):
            for pause_seconds in (0.1, 0.4, 1.6, None):
                try:
                    self._client.put_object(
                        Bucket=self.bucket, Key=self.prefix + key, Body=data, IfNoneMatch="*"
                    )
                    return
                except self._client.exceptions.ClientError as error:
                    if _may_be_ours(error) and self.read(key) == data:
                        return
                    # "Another conditional write of this key is under way, ask again": who won
                    # is not known yet.
                    conflict = error.response["Error"].get("Code") in CONFLICTS
                    if not conflict or pause_seconds is None:
                        raise
                    time.sleep(pause_seconds)

    def replace(self, key: str, data: bytes) -> None:
        with self._explained(key):
            where = {"Bucket": self.bucket, "Key": self.prefix + key}
            self._whole(lambda: self._client.put_object(**where, Body=data))

    def delete(self, key: str) -> None:
        with self._explained(key):
            where = {"Bucket": self.bucket, "Key": self.prefix + key}
            self._whole(lambda: self._client.delete_object(**where))

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            yield
        except ClientError as error:
            raise self._refused(error, key) from error
        except (_BrokeOff, ResponseParserError) as error:
            broken = " ".join(str(error).split())
            raise Momentary(
                f"An answer of {self._server} broke off at {key!r}: {broken}"
            ) from error
        except (BotoCoreError, ValueError) as error:  # ValueError: a malformed AWS_ENDPOINT_URL
            raise self._unreached(error, key) from error

    def _refused(self, error: Any, key: str) -> Exception:
        code = str(error.response["Error"].get("Code", ""))
        status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
        if code in ("NoSuchKey", "404"):  # the latter of a server that never says more
            return _not_found(self, key)
        if code == "PreconditionFailed" or status == 412:
            return AlreadyExists(key)
        if (status >= 500 and status != 501) or status == 429 or code in PASSING_CODES:
            return Momentary(
                f"{self._server} answered {code or status} at {key!r}; try again later."
            )
        if code == "NoSuchBucket":
            return BadInput(
                "The bucket does not exist.",
                expected=f"a bucket named {self.bucket!r} on {self._server}",
                received="NoSuchBucket",
                do="create the bucket, or correct the address of the store",
            )
        if status in (401, 403):
            return BadInput(
                "The S3 server refused the credentials.",
                expected=f"an access key that may list, read and write {self.uri}",
                received=f"{code or status} from {self._server} at {key!r}",
                do="correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the bucket's policy "
                "or quota, or this machine's clock, whichever the code names",
            )
        return BadInput(
            "The S3 server refused the request.",
            expected=f"a server that takes this request, with If-None-Match, for {self.uri}",
            received=f"{code or status} from {self._server} at {key!r}",
            do="correct the address of the store, or AWS_ENDPOINT_URL and AWS_REGION",
        )

    def _unreached(self, error: Exception, key: str) -> Exception:
        from botocore import exceptions

        passing = (
            *(exceptions.HTTPClientError, exceptions.ConnectionError),
            *(exceptions.IncompleteReadError, exceptions.ChecksumError),
        )
        if isinstance(error, passing) and not isinstance(error, exceptions.SSLError):
            return Momentary(f"{self._server} cannot be reached at {key!r}: {error}")
        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            return BadInput(
                "There are no credentials for the S3 server.",
                expected="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
                received="neither, or only one of them",
                do="set both, and AWS_ENDPOINT_URL for a server other than AWS",
            )
        return BadInput(
            "The S3 server cannot be spoken to.",
            expected=f"an address that works for {self.uri} on {self._server}",
            received=" ".join(str(error).split()),
            do="correct the address of the store, AWS_ENDPOINT_URL (http://host:port), "
            "AWS_CA_BUNDLE or whatever else the message names",
        )

    @property
    def _server(self) -> str:
        return str(
            os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "S3")
        )
