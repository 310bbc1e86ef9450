"""Tasks in containers, run outside Airflow."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


WORK = "melanoma-retraining.work"


def eventually(look: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.1)
    return found


def containers_of(engine: Any, command: str, store: Path | str, run: str = "probe") -> list[str]:
    label = f"{WORK}={command} {store}/runs/{run}"
    return [each["Id"] for each in engine.containers(all=True, filters={"label": label})]


class Execution(threading.Thread):
    """A task that runs while a test does something to it.

    Attributes:
        raised: What it ended with, if not well.
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.raised: Exception | None = None
        self.said: Any = []
        self.start()

    def run(self) -> None:
        try:
            self.said = self.work()
        except Exception as error:
            self.raised = error

    def end(self, seconds: float = 60) -> Any:
        self.join(seconds)
        assert not self.is_alive()
        return self.raised
