"""The part of Kubernetes' API that the place `kubernetes` asks, over real HTTP, and its faults.

Paths, codes and bodies follow the API reference of Kubernetes 1.37 (core/v1: Pod, Event, pods/log).
A pod that is no valid pod is refused, as by the real server. What a pod does is a function of the
test, which runs in a thread as a node would run the pod.
"""

import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from kubernetes_validate import ValidationError, validate

VERSION = "1.37"
POD = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+))?(/log)?")
EVENTS = re.compile(r"/api/v1/namespaces/([^/]+)/events")


def _now() -> datetime:
    return datetime.now(UTC)


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


def expanded(text: str, known: dict[str, str]) -> str:
    """What Kubernetes makes of an argument or the value of a variable, before a container sees it:
    ``$$`` is ``$``, and ``$(NAME)`` is the value of a variable that is known so far.

    Source: third_party/forked/golang/expansion/expand.go of kubernetes/kubernetes.
    """

    def replaced(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else known.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replaced, text)


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.body = {"kind": "Status", "status": "Failure", "code": status}
        self.body |= {"reason": reason, "message": message}
        self.status = status


class NodePod:
    """A pod as its node sees it; a test's function drives it.

    Attributes:
        told_to_end: Set when somebody deletes the pod: the SIGTERM.
        lost: The node does not answer: a deleted pod never goes.
    """

    def __init__(self, cluster: "FakeCluster", body: dict[str, Any]) -> None:
        self.cluster, self.lost = cluster, False
        self.told_to_end = threading.Event()
        self.entries: list[tuple[datetime, bytes]] = []
        self.log_is_whole = False
        body["metadata"] |= {"uid": str(uuid4()), "creationTimestamp": _moment(_now())}
        body["status"] = {"phase": "Pending", "conditions": [], "containerStatuses": []}
        self.body = body

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    def sees(self) -> tuple[list[str], dict[str, str]]:
        """The argv and the environment that the container is started with."""
        container, known = self.body["spec"]["containers"][0], dict[str, str]()
        for each in container["env"]:
            known[each["name"]] = expanded(each["value"], known)
        return [expanded(word, known) for word in container["args"]], known

    @property
    def is_over(self) -> bool:
        return self.body["status"]["phase"] in ("Succeeded", "Failed")

    def says(self, *lines: str | bytes, ends: bool = True) -> None:
        """Print to the log, each line with the time of now."""
        for line in lines:
            text = line.encode() if isinstance(line, str) else line
            with self.cluster.changed:
                self.entries.append((_now(), text + (b"\n" if ends else b"")))
                self.cluster.changed.notify_all()

    def waits(self, reason: str, message: str = "") -> None:
        """The container cannot start."""
        self._state({"waiting": {"reason": reason, "message": message}})

    def runs(self) -> None:
        """The container runs."""
        self._state({"running": {"startedAt": _moment(_now())}}, "Running")

    def ends(self, code: int, reason: str = "", **status: Any) -> None:
        """The container has ended; `status` is what else the cluster says of the pod."""
        reason = reason or ("Error" if code else "Completed")
        ended = {"exitCode": code, "reason": reason, "finishedAt": _moment(_now())}
        with self.cluster.changed:
            self.log_is_whole = True
            self.body["status"] |= status
            self._state({"terminated": ended}, "Failed" if code else "Succeeded")
            if self.told_to_end.is_set() and not self.lost:
                self.cluster.pods.pop(self.name, None)

    def fails(self, reason: str, message: str) -> None:
        """The cluster ended the pod, and says nothing of its container."""
        with self.cluster.changed:
            self.log_is_whole = True
            self.body["status"] |= {"phase": "Failed", "reason": reason, "message": message}
            self.body["status"]["containerStatuses"] = []
            self.cluster.changed.notify_all()

    def condition(self, kind: str, status: str, reason: str, message: str) -> None:
        found = {"type": kind, "status": status, "reason": reason, "message": message}
        self.body["status"]["conditions"].append(found)

    def event(self, reason: str, message: str, kind: str = "Warning") -> None:
        """A warning, or something normal, about the pod."""
        metadata = {"name": f"event-{len(self.cluster.events)}", "namespace": "melanoma"}
        about = {"kind": "Pod", "name": self.name, "uid": self.body["metadata"]["uid"]}
        self.cluster.events.append(
            {
                "metadata": metadata,
                "involvedObject": about,
                "type": kind,
                "reason": reason,
                "message": message,
            }
        )

    def vanishes(self) -> None:
        """The pod is gone, and nobody says why."""
        with self.cluster.changed:
            self.log_is_whole = True
            self.cluster.pods.pop(self.name, None)
            self.cluster.changed.notify_all()

    def _state(self, state: dict[str, Any], phase: str = "Pending") -> None:
        with self.cluster.changed:
            status = {"name": "base", "image": "", "imageID": "", "ready": False, "restartCount": 0}
            self.body["status"]["containerStatuses"] = [status | {"state": state}]
            self.body["status"]["phase"] = phase
            self.cluster.changed.notify_all()


