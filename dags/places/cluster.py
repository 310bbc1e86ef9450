"""Ask a cluster about one pod, with patience while the cluster's API does not answer."""

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from airflow.sdk.exceptions import AirflowException
from kubernetes.client import V1DeleteOptions, V1Preconditions
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from dags.places.pod_logs import SILENCE, pauses
from dags.places.pod_states import of_the_moment, unfollowed

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

OUTAGE = 900.0  # seconds without an answer after which an attempt gives up; its pod goes on
LISTEN = (10, 60)  # seconds to connect and to answer


class Cluster:
    """The pods of one namespace.

    Args:
        client: Makes a new client of the API, with the credentials of now.
        namespace: Namespace of the pods.
    """

    def __init__(self, client: Callable[[], Any], namespace: str) -> None:
        self._make, self.namespace = client, namespace
        self._client: Any = None
        self._unheard = False  # whether the last question may have been heard without an answer

    def create(self, pod: Any) -> Any:
        """The pod as the cluster took it; None if the name is taken.

        Raises:
            ApiException: The cluster refuses the pod.
            AirflowException: It has not answered, or it refuses after an answer that was lost.
        """
        try:
            return self._ask("create_namespaced_pod", body=pod)
        except ApiException as error:
            if _name_is_taken(error):
                return None
            if self._unheard:
                said = message_of(error)
                raise unfollowed(pod.metadata.name, error.status, said) from error
            raise

    def read(self, name: str) -> Any:
        """The pod of a name; None if there is none."""
        try:
            return self._ask("read_namespaced_pod", name=name)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def events_of(self, pod: Any) -> list[Any]:
        """What the cluster tells of a pod; nothing if it does not say."""
        try:
            field = f"involvedObject.uid={pod.metadata.uid}"
            found: list[Any] = self._ask("list_namespaced_event", field_selector=field).items
        except ApiException as error:
            log.warning("The cluster does not tell its events: HTTP %s.", error.status)
            return []
        return found

    def mark(self, pod: Any, name: str) -> None:
        """Write an annotation to a pod, so that later attempts know; a pod that is gone needs
        none."""
        body = {"metadata": {"annotations": {name: "yes"}}}
        try:
            self._ask("patch_namespaced_pod", name=pod.metadata.name, body=body)
        except ApiException as error:
            if error.status != 404:
                raise

    def delete(self, pod: Any, grace: int) -> None:
        """End this very pod, in `grace` seconds; no later one of its name."""
        only = V1Preconditions(uid=pod.metadata.uid)
        body = V1DeleteOptions(preconditions=only, grace_period_seconds=grace)
        try:
            self._ask("delete_namespaced_pod", name=pod.metadata.name, body=body)
        except ApiException as error:
            if error.status not in (404, 409):  # gone, or another pod has the name
                raise

    def open_log(self, pod: Any, container: str, *, follow: bool, since_seconds: int | None) -> Any:
        """An open answer with the log of a pod, a time before each line. Asks once."""
        return self._api().read_namespaced_pod_log(
            name=pod.metadata.name,
            namespace=self.namespace,
            container=container,
            follow=follow,
            since_seconds=since_seconds,
            timestamps=True,
            _preload_content=False,
            _request_timeout=(LISTEN[0], SILENCE),
        )

    # The API -------------------------------------------------------------------------------------

    def _api(self) -> Any:
        if self._client is None:
            self._client = self._make()
        return self._client

    def _ask(self, method: str, **settings: Any) -> Any:
        """Ask until there is an answer.

        Raises:
            ApiException: The cluster refuses.
            AirflowException: It has not answered for OUTAGE seconds.
        """
        said, self._unheard = "", False
        for pause in pauses(OUTAGE):
            try:
                ask = getattr(self._api(), method)
                return ask(namespace=self.namespace, _request_timeout=LISTEN, **settings)
            except ApiException as error:
                if error.status == 401 and said != "HTTP 401":
                    said, self._client = "HTTP 401", None  # a token that was replaced meanwhile
                    continue
                # The other conflicts of a new pod are those of quotas, which many pods change.
                conflict = error.status == 409 and method.startswith("create")
                moment = of_the_moment(error.status, str(error.reason)) or conflict
                if not moment or _name_is_taken(error):
                    raise
                said = f"HTTP {error.status} {message_of(error)}"
                self._unheard |= error.status not in (409, 429)  # which made nothing
            except (HTTPError, OSError) as error:
                said, self._unheard = str(error), True
            log.warning("The cluster does not answer: %s. It is asked again.", said)
            time.sleep(pause)
        raise AirflowException(
            f"The cluster has not answered for {OUTAGE / 60:g} minutes: {said}. The state of the "
            "step is not known; its pod goes on if it runs, and a retry finds it."
        )


def message_of(error: ApiException) -> str:
    """What the cluster said about a question, in one line."""
    return _status_of(error).get("message") or str(error.reason)


def _name_is_taken(error: ApiException) -> bool:
    return error.status == 409 and _status_of(error).get("reason") == "AlreadyExists"


def _status_of(error: ApiException) -> dict[str, str]:
    """The reason and the message of an answer of the API; nothing in that of a proxy."""
    with suppress(ValueError, TypeError, AttributeError, RecursionError):
        found = json.loads(error.body)
        return {name: str(found[name]) for name in ("reason", "message") if found.get(name)}
    return {}
