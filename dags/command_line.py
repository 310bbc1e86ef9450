"""The command line that repeats a task by hand, for Airflow's page "Rendered Templates"."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence

from tasks.engine.person import ONE_PERSON
from tasks.text.redaction import redacted

# Variables that a step reads. None of these holds a secret; some name the file of one.
SHOWN = (
    *("PYTHONPATH", "MLFLOW_TRACKING_URI"),
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_REGION"),
    *("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_PROFILE", "AWS_CA_BUNDLE"),
    *("NO_PROXY", "no_proxy", "KERAS_BACKEND", "TMPDIR", ONE_PERSON),
    *("MELANOMA_SIGNING_KEY", "MELANOMA_SIGNING_PASSPHRASE_FILE", "MELANOMA_PUBLIC_KEY"),
)
# Secret variables that a step reads. The person who types the line must have them.
SECRET = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
)


def command_line(
    argv: Sequence[str], names: Iterable[str] = SHOWN, secret: Iterable[str] | None = None
) -> str:
    """An argv as a line for a shell, preceded by the environment that it needs.

    The line names a secret but takes its value from the environment of the person who types; the
    shell reports a missing one. The same holds for an address with a password.

    Args:
        argv: The command to run.
        names: Names of the variables to show, if this process has them.
        secret: Names of the secret variables; None: all of `SECRET` that this process has.
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