class FakeCluster:
    """The pods of a cluster, and the faults of its API.

    Attributes:
        plays: What a new pod does, in a thread of its own.
        refuses: What the API says to a new pod, instead of taking it; `refusals` times.
        down: The API answers no request: 503, or nothing at all.
        cuts: After how many bytes each connection to a log ends, one after the other. A negative
            number ends the answer in an orderly way, as a proxy does.
        log_faults: The status of each request for a log, one after the other.
        instead_of_logs: What a node says in an answer that is no error, where it has no log.
        loses_answers: How many pods are made without that the one who asked hears of it.
        unauthorized: How many requests meet a token that has run out.
        forbids: Methods that the asker may not use, and whether on a log.
        asked: All requests: method and path.
        peak: Most pods that had not ended, at any one time.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.pods: dict[str, NodePod] = {}
        self.made: list[NodePod] = []
        self.events: list[dict[str, Any]] = []
        self.plays: Callable[[NodePod], None] = lambda pod: None
        self.refuses: Refusal | None = None
        self.refusals = 1_000_000
        self.down = ""
        self.cuts: list[int] = []
        self.log_faults: list[int] = []
        self.instead_of_logs: list[bytes] = []
        self.loses_answers = 0
        self.unauthorized = 0
        self.forbids: set[tuple[str, bool]] = set()
        self.asked: list[tuple[str, str]] = []
        self.peak = 0

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.refuses and self.refusals:
            self.refusals -= 1
            raise self.refuses
        try:
            validate(body, VERSION, strict=True)
        except ValidationError as error:
            raise Refusal(422, "Invalid", error.message) from error
        with self.changed:
            if body["metadata"]["name"] in self.pods:
                name = body["metadata"]["name"]
                raise Refusal(409, "AlreadyExists", f'pods "{name}" already exists')
            pod = NodePod(self, body)
            self.pods[pod.name] = pod
            self.made.append(pod)
            self.peak = max(self.peak, sum(not each.is_over for each in self.pods.values()))
            answer = copy.deepcopy(pod.body)
        threading.Thread(target=self.plays, args=(pod,), daemon=True).start()
        if self.loses_answers:
            self.loses_answers -= 1
            raise ConnectionResetError
        return answer

    def pod(self, name: str) -> NodePod:
        if name not in self.pods:
            raise Refusal(404, "NotFound", f'pods "{name}" not found')
        return self.pods[name]

    def delete(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        with self.changed:
            pod = self.pod(name)
            wanted = (options.get("preconditions") or {}).get("uid")
            if wanted and wanted != pod.body["metadata"]["uid"]:
                raise Refusal(409, "Conflict", "the UID in the precondition does not match")
            grace = options.get("gracePeriodSeconds", 30)
            due = _now() + timedelta(seconds=grace)
            pod.body["metadata"] |= {"deletionTimestamp": _moment(due)}
            pod.told_to_end.set()
            if pod.is_over and not pod.lost:
                del self.pods[name]
            self.changed.notify_all()
            return pod.body

    def selected(self, query: dict[str, str]) -> list[dict[str, Any]]:
        wanted = query.get("fieldSelector", "").removeprefix("involvedObject.uid=")
        return [each for each in self.events if each["involvedObject"]["uid"] == wanted]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _answer(self) -> None:
        cluster = self.server.cluster
        url = urlsplit(self.path)
        cluster.asked.append((self.command, self.path))
        size = int(self.headers.get("Content-Length") or 0)
        given = json.loads(self.rfile.read(size)) if size else {}
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            if cluster.down == "silent":
                self.close_connection = True
                return
            if cluster.unauthorized:
                cluster.unauthorized -= 1
                raise Refusal(401, "Unauthorized", "Unauthorized")
            if (self.command, url.path.endswith("/log")) in cluster.forbids:
                raise Refusal(403, "Forbidden", f"{self.command} is forbidden for airflow")
            if cluster.down:
                raise Refusal(503, "ServiceUnavailable", "the API is being restarted")
            found = POD.fullmatch(url.path)
            if found and found[3]:
                self._log(cluster.pod(found[2]), query)
                return
            self._send(200, self._of_pod(found[2], given) if found else self._events(query))
        except Refusal as refusal:
            self._send(refusal.status, refusal.body)
        except (ConnectionResetError, BrokenPipeError):
            self.close_connection = True

    do_GET = do_POST = do_DELETE = do_PATCH = _answer  # noqa: N815

    def _events(self, query: dict[str, str]) -> dict[str, Any]:
        items = self.server.cluster.selected(query)
        return {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": items}

    def _of_pod(self, name: str | None, given: dict[str, Any]) -> dict[str, Any]:
        cluster = self.server.cluster
        if self.command == "POST":
            return cluster.create(given)
        assert name
        if self.command == "DELETE":
            return cluster.delete(name, given)
        pod = cluster.pod(name)
        if self.command == "PATCH":
            if "json-patch" in self.headers["Content-Type"]:  # a list of changes, and no object
                raise Refusal(400, "BadRequest", "cannot unmarshal object into JSON patch")
            kept = pod.body["metadata"].setdefault("annotations", {})
            kept.update(given["metadata"]["annotations"])
        return pod.body

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _log(self, pod: NodePod, query: dict[str, str]) -> None:
        cluster = self.server.cluster
        if cluster.log_faults and (status := cluster.log_faults.pop(0)):
            raise Refusal(status, "NotFound", "the server could not find the requested resource")
        since = datetime.min.replace(tzinfo=UTC)
        if "sinceSeconds" in query:  # the API passes whole seconds on to the node
            since = _now() - timedelta(seconds=int(query["sinceSeconds"]))
        left = cluster.cuts.pop(0) if cluster.cuts else 0
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        orderly, budget = left < 0, abs(left) or None
        if cluster.instead_of_logs and (said := cluster.instead_of_logs.pop(0)):
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(said), said))
            return
        for data in self._entries(pod, since.replace(microsecond=0), "follow" in query):
            part = data if budget is None else data[:budget]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if part else b"")
            if budget is not None:
                budget -= len(part)
                if budget <= 0:
                    self.close_connection = True
                    if orderly:
                        self.wfile.write(b"0\r\n\r\n")
                    return
        self.wfile.write(b"0\r\n\r\n")

    def _entries(self, pod: NodePod, since: datetime, follow: bool) -> Iterator[bytes]:
        sent = 0
        while True:
            with pod.cluster.changed:
                if follow and sent >= len(pod.entries) and not pod.log_is_whole:
                    pod.cluster.changed.wait(0.2)
                found, whole = pod.entries[sent:], pod.log_is_whole
            for when, text in found:
                if when >= since:
                    yield f"{when:%Y-%m-%dT%H:%M:%S.%f}000Z ".encode() + text
            sent += len(found)
            if not follow or (whole and not found):
                return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    cluster: FakeCluster


@contextmanager
def running() -> Iterator[tuple[FakeCluster, str]]:
    """A cluster, and the address of its API."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.cluster = FakeCluster()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.cluster, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def kubeconfig(address: str) -> dict[str, Any]:
    """How a client reaches the cluster."""
    context = {"cluster": "fake", "user": "airflow"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "contexts": [{"name": "fake", "context": context}],
        "clusters": [{"name": "fake", "cluster": {"server": address}}],
        "users": [{"name": "airflow", "user": {"token": "secret-token"}}],
    }


def until(look: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.01)
    return found
