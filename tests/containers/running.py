"""Tasks in containers, run outside Airflow."""

import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
IMAGE = "melanoma-retraining/data:latest"

_said = threading.local()  # the output of the last container of each thread


def keep_output(container: Any) -> None:
    """Have `execute` know what a container says, whoever reads it."""
    fetch = container.fetch_logs

    def keep(*arguments: Any) -> list[str]:
        _said.lines = fetch(*arguments)
        return list(_said.lines)

    container.fetch_logs = keep


def execute(task: Any) -> list[str]:
    """Run a task to its end; returns the lines of its output."""
    _said.lines = []
    type(task).execute.__wrapped__(task, {})
    return list(_said.lines)
