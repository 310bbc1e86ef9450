"""Keeping libraries quiet: their chatter out of logs, their reports from their makers, and each
message that people read in one line."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from types import TracebackType
from typing import Any

from tasks.errors import PipelineError
from tasks.text.lines import visible
from tasks.text.redaction import redacted

CHATTY = {
    "tensorflow": logging.ERROR,  # "retracing" warnings about loading a second model
    "mlflow.store.db.utils": logging.WARNING,  # "creating initial database tables"
    "mlflow.system_metrics": logging.WARNING,  # that it starts and stops
    "mlflow.utils.environment": logging.ERROR,  # pip's version is not known, and does not matter
    "great_expectations": logging.WARNING,
    "alembic": logging.WARNING,
    "matplotlib": logging.WARNING,
}


# MLflow looks when it is imported, and again at each use; Great Expectations when it is imported.
UNREPORTED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
}
# MLflow prints the address of each run that ends, and so that of its server, with the login.
UNPRINTED = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


def report_nothing() -> None:
    """Nothing of what is done here is reported to the makers of libraries.

    Must come before MLflow or Great Expectations is imported. The processes that this one starts
    inherit the settings.
    """
    os.environ.update(UNREPORTED | UNPRINTED)


def quiet_loggers() -> None:
    """Raise the level of loggers whose lines say nothing to a person."""
    for name, level in CHATTY.items():
        logging.getLogger(name).setLevel(level)


class OneLine(logging.Formatter):
    """Writes each message in one line, whatever the names in it hold; a traceback below it. No
    password of an address is in either."""

    def format(self, record: logging.LogRecord) -> str:
        shown = copy(record)
        if isinstance(record.args, tuple):
            shown.args = tuple(_flat(each) for each in record.args)
        shown.msg, shown.args = visible(redacted(shown.getMessage())), None
        shown.exc_text = None  # of another formatter, which may have kept a password
        return redacted(super().format(shown))


def _flat(argument: Any) -> Any:
    """The lines of our own errors are joined; what others break a line with is made visible."""
    return " ".join(str(argument).split()) if isinstance(argument, PipelineError) else argument


def in_one_line(library: str) -> None:
    """Let a library's own handlers, which the root's formatter does not reach, write as ours do."""
    for handler in logging.getLogger(library).handlers:
        handler.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s"))


def show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python shows of an exception that nobody caught, without passwords."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


@contextmanager
def imports_muted() -> Iterator[None]:
    """Standard error to nowhere, for imports only.

    TensorFlow's native code writes to file descriptor 2 while it is imported, before any of its
    settings (TF_CPP_MIN_LOG_LEVEL) take hold. A failing import still raises as ever.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
