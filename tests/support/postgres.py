"""A PostgreSQL server of Debian's package, for tests."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.missing import lacking
from tests.support.servers import free_port

NOBODY = 65534 if os.getuid() == 0 else None  # PostgreSQL refuses to run as root


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        lacking("no PostgreSQL server", install="apt-get install postgresql")
    return found[-1].parent


@contextmanager
def postgresql() -> Iterator[str]:
    """The address, for SQLAlchemy, of an empty database of a server that ends with the context."""
    programs, port, password = _programs(), free_port(), secrets.token_hex(16)
    # Not in pytest's folder, which nobody else may enter.
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "password").write_text(password)
        if NOBODY:
            for path in (home, home / "password"):
                shutil.chown(path, NOBODY, NOBODY)

        def run(program: str, *argv: str) -> None:
            done = subprocess.run(
                [programs / program, "--pgdata", home / "data", *argv],
                user=NOBODY, group=NOBODY, cwd=home, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{program}: {done.stderr}"

        word = f"--pwfile={home}/password"
        run("initdb", "--auth=scram-sha-256", "--username=tests", word, "--no-sync")
        options = f"-p {port} -h 127.0.0.1 -k {home} -c fsync=off"
        run("pg_ctl", "start", "--wait", "--log", str(home / "log"), "--options", options)
        try:
            yield f"postgresql+psycopg2://tests:{password}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--mode=immediate")
