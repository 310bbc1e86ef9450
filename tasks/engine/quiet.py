"""Keep libraries quiet: no chatter in logs, no reports to their makers, messages in one line."""

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
    "tf2onnx": logging.ERROR,  # each pass over the graph of a model
}


# MLflow reads its variable when it is imported and at each use; Great Expectations when imported.
UNREPORTED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
}
# MLflow prints the address of each run that ends, and so the address of its server with the login.
UNPRINTED = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


def report_nothing() -> None:
    """Switch off reports to the makers of libraries.

    Call this before MLflow or Great Expectations is imported. Processes that this one starts
    inherit the settings.
    """
    os.environ.update(UNREPORTED | UNPRINTED)


def quiet_loggers() -> None:
    """Raise the level of loggers whose lines do not help a person."""
    for name, level in CHATTY.items():
        logging.getLogger(name).setLevel(level)


class OneLine(logging.Formatter):
    """Writes each message in one line, whatever its names contain, with a traceback below. Neither
    holds a password of an address."""

    def format(self, record: logging.LogRecord) -> str:
        shown = copy(record)
        if isinstance(record.args, tuple):
            shown.args = tuple(_flat(each) for each in record.args)
        shown.msg, shown.args = visible(redacted(shown.getMessage())), None
        shown.exc_text = None  # text of another formatter, which may hold a password
        return redacted(super().format(shown))


def _flat(argument: Any) -> Any:
    """Join the lines of our own errors; make line breaks in other arguments visible."""
    return " ".join(str(argument).split()) if isinstance(argument, PipelineError) else argument


def in_one_line(library: str) -> None:
    """Give a library's own handlers our format; the formatter of the root does not reach them."""
    for handler in logging.getLogger(library).handlers:
        handler.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s"))


def show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an uncaught exception as Python does, but without passwords."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


@contextmanager
def imports_muted() -> Iterator[None]:
    """Discard standard error during imports.

    TensorFlow's native code writes to file descriptor 2 while it is imported, before its setting
    TF_CPP_MIN_LOG_LEVEL takes effect. A failing import still raises.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
