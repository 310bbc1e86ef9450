"""A web server that keeps what is posted to it, as a chat's incoming webhook would."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

Posted = list[dict[str, Any]]


class Webhook(BaseHTTPRequestHandler):
    """Keeps every JSON object; takes those for ``/good``, and refuses the rest with 403."""

    posted: Posted

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append(json.loads(body))
        self.send_response(200 if self.path == "/good" else 403)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def webhook_server() -> Iterator[tuple[str, Posted]]:
    """Its address, without a path, and what was posted to it so far."""
    posted: Posted = []
    handler = type("Kept", (Webhook,), {"posted": posted})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()


def message_of(event: Any, task: str, patch: pytest.MonkeyPatch) -> str:
    """What people are told when a task of the monitoring succeeds.

    Args:
        event: Kind of event, as `dags.notifications.Notify` takes it.
        task: Id of the task.
        patch: Sets the connection to people, for this test.
    """
    from dags.notifications import Notify

    ti = SimpleNamespace(dag_id="melanoma_monitoring", run_id="r", task_id=task, map_index=-1)
    with webhook_server() as (address, posted):
        patch.setenv("MELANOMA_NOTIFY", "people")
        told = {"conn_type": "http", "password": f"{address}/good"}
        patch.setenv("AIRFLOW_CONN_PEOPLE", json.dumps(told))
        Notify(event).notify({"ti": ti})
    (message,) = posted
    return str(message)
