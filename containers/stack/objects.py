"""Copy all objects of the compose stack's buckets to a tar file and back, for backup and restore.

    python objects.py save >FILE
    python objects.py load <FILE

A member is named BUCKET/KEY. Says on the standard error how many objects and bytes it copied.
`load` ends with exit code 64 at a member of a bucket that MELANOMA_STORE and MLFLOW_ARTIFACTS do
not name.
"""

import os
import sys
import tarfile
from typing import IO, Any, NoReturn
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

OWNERS = {"MELANOMA_STORE": "s3_store", "MLFLOW_ARTIFACTS": "s3_mlflow"}
SETTINGS = Config(
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


class Content:
    """The content of a member of a tar file that comes through a pipe: it can be read once."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read = file.read

    def seekable(self) -> bool:
        return False


def clients() -> dict[str, Any]:
    """A client for each bucket, with the key of its owner."""
    found = {}
    for variable, secret in OWNERS.items():
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = f"/run/secrets/{secret}"
        bucket = urlsplit(os.environ[variable]).netloc
        found[bucket] = boto3.session.Session().client("s3", config=SETTINGS)
    return found


def save(of: dict[str, Any]) -> tuple[int, int]:
    count = size = 0
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for bucket, client in of.items():
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for entry in page.get("Contents", ()):
                    answer = client.get_object(Bucket=bucket, Key=entry["Key"])
                    member = tarfile.TarInfo(f"{bucket}/{entry['Key']}")
                    member.size = answer["ContentLength"]
                    member.mtime = int(answer["LastModified"].timestamp())
                    archive.addfile(member, answer["Body"])
                    count, size = count + 1, size + member.size
    return count, size


def load(of: dict[str, Any]) -> tuple[int, int]:
    count = size = 0
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            bucket, _, key = member.name.partition("/")
            content = archive.extractfile(member)
            if content is None or bucket not in of:
                refuse(member.name, of)
            of[bucket].upload_fileobj(Content(content), bucket, key)
            count, size = count + 1, size + member.size
    return count, size


def refuse(member: str, of: dict[str, Any]) -> NoReturn:
    print(
        "The backup holds something that is no object of this stack.",
        f"  Expected: an object in {' or '.join(sorted(of))}",
        f"  Received: {member!r}",
        "  Do:       correct MELANOMA_STORE and MLFLOW_ARTIFACTS in the settings of the stack",
        sep="\n",
        file=sys.stderr,
    )
    sys.exit(64)


if __name__ == "__main__":
    copied, total = {"save": save, "load": load}[sys.argv[1]](clients())
    print(f"{copied} objects, {total} bytes", file=sys.stderr)
