"""Follow a pod to its end: its log, and its state."""

import time
from collections.abc import Iterator
from typing import Any

from dags.places import pod_states
from dags.places.cluster import Cluster
from dags.places.pod_logs import PodLog
from dags.places.pods import CONTAINER

LOST_AFTER = 300.0  # seconds beyond its grace in which a deleted pod's node must have ended it
TRIES = 10  # to read the rest of a log
PAUSE = 1.0  # seconds between two looks


class Follower:
    """One pod, from when its container runs.

    Attributes:
        pod: The pod as it was last seen; when `lines` has ended, as it is over.
    """

    def __init__(self, cluster: Cluster, pod: Any, log: Any) -> None:
        self._cluster, self.pod, self._log = cluster, pod, log
        self._read = PodLog(self._open, lambda said: log.warning("%s", said))
        self._told = ""

    def lines(self) -> Iterator[str]:
        """The lines of the log, each once, until the pod is over and the log is at its end.

        Raises:
            AirflowException: The pod is gone, or its node is lost.
        """
        while not pod_states.is_over(self.pod):
            yield from self._read.lines(follow=True)
            self._tell_fault()
            self._look()
        yield from self._to_the_end()

    def _to_the_end(self) -> Iterator[str]:
        """What is left of the log of a pod that is over. An answer may end too early and look
        whole, so the end is where two answers end."""
        fruitless, before = 0, self._read.rest
        while fruitless < TRIES:
            brought = False
            for line in self._read.lines(follow=False):
                brought = True
                yield line
            same = not brought and self._read.rest == before and self._read.is_up_to_date
            if same and not self._read.fault:
                yield from self._read.last_line()
                return
            fruitless = 0 if brought else fruitless + 1
            before = self._read.rest
            if self._read.fault:
                time.sleep(PAUSE)
        self._log.warning(
            "The rest of the log could not be read: %s. The exit code counts.",
            self._read.fault or "it ends each time elsewhere",
        )

    def _look(self) -> None:
        found = self._cluster.read(self.pod.metadata.name)
        if found is None or found.metadata.uid != self.pod.metadata.uid:
            raise pod_states.vanished(self.pod)
        self.pod = found
        if not pod_states.is_over(found):
            if pod_states.seconds_overdue(found) > LOST_AFTER:
                raise pod_states.vanished(found)
            time.sleep(PAUSE)

    def _tell_fault(self) -> None:
        fault = self._read.fault
        if fault and not fault.startswith("ReadTimeoutError") and fault != self._told:
            self._log.warning("The log was cut: %s. It is read on.", fault)
        self._told = fault

    def _open(self, *, follow: bool, since_seconds: int | None) -> Any:
        return self._cluster.open_log(
            self.pod, CONTAINER, follow=follow, since_seconds=since_seconds
        )
