"""Give a step the keys that it signs and verifies with, as files that only this step can read.

The environment of Airflow's processes may hold

- MELANOMA_SIGNING_CONNECTION: id of a connection whose extra holds ``private_key`` (PEM) and, if
  that is encrypted, ``private_key_passphrase``; ``{step}`` in the id stands for the name of the
  step, so that each step can have its own key
- or MELANOMA_SIGNING_KEY and MELANOMA_SIGNING_PASSPHRASE_FILE, files of the machine
- MELANOMA_PUBLIC_KEY: a file with the public keys whose signatures are accepted too

A key never stands in an environment, an argv, a rendered template or a log; only paths do.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from tasks.engine.signing import KEY, PASSPHRASE, PUBLIC, SECRETS

CONNECTION = "MELANOMA_SIGNING_CONNECTION"
MEMORY = Path("/dev/shm")
# What the extra of a connection calls the content of each file.
OF_CONNECTION = {KEY: "private_key", PASSPHRASE: "private_key_passphrase"}
# Where a container finds each file.
PLACES = {
    KEY: str(PurePosixPath(SECRETS, "signing-key.pem")),
    PASSPHRASE: str(PurePosixPath(SECRETS, "signing-passphrase")),
    PUBLIC: str(PurePosixPath(SECRETS, "public-keys.pem")),
}


def connection_of(step: str) -> str:
    """Id of the connection of a step; empty if no connection is named."""
    return os.environ.get(CONNECTION, "").replace("{step}", step)


@contextmanager
def for_a_process(step: str) -> Iterator[dict[str, str]]:
    """The variables to add to the environment of a process of this machine.

    The files of a connection lie in memory, in a folder that only this user can enter, until the
    context ends. Files that the environment names are used where they are.

    Raises:
        AirflowFailException: There is no such connection, or it holds no key.
    """
    name = connection_of(step)
    if not name:
        yield {}
        return
    with _written(_contents(name), 0o600) as files:
        yield files


@contextmanager
def for_a_container(step: str) -> Iterator[dict[str, str]]:
    """The file on this machine for each variable; `PLACES` says where to mount the file.

    The container may run as another user, who must be able to read copies: so the folder of the
    copies is locked, not the files.

    Raises:
        AirflowFailException: A connection or a file is missing, or holds no key.
    """
    name = connection_of(step)
    named = (PUBLIC,) if name else (KEY, PASSPHRASE, PUBLIC)
    found = _contents(name) if name else {}
    for variable in named:
        if path := os.environ.get(variable):
            try:
                found[variable] = Path(path).read_bytes()
            except OSError as error:
                raise _refused(variable, f"a file {path}", str(error.strerror)) from error
    if not found:
        yield {}
        return
    with _written(found, 0o444) as files:
        yield files


@contextmanager
def _written(contents: dict[str, bytes], mode: int) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        files = {}
        for variable, content in contents.items():
            path = Path(folder, PurePosixPath(PLACES[variable]).name)
            path.touch(0o600)
            path.write_bytes(content)
            path.chmod(mode)
            files[variable] = str(path)
        yield files


def _contents(name: str) -> dict[str, bytes]:
    expected = f"a connection {name} with the PEM of a key as private_key in its extra"
    try:
        extra = Connection.get(name).extra_dejson
    except AirflowNotFoundException as error:
        raise _refused(CONNECTION, expected, "no such connection") from error
    found = {
        variable: str(extra[field]).encode()
        for variable, field in OF_CONNECTION.items()
        if extra.get(field)
    }
    if KEY not in found:
        raise _refused(CONNECTION, expected, "a connection without it")
    return found


def _refused(variable: str, expected: str, received: str) -> AirflowFailException:
    return AirflowFailException(
        "A step cannot be given the key that it signs with.\n"
        f"  Expected: {expected}\n  Received: {received}\n  Do:       correct {variable}"
    )
