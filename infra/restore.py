"""Bring a backup of `infra.backup` back: the store's part into the store, the dumps into a folder.

    python -m infra.restore                    lists the backups
    python -m infra.restore BACKUP FOLDER

BACKUP is the name of a backup, such as ``2026-11-30T013000Z``. Copies the backup into FOLDER, which
must not exist, and checks all of it by SHA256SUMS. Then copies what is missing into the store.
Nothing is overwritten: where the store holds an object with other content, nothing is written at
all, and each is named. ``FOLDER/databases/`` then holds a dump for each ``pg_restore``.

The environment is that of `infra.backup`; STORE_CREDENTIALS must be allowed to write to the whole
store, BACKUP_CREDENTIALS to read the backups.
"""

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.backup import SUMS, client, place
from tasks.errors import BadInput, Corrupt, PipelineError

STORE = "store/"


def backups() -> list[str]:
    """The backups in their bucket, the newest last; of one that is not whole, that it is not."""
    source, (bucket, prefix) = client("BACKUP_CREDENTIALS"), place("MELANOMA_BACKUPS")
    pages = source.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, Delimiter="/"
    )
    found = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ())]
    return [
        each.removeprefix(prefix).rstrip("/")
        + ("" if _read(source, bucket, each + SUMS) else "  not whole")
        for each in found
    ]


def download(name: str, folder: Path) -> dict[str, str]:
    """Copy a backup into a new folder, and check it.

    Returns:
        SHA-256 of each file, by path.

    Raises:
        BadInput: The folder exists, or there is no such backup, or it is not whole.
        Corrupt: A file is missing or not the one that was saved.
    """
    source, (bucket, prefix) = client("BACKUP_CREDENTIALS"), place("MELANOMA_BACKUPS")
    if folder.exists():
        raise BadInput(
            "A backup is copied into a new folder.",
            expected="a folder that does not exist",
            received=str(folder),
            do="name another",
        )
    at = f"{prefix}{name.strip('/')}/"
    if (listed := _read(source, bucket, at + SUMS)) is None:
        raise BadInput(
            "There is no such backup, or it ended early and is not whole.",
            expected=f"s3://{bucket}/{at}{SUMS}, which is written last",
            received="no such object",
            do=f"name another, of those in s3://{bucket}/{prefix}",
        )
    lines = (line.partition("  ") for line in listed.decode().splitlines())
    sums = {path: sha256 for sha256, _, path in lines}
    wrong = [path for path, sha256 in sums.items()
             if _copied(source, bucket, at + path, folder / path) != sha256]  # fmt: skip
    if wrong:
        raise Corrupt(
            "The backup is not the one that was saved.",
            expected=f"every file as in s3://{bucket}/{at}{SUMS}",
            received=f"missing or changed: {', '.join(wrong)}",
            do="take another backup; find out who changed this one",
        )
    return sums


def into_the_store(folder: Path, sums: dict[str, str]) -> tuple[int, int]:
    """Copy into the store what it lacks.

    Returns:
        How many objects were written, and how many were there already.

    Raises:
        BadInput: The store holds an object with other content. Nothing was written.
    """
    target, (bucket, prefix) = client("STORE_CREDENTIALS"), place("MELANOMA_STORE")
    missing, other = [], []
    for path in (path for path in sums if path.startswith(STORE)):
        key = prefix + path.removeprefix(STORE)
        held = _read(target, bucket, key)
        if held is None:
            missing.append((key, folder / path))
        elif hashlib.sha256(held).hexdigest() != sums[path]:
            other.append(key)
    if other:
        raise BadInput(
            "The store is not the one that was saved, or has gone on since.",
            expected="a store that lacks these objects, or holds them as the backup does",
            received=f"other content: {', '.join(other)}",
            do="if the store's are newer, keep them: only the databases need the backup. "
            "Otherwise move them away first",
        )
    for key, file in missing:
        target.put_object(Bucket=bucket, Key=key, Body=file.read_bytes(), IfNoneMatch="*")
    return len(missing), sum(path.startswith(STORE) for path in sums) - len(missing)


def _read(source: Any, bucket: str, key: str) -> bytes | None:
    try:
        content: bytes = source.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    return content


def _copied(source: Any, bucket: str, key: str, to: Path) -> str:
    """SHA-256 of an object that was copied into a file; empty if there is none."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        body = source.get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return ""
        raise
    with to.open("wb") as file:
        shutil.copyfileobj(body, file, 1 << 20)
    with to.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    try:
        if len(sys.argv) == 1:
            print("\n".join(backups()) or "There is no backup.")
            return
        if len(sys.argv) != 3:
            raise BadInput(
                "A restoration needs a backup and a folder.",
                expected="infra.restore BACKUP FOLDER",
                received=" ".join(sys.argv[1:]),
                do="call it without arguments, which lists the backups",
            )
        folder = Path(sys.argv[2])
        sums = download(sys.argv[1], folder)
        written, there = into_the_store(folder, sums)
    except PipelineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    dumps = [path for path in sums if not path.startswith(STORE)]
    print(f"{written} objects written into the store, {there} were there already")
    print(f"{len(dumps)} dumps for pg_restore: {', '.join(str(folder / path) for path in dumps)}")


if __name__ == "__main__":
    main()
