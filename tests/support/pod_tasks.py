"""Tasks of the place `kubernetes`, run outside Airflow against a cluster of `fake_cluster`."""

import threading
import time
from typing import Any

import structlog

from tests.support import fake_cluster, kubernetes_place


class Airflow:
    """Runs tasks and keeps what they logged.

    Attributes:
        lines: Level and text of each line of the last task's log, in order.
        seconds: How long the last task took.
    """

    def __init__(self, cluster: fake_cluster.FakeCluster) -> None:
        self.cluster = cluster
        self.lines: list[tuple[str, str]] = []
        self.seconds = 0.0
        self.task: Any = None

    def run(self, command: str = "split", *options: str) -> Exception | None:
        """What a task ended with; None if well."""
        self.task = kubernetes_place.task(command, *options)
        begun = time.monotonic()
        with structlog.testing.capture_logs() as logged:
            try:
                type(self.task).execute.__wrapped__(self.task, {})
            except Exception as error:
                return error
            finally:
                self.seconds = time.monotonic() - begun
                self.lines = [
                    (line["log_level"], str(line["event"]))
                    for line in logged
                    if not str(line["event"]).startswith(("Building pod", "Pod melanoma-split-"))
                    or line["log_level"] != "info"
                ]
        return None

    def said(self, *, level: str = "info") -> list[str]:
        return [text for found, text in self.lines if found == level]

    def wait_for_a_look(self) -> None:
        """Until somebody has asked for the state of a pod twice."""
        before = len(self.cluster.asked)
        fake_cluster.until(lambda: len(self.cluster.asked) >= before + 2)

    def wait_for_a_log(self) -> None:
        """Until somebody has asked for the log of a pod."""
        fake_cluster.until(lambda: any("/log" in path for _, path in self.cluster.asked))


class Attempt(threading.Thread):
    """An attempt at a task that goes on while a test does something to it."""

    def __init__(self, airflow: Airflow) -> None:
        super().__init__(daemon=True)
        self.airflow = airflow
        self.raised: Exception | None = None
        self.start()

    def run(self) -> None:
        self.raised = self.airflow.run()

    def end(self, seconds: float = 20) -> Exception | None:
        self.join(seconds)
        assert not self.is_alive()
        return self.raised
