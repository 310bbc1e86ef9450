"""S3 servers of this machine, and whether a real one can be started."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demo.services import Service, end, start, wait_until_ready
from tests.support.missing import lacking

CEPH_PACKAGES = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-common", "radosgw")
CEPH_PROGRAMS = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "radosgw", "radosgw-admin")


@dataclass(frozen=True)
class S3Server:
    """An S3 server on this machine and a key to it.

    Attributes:
        ceph: Configuration of Ceph, if it is one.
    """

    endpoint: str
    access_key: str
    secret_key: str
    ceph: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def client(self) -> Any:
        """A client that does not depend on the environment."""
        import boto3

        return boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )

    def new_user(self, name: str) -> "S3Server":
        """The same server, with the key of a user who owns nothing."""
        assert self.ceph
        user = replace(self, access_key=f"key-of-{name}", secret_key=secrets.token_hex(16))
        keys = ["--access-key", user.access_key, "--secret", user.secret_key]
        argv = ["radosgw-admin", "-c", str(self.ceph), "user", "create", "--uid", name, *keys]
        subprocess.run([*argv, "--display-name", name], check=True, capture_output=True)
        return user

    def new_bucket(self) -> str:
        bucket = f"tests-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=bucket)
        return bucket


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def need_ceph() -> None:
    """End a test that needs a real S3 server where none can be started."""
    missing = [program for program in CEPH_PROGRAMS if not shutil.which(program)]
    if missing:
        lacking("no real S3 server", install=f"apt-get install {' '.join(CEPH_PACKAGES)}")
    if os.geteuid() != 0:
        lacking("no real S3 server", install="run as root, which Ceph needs")


def tail_of(logs: Path) -> str:
    return "\n".join(
        f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        for log in sorted(logs.glob("*.log"))
    )


@contextmanager
def mlflow_server(folder: Path, host: str = "127.0.0.1", database: str = "") -> Iterator[str]:
    """The address of an MLflow server whose files lie in a folder, and its tables in a database:
    in SQLite, if no other is named."""
    address = f"http://{host}:{free_port()}"
    argv = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--host", host, "--port", address.rpartition(":")[2]),
        *("--backend-store-uri", database or f"sqlite:///{folder}/mlflow.db"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    service = Service("mlflow", tuple(argv), f"{address}/health")
    started = start(service, folder, os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    try:
        wait_until_ready(started)
        yield address
    finally:
        end(folder, "NO_OTHER_MARK")
