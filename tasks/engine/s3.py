"""A store in a bucket of an S3 server, through boto3.

Addresses and credentials come from the environment, under the names that every AWS tool reads:
AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION or AWS_DEFAULT_REGION.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

from tasks.engine.store import PARALLEL_REQUESTS, Entry, not_found
from tasks.errors import AlreadyExists, BadInput, Momentary

# Refusals of S3 that pass by themselves although their status says otherwise.
PASSING_CODES = ("ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "BadDigest")

# Before an object is asked for again because the body of the answer broke off, times 0.5 to 1.5:
# botocore asks again only as long as it has no answer's head.
PAUSES_SECONDS = (0.1, 0.4, 1.6, 4.0)

# "Another conditional write of this key is under way"; as a number, where the words broke off.
CONFLICTS = ("ConditionalRequestConflict", "409")

T = TypeVar("T")


def _may_be_ours(error: Any) -> bool:
    """Whether a create that was refused may have been won by this very request: it was sent
    again because the answer to the first sending got lost."""
    metadata = error.response["ResponseMetadata"]
    return bool(metadata.get("HTTPStatusCode") == 412 and metadata.get("RetryAttempts", 0) > 0)


def _region() -> str:
    """The region of the bucket: AWS_REGION, which most AWS tools read, else AWS_DEFAULT_REGION, the
    only one that boto3 and MLflow read."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return named or "us-east-1"


class _BrokeOff(Exception):
    """An answer of S3 that began well and did not come to its end."""


def _refused_without_words(error: Any) -> bool:
    """Whether a refusal came without its words; 412 needs none."""
    code = str(error.response["Error"].get("Code", ""))
    return code.isdecimal() and error.response["ResponseMetadata"].get("HTTPStatusCode") != 412


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
            region_name=_region(),
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

    def sweep(self, folder: str) -> None:
        """Nothing: a server keeps half an object where no key shows it."""

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
            return not_found(self, key)
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
