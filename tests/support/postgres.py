"""A PostgreSQL of this machine."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.missing import lacking, need_root
from tests.support.servers import free_port


@dataclass(frozen=True)
class PostgreSQL:
    """A server on 127.0.0.1 that lets anybody in.

    Attributes:
        port: Its port.
        programs: Folder of its programs, such as psql.
    """

    port: int
    programs: Path

    @property
    def address(self) -> str:
        """For SQLAlchemy, without the name of a database."""
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}"


@contextmanager
def running() -> Iterator[PostgreSQL]:
    """A server with the user `postgres` alone and no password, in a folder of its own: nobody else
    than root may enter those of pytest."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        lacking("no PostgreSQL", install="apt-get install postgresql")
    need_root("start PostgreSQL as its own user")
    programs, port = found[-1].parent, free_port()
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
        data = str(folder / "data")
        initdb = [*as_user, str(programs / "initdb"), "--auth", "trust", "--no-sync", data]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder)
        options = f"-c port={port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
        control = [*as_user, str(programs / "pg_ctl"), "--pgdata", data, "--wait", "--silent"]
        log = ["--log", str(folder / "log")]
        subprocess.run([*control, *log, "--options", options, "start"], check=True, cwd=folder)
        try:
            yield PostgreSQL(port, programs)
        finally:
            subprocess.run([*control, "--mode", "fast", "stop"], check=True, cwd=folder)
