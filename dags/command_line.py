"""The one line to type that repeats a task by hand, as Airflow's "Rendered Templates" shows it."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence

from tasks.text.redaction import redacted

# What a step reads of its environment. None of these holds a secret.
SHOWN = (
    *("PYTHONPATH", "MLFLOW_TRACKING_URI"),
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_REGION"),
    *("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_PROFILE", "AWS_CA_BUNDLE"),
    *("NO_PROXY", "no_proxy", "KERAS_BACKEND", "TMPDIR"),
)
# What a step reads too, and nobody may see: whoever types the line must have them.
SECRET = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
)


def command_line(
    argv: Sequence[str], names: Iterable[str] = SHOWN, secret: Iterable[str] | None = None
) -> str:
    """An argv as a line for a shell, with the environment that it needs in front.

    A secret is named and taken from the environment of whoever types: the shell says which one is
    missing. So is an address that holds a password; it is shown without.

    Args:
        argv: What runs.
        names: Of the variables to show, as far as this process has them.
        secret: Of those to name; without it, all of `SECRET` that this process has.
    """
    given = {name: shown(os.environ[name], name) for name in names if os.environ.get(name)}
    if secret is None:
        secret = [name for name in SECRET if os.environ.get(name)]
    given |= {name: f'"${{{name}:?}}"' for name in secret}
    return " ".join([*(f"{name}={value}" for name, value in given.items()), shlex.join(argv)])


def shown(value: str, name: str) -> str:
    """The value of a variable as a word for a shell, without a password."""
    bare = redacted(value)
    if bare == value:
        return shlex.quote(value)
    escaped = re.sub(r'([\\"$`}])', r"\\\1", bare)
    return f'"${{{name}:?{escaped}}}"'
