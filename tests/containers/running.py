"""Tasks in containers, run outside Airflow."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
IMAGE = "melanoma-retraining/data:latest"

_said = threading.local()  # the output of the last container of each thread


def keep_output(container: Any) -> None:
    """Have `execute` know what a container says, whoever reads it."""
    lines_of = container.lines_of

    def keep(chunks: Any) -> Iterator[str]:
        for line in lines_of(chunks):
            _said.lines.append(line.rstrip())
            yield line

    container.lines_of = keep


def execute(task: Any) -> list[str]:
    """Run a task to its end; returns the lines of its output."""
    _said.lines = []
    type(task).execute.__wrapped__(task, {})
    return list(_said.lines)
