"""Whoever is to be told is told: in the log, by a real web server, by a real mail server."""

import json
import socketserver
import threading
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_string
from email.header import decode_header, make_header
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.engine.run import Run
from tasks.records.verdict import Verdict
from tests.support.webhook import Posted, webhook_server


@pytest.fixture(autouse=True)
def airflow(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    monkeypatch.delenv("MELANOMA_NOTIFY", raising=False)


@pytest.fixture
def webhook() -> Iterator[tuple[str, Posted]]:
    with webhook_server() as served:
        yield served


class Mailbox(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as it takes to receive a mail."""

    received: list[str]

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            command = line[:4].upper()
            if command == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.received.append(b"".join(lines).decode())
            self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 done\r\n")


@pytest.fixture
def mailbox() -> Iterator[tuple[int, list[str]]]:
    received: list[str] = []
    handler = type("Kept", (Mailbox,), {"received": received})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], received
        server.shutdown()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged here, wherever Airflow, once imported, sends it."""
    from dags import notifications

    said: list[str] = []
    monkeypatch.setattr(notifications.log, "info", lambda text, *given: said.append(text % given))
    return said


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("MELANOMA_NOTIFY", "people")
    monkeypatch.setenv("AIRFLOW_CONN_PEOPLE", json.dumps(fields))


def of_task(run: str = "demo-1", task: str = "train", **more: Any) -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="melanoma_retraining", run_id=run, task_id=task, map_index=-1,
        task=SimpleNamespace(subject="Shall version 3 become the champion?"),
    )  # fmt: skip
    return {"ti": ti, **more}


OF_DEADLINE = {
    "dag_run": {"dag_id": "melanoma_retraining", "dag_run_id": "demo-1"},
    "deadline": {"id": "1", "deadline_time": "2026-01-04T03:00:00Z"},
}
EVENTS = {
    "failure": (of_task(exception=ValueError("no room on the disk")), "train failed: no room"),
    "question": (of_task(task="decide"), "Shall version 3 become the champion?"),
    "late": (OF_DEADLINE, "should have ended by 2026-01-04T03:00:00Z"),
}


@pytest.mark.parametrize("event", EVENTS)
def test_without_a_connection_an_event_is_told_in_the_log(event: Any, log: list[str]) -> None:
    from dags.notifications import Notify

    context, said = EVENTS[event]
    Notify(event)(context)
    (told,) = log
    assert said in told
    assert told.endswith("/dags/melanoma_retraining/runs/demo-1")


@pytest.mark.parametrize("event", EVENTS)
def test_a_webhook_gets_each_event_as_text(
    event: Any, webhook: tuple[str, Posted], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.notifications import Notify

    address, posted = webhook
    connect(monkeypatch, conn_type="generic", password=f"{address}/good")
    context, said = EVENTS[event]
    Notify(event)(context)

    assert [each.keys() for each in posted] == [{"text"}]
    assert said in posted[0]["text"]
    assert "demo-1" in posted[0]["text"].splitlines()[0]


def test_a_name_in_a_message_makes_no_mention_and_no_second_line(
    webhook: tuple[str, Posted], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.notifications import Notify

    address, posted = webhook
    connect(monkeypatch, conn_type="generic", password=f"{address}/good")
    Notify("failure")(of_task(exception=ValueError("<!channel>\nApproved by all")))

    assert "<" not in posted[0]["text"]
    assert len(posted[0]["text"].splitlines()) == 3


def test_a_mail_goes_to_everybody_that_the_connection_names(
    mailbox: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.notifications import Notify

    port, received = mailbox
    extra = {
        "from_email": "airflow@house.example", "to": "a@house.example, b@house.example",
        "disable_ssl": True, "disable_tls": True,
    }  # fmt: skip
    connect(monkeypatch, conn_type="smtp", host="127.0.0.1", port=port, extra=extra)
    Notify("failure")(of_task(exception=ValueError("<script>")))

    (mail,) = map(message_from_string, received)
    assert mail["To"] == "a@house.example, b@house.example"
    assert str(make_header(decode_header(mail["Subject"]))) == "A task failed: demo-1"
    (part,) = [each for each in mail.walk() if each.get_content_type() == "text/html"]
    body = bytes(part.get_payload(decode=True)).decode()
    assert "train failed: &lt;script&gt;" in body


@pytest.mark.parametrize(
    "fields", [{"conn_type": "generic", "password": "file:///etc/passwd"}, {"conn_type": "smtp"}]
)
def test_a_connection_that_tells_nobody_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from dags.notifications import Notify

    connect(monkeypatch, **fields)
    with pytest.raises(AirflowFailException, match="a connection people with"):
        Notify("question")(EVENTS["question"][0])
    assert "Failed to send notification" in capfd.readouterr().out


def test_a_webhook_that_refuses_is_told_without_its_secret_address(
    webhook: tuple[str, Posted],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from dags.notifications import Notify

    connect(monkeypatch, conn_type="generic", password=f"{webhook[0]}/secret")
    with pytest.raises(OSError, match="403"):
        Notify("question")(EVENTS["question"][0])
    said = capfd.readouterr().out
    assert "403" in said
    assert "/secret" not in said


@pytest.mark.slow
def test_a_verdict_is_told_with_its_reason(
    registered_run: Run, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    from dags.notifications import Notify

    verdict = registered_run.record("gate")
    assert isinstance(verdict, Verdict)
    monkeypatch.setenv("MELANOMA_STORE", registered_run.store.uri)
    Notify("verdict")(of_task(registered_run.name, "gate"))
    Notify("verdict")(of_task("another", "gate"))
    first, second = log
    assert f"{verdict.decision} (policy {verdict.policy.name}" in first
    assert verdict.reason in first
    assert "runs/another holds no verdict" in second


# Who calls it -------------------------------------------------------------------------------------


def test_airflow_tells_of_each_failure_the_verdict_and_a_late_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dags.melanoma_retraining import deadline, steps
    from dags.notifications import Notify

    dag: Any = steps["gate"].dag
    for task in dag.tasks:
        assert [type(each) for each in task.on_failure_callback] == [Notify], task.task_id
        told = [each.event for each in task.on_success_callback if isinstance(each, Notify)]
        assert told == (["verdict"] if task.task_id == "gate" else [])
    assert [alert.interval for alert in dag.deadline] == [timedelta(hours=72)]
    monkeypatch.setenv("MELANOMA_DEADLINE_HOURS", "0.5")
    assert deadline().interval == timedelta(minutes=30)
    monkeypatch.setenv("MELANOMA_DEADLINE_HOURS", "87840")
    assert deadline().interval == timedelta(days=3660)


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "three days", "1e9", "87841"])
def test_a_deadline_that_is_no_time_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, hours: str
) -> None:
    from dags.melanoma_retraining import deadline
    from tasks.errors import BadInput

    monkeypatch.setenv("MELANOMA_DEADLINE_HOURS", hours)
    with pytest.raises(BadInput, match=f"MELANOMA_DEADLINE_HOURS={hours}"):
        deadline()


def test_airflow_can_call_what_the_deadline_names() -> None:
    from airflow.sdk.execution_time.callback_supervisor import execute_callback
    from structlog import get_logger

    from dags.melanoma_retraining import deadline

    late = deadline().callback.serialize()
    kwargs = late["kwargs"] | {"context": OF_DEADLINE}
    assert execute_callback(late["path"], kwargs, Path(), None, get_logger()) == (True, None)
    wrong = execute_callback("dags.notifications.Nothing", kwargs, Path(), None, get_logger())
    assert not wrong[0]
