"""Give a container its credentials, as files that only this container can read.

Credentials come from Airflow connections or from secret files of the machine. A container gets them
as the file that the library reads. So they appear in no argv, environment, rendered template or
log, and the engine's description of the container shows only a path.

The environment of Airflow's processes may hold

- MELANOMA_STORE_CONNECTION: id of a connection whose login and password are the key and secret of
  S3 (``aws_session_token`` in its extra); or AWS_SHARED_CREDENTIALS_FILE, in AWS's format
- MELANOMA_MLFLOW_CONNECTION: id of a connection with the login and password of MLflow; or
  MELANOMA_MLFLOW_CREDENTIALS, a file in the format of ``~/.mlflow/credentials``

``{step}`` in any of them stands for the name of the step, so each step can have its own: with
MELANOMA_STORE_CONNECTION=store_{step}, ``ingest`` logs in with the connection ``store_ingest``.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from configparser import ConfigParser, Error, RawConfigParser
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from docker.types import Mount

MEMORY = Path("/dev/shm")
HOME = "/tmp"  # of the images


@dataclass(frozen=True)
class Kind:
    """One kind of credentials: their source, and the place where their library reads them.

    Attributes:
        connection: Variable with the id of an Airflow connection.
        file: Variable with the path of a secret file.
        path: Path of the file inside a container.
        section: Section of the file.
        login, password: Names of login and password in the file.
        parser: Parser with which the library reads the file.
        variables: Variables from which the library reads login and password instead.
    """

    connection: str
    file: str
    path: str
    section: str
    login: str
    password: str
    parser: type[RawConfigParser]
    variables: tuple[str, str]


STORE = Kind(
    "MELANOMA_STORE_CONNECTION",
    "AWS_SHARED_CREDENTIALS_FILE",
    "/run/secrets/aws-credentials",
    "default",
    "aws_access_key_id",
    "aws_secret_access_key",
    RawConfigParser,
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)
MLFLOW = Kind(
    "MELANOMA_MLFLOW_CONNECTION",
    "MELANOMA_MLFLOW_CREDENTIALS",
    f"{HOME}/.mlflow/credentials",  # MLflow looks nowhere else
    "mlflow",
    "mlflow_tracking_username",
    "mlflow_tracking_password",
    ConfigParser,  # in which "%" has a meaning
    ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
)


def connection_of(kind: Kind, step: str) -> str:
    """Id of the connection of a step; empty if no connection is named."""
    return os.environ.get(kind.connection, "").replace("{step}", step)


def secret_file(kind: Kind, step: str) -> str | None:
    """Path of the secret file to mount; None if a connection is named, or neither."""
    if os.environ.get(kind.connection):
        return None
    return os.environ.get(kind.file, "").replace("{step}", step) or None


@contextmanager
def mounts(step: str, *kinds: Kind) -> Iterator[list[Mount]]:
    """The credentials to mount into the container of a step.

    Credentials from connections lie in a folder in memory that only this user can enter. The folder
    is deleted when the context ends; a started container keeps its mounts. A container may run as
    another user, who must be able to read the file: so the folder is locked, not the file.

    Raises:
        AirflowFailException: There is no such connection, or its values cannot be stored in a file.
    """
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        found = []
        for kind in kinds:
            if name := connection_of(kind, step):
                file = Path(folder, kind.section)
                file.write_bytes(as_text(kind, name, _values(kind, name)))
                file.chmod(0o444)
                found.append(Mount(kind.path, str(file), type="bind", read_only=True))
            elif given := secret_file(kind, step):
                found.append(Mount(kind.path, given, type="bind", read_only=True))
        yield found


def _values(kind: Kind, name: str) -> dict[str, str]:
    try:
        connection = Connection.get(name)
    except AirflowNotFoundException as error:
        raise _refused(kind, name, "no such connection") from error
    if not connection.login or not connection.password:
        raise _refused(kind, name, "a connection without a login or without a password")
    values = {kind.login: connection.login, kind.password: connection.password}
    extra: dict[str, Any] = connection.extra_dejson
    if kind is STORE and extra.get("aws_session_token"):
        values["aws_session_token"] = str(extra["aws_session_token"])
    return values


def as_text(kind: Kind, name: str, values: Mapping[str, str]) -> bytes:
    """The content of the file, in UTF-8.

    Args:
        name: Id of the connection that the values come from.
        values: Values by their names in the file.

    Raises:
        AirflowFailException: The library would read other values from the file.
    """
    doubled = kind.parser is ConfigParser
    lines = [
        f"{key} = {value.replace('%', '%%') if doubled else value}" for key, value in values.items()
    ]
    text = "\n".join([f"[{kind.section}]", *lines, ""])
    try:
        content = text.encode()
        parser = kind.parser()
        # In a file, "\r" ends a line too.
        parser.read_file(TextIOWrapper(BytesIO(content), encoding="utf-8"))
        read = dict(parser[kind.section])
    except (Error, UnicodeError):
        read = {}
    if read != dict(values):
        raise _refused(kind, name, "a login or password with a line break, or a space at an end")
    return content


def _refused(kind: Kind, name: str, received: str) -> AirflowFailException:
    return AirflowFailException(
        "A step cannot be given its credentials.\n"
        f"  Expected: a connection with login and password, under the id {name}\n"
        f"  Received: {received}\n"
        f"  Do:       `airflow connections add {name}`, or correct {kind.connection}"
    )
