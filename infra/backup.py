"""Copy what no run can make again into a bucket of backups.

    python backup.py FOLDER

Copies the files of FOLDER (dumps of the databases), and of the store: the ledgers, the keys of
pseudonyms, the policies and the defaults. Deliveries are not copied; a bucket keeps them by
versions or replication. SHA256SUMS is written last, so a backup without one is not whole.

The environment holds MELANOMA_STORE and MELANOMA_BACKUPS (``s3://bucket/prefix``),
AWS_ENDPOINT_URL if it is not AWS, and STORE_CREDENTIALS and BACKUP_CREDENTIALS, files in AWS's
format. In a cloud both are the key of the user ``backup`` of `infra.s3_policy`, which reads the
store; let the user write to the bucket of backups, and not delete.

Memory holds one object of the store at a time, and 8 MiB of a dump.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from tasks.errors import BadInput

OF_THE_STORE = ("ledger/", "private/", "policies/", "config.json")
SUMS = "SHA256SUMS"
ONE_PART_AT_A_TIME = TransferConfig(use_threads=False)
SETTINGS = Config(
    s3={"addressing_style": "path"},
    retries={"max_attempts": 10, "mode": "standard"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


def _of_environment(variable: str) -> str:
    if not os.environ.get(variable):
        raise BadInput(
            f"{variable} is not set.",
            expected="MELANOMA_STORE, MELANOMA_BACKUPS, STORE_CREDENTIALS and BACKUP_CREDENTIALS",
            received="no value",
            do=f"set {variable}, as infra/kubernetes/base/backup.yaml does",
        )
    return os.environ[variable]


def client(variable: str) -> Any:
    """A client of S3 with the key in the file that a variable names."""
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = _of_environment(variable)
    return boto3.session.Session().client("s3", config=SETTINGS)


def place(variable: str) -> tuple[str, str]:
    """The bucket, and the prefix of keys with a slash at its end, of an address."""
    given = _of_environment(variable)
    address = urlsplit(given)
    if address.scheme != "s3" or not address.netloc:
        raise BadInput(
            f"{variable} is no address of a bucket.",
            expected="s3://bucket/prefix",
            received=given,
            do=f"correct {variable}",
        )
    prefix = address.path.strip("/")
    return address.netloc, f"{prefix}/" if prefix else ""


def dumps_in(folder: Path) -> list[Path]:
    """The dumps in a folder, by name.

    Raises:
        BadInput: There is none, or one is empty.
    """
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    empty = [each.name for each in found if not each.stat().st_size]
    if not found or empty:
        raise BadInput(
            "The databases were not dumped.",
            expected=f"dumps of pg_dump in {folder}",
            received=f"empty: {', '.join(empty)}" if empty else "no file",
            do="look at what pg_dump said; nothing was written into the bucket of backups",
        )
    return found


def _check_store() -> None:
    """Raises `BadInput` where the store holds nothing at all, as under a mistyped address."""
    source, (bucket, prefix) = client("STORE_CREDENTIALS"), place("MELANOMA_STORE")
    if not source.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("Contents"):
        raise BadInput(
            "There is nothing to save.",
            expected=f"a store below s3://{bucket}/{prefix}",
            received="no object",
            do="correct MELANOMA_STORE; before the first delivery, there is nothing to do",
        )


def of_the_store() -> Iterator[tuple[str, bytes]]:
    """Key, without the store's prefix, and content of what is copied of the store."""
    source, (bucket, prefix) = client("STORE_CREDENTIALS"), place("MELANOMA_STORE")
    for part in OF_THE_STORE:
        pages = source.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix + part
        )
        for entry in (entry for page in pages for entry in page.get("Contents", ())):
            data = source.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            yield f"store/{entry['Key'].removeprefix(prefix)}", data


def main(folder: Path, now: datetime) -> str:
    """Write a backup; returns the prefix of its keys.

    Raises:
        BadInput: There is no dump, or an empty one, or no store. Nothing is written.
    """
    dumps = dumps_in(folder)
    _check_store()
    target, (bucket, prefix) = client("BACKUP_CREDENTIALS"), place("MELANOMA_BACKUPS")
    to = f"{prefix}{now:%Y-%m-%dT%H%M%SZ}/"
    sums, size = [], 0
    for key, data in of_the_store():
        target.put_object(Bucket=bucket, Key=to + key, Body=data)
        sums.append(f"{hashlib.sha256(data).hexdigest()}  {key}\n")
        size += len(data)
    for dump in dumps:
        key = f"databases/{dump.name}"
        target.upload_file(str(dump), bucket, to + key, Config=ONE_PART_AT_A_TIME)
        with dump.open("rb") as content:
            sums.append(f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {key}\n")
        size += dump.stat().st_size
    target.put_object(Bucket=bucket, Key=f"{to}{SUMS}", Body="".join(sums).encode())
    print(f"{len(sums)} files, {size} bytes: s3://{bucket}/{to}")
    return to


if __name__ == "__main__":
    try:
        if len(sys.argv) != 2:
            raise BadInput(
                "A backup needs the folder with the dumps.",
                expected="infra/backup.py FOLDER",
                received=f"{len(sys.argv) - 1} arguments",
                do="name the folder",
            )
        main(Path(sys.argv[1]), datetime.now(UTC))
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
