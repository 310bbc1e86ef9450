"""Backups of a store, made as the CronJob of infra/kubernetes makes them."""

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.servers import S3Server

DUMP = bytes(range(256)) * 40_000  # 10 MB: more than one part of an upload


def key_of(user: S3Server, folder: Path) -> str:
    """A file with the key of a user, in AWS's format."""
    file = folder / f"key-{user.access_key}"
    file.write_text(
        f"[default]\naws_access_key_id = {user.access_key}\n"
        f"aws_secret_access_key = {user.secret_key}\n"
    )
    return str(file)


def run(
    program: list[str], s3: S3Server, folder: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a program as the CronJob does, with a key in a file for each bucket."""
    environment = {
        "PYTHONPATH": str(ROOT),  # as in the image
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "STORE_CREDENTIALS": key_of(s3, folder),
        "BACKUP_CREDENTIALS": key_of(s3, folder),
        **more,
    }
    argv = [sys.executable, *program]
    return subprocess.run(
        argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def backup(
    s3: S3Server, tmp_path: Path, dump: bytes | None = DUMP, **more: str
) -> subprocess.CompletedProcess[str]:
    """Back up with one dump; with none at all, if there is none."""
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    if dump is not None:
        (dumps / "airflow.dump").write_bytes(dump)
    return run(["infra/backup.py", str(dumps)], s3, tmp_path, **more)
