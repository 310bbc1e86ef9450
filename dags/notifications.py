"""Tell people what happened: in the task's log and, if the house wants that, by e-mail or chat.

MELANOMA_NOTIFY is the id of an Airflow connection:

- of type ``smtp``, with ``{"from_email": ..., "to": "a@house.example, b@house.example"}`` in its
  extra: an e-mail to each of these
- of any other type, with the https address of an incoming webhook as its password: the JSON object
  ``{"text": ...}``, which Slack, Mattermost and Rocket.Chat take

A message that cannot be delivered is told in the log, and changes nothing else.
"""

import html
import json
import logging
import os
import urllib.request
from dataclasses import dataclass
from typing import Any, Literal

from airflow.sdk import BaseNotifier, Connection
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from tasks.text.lines import visible

log = logging.getLogger(__name__)

SECONDS_TO_SEND = 10

Event = Literal["verdict", "question", "failure", "late", "drift", "outcome"]
SUBJECTS: dict[Event, str] = {
    "verdict": "The gate has judged a model",
    "question": "A person must decide",
    "failure": "A task failed",
    "late": "A run takes longer than it should",
    "drift": "The model in use is asked about what it did not learn from",
    "outcome": "The model in use breaks what it promised",
}


@dataclass(frozen=True)
class Place:
    """Where something happened: a DAG, its run, and the task, if it was one."""

    dag: str
    run: str
    task: str = ""

    @property
    def page(self) -> str:
        """The address of the run in Airflow."""
        base = conf.get("api", "base_url", fallback="") or ""
        return f"{base.rstrip('/')}/dags/{self.dag}/runs/{self.run}"


class Notify(BaseNotifier):
    """Tells people of one kind of event. A callback of a task, a notifier of a question, and the
    callback of a deadline.

    Args:
        event: What happened.
        context: Airflow's context; a deadline gives a smaller one than a task.
    """

    def __init__(self, event: Event, context: Any = None) -> None:
        super().__init__(context)
        self.event = event

    def notify(self, context: Any) -> None:
        place = place_of(context)
        subject = f"{SUBJECTS[self.event]}: {place.run}"
        text = "\n".join(visible(line) for line in (*self._lines(place, context), place.page))
        log.info("%s\n%s", subject, text)
        if connection := os.environ.get("MELANOMA_NOTIFY"):
            send(connection, visible(subject), text)
            log.info("Sent to the connection %s.", connection)

    def _lines(self, place: Place, context: Any) -> list[str]:
        if self.event == "verdict":
            return said_by_gate(place.run)
        if self.event == "drift":
            return said_by_drift_test()
        if self.event == "outcome":
            return said_by_outcomes()
        if self.event == "failure":
            return [f"{place.task} failed: {context.get('exception') or 'see its log'}"]
        if self.event == "question":
            return [str(getattr(context["ti"].task, "subject", "")) or "See Required Actions."]
        return [f"{place.dag} should have ended by {context['deadline']['deadline_time']}."]


def place_of(context: Any) -> Place:
    """Where an event happened, from the context of a task or of a deadline."""
    if "ti" not in context:
        return Place(context["dag_run"]["dag_id"], context["dag_run"]["dag_run_id"])
    ti = context["ti"]
    part = f"[{ti.map_index}]" if (ti.map_index or -1) >= 0 else ""
    return Place(ti.dag_id, ti.run_id, f"{ti.task_id}{part}")


def said_by_gate(run_id: str) -> list[str]:
    """The verdict of a run, in lines, from its record."""
    # Imported here: every parse of a DAG file would pay for it.
    from dags.argv import address
    from dags.store import record_of
    from tasks.records.verdict import Verdict

    run = address(run_id)
    verdict = record_of(run, "gate")
    if not isinstance(verdict, Verdict):
        return [f"{run} holds no verdict."]
    policy = f"policy {verdict.policy.name}, version {verdict.policy.version}"
    return [f"{verdict.decision} ({policy}). {verdict.reason}", f"Report: {run}/report.html"]


def said_by_drift_test() -> list[str]:
    """The last drift test of the installation's store, in lines."""
    from dags.store import last_drift_test
    from tasks.monitoring.watched import in_words

    store = os.environ.get("MELANOMA_STORE", "").rstrip("/")
    found = last_drift_test(store)
    if found is None:
        return [f"{store} holds no drift test."]
    return [*in_words(found), f"Page: {store}/monitoring/drift.html"]


def said_by_outcomes() -> list[str]:
    """The last look at the released diagnoses of the installation's store, in lines."""
    from dags.store import last_outcomes
    from tasks.monitoring.outcomes import in_words

    store = os.environ.get("MELANOMA_STORE", "").rstrip("/")
    found = last_outcomes(store)
    if found is None:
        return [f"{store} holds no look at released diagnoses."]
    return [*in_words(found), f"Page: {store}/monitoring/outcomes.html"]


def send(connection: str, subject: str, text: str) -> None:
    """Send a message by the connection of this id.

    Raises:
        AirflowFailException: The connection cannot serve.
        OSError: Its server does not answer, or refuses.
    """
    try:
        found = Connection.get(connection)
    except PermissionError as error:
        # Airflow 3.3 lets the callback of a deadline read no connection of its database.
        there = "in the environment of Airflow's processes, as AIRFLOW_CONN_" + connection.upper()
        raise _unfit(connection, f"its values {there}") from error
    if found.conn_type == "smtp":
        _mail(connection, found, subject, text)
        return
    address = found.password or ""
    if not address.startswith(("https://", "http://")):
        raise _unfit(connection, "the address of an incoming webhook as its password")
    # The three characters that begin a mention or a link in Slack's text.
    said = html.escape(f"{subject}\n{text}", quote=False)
    request = urllib.request.Request(
        address,
        data=json.dumps({"text": said}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS_TO_SEND):
        pass


def _mail(name: str, connection: Any, subject: str, text: str) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    to = str(connection.extra_dejson.get("to") or "")
    if not to:
        raise _unfit(name, "'to' in its extra, with the addresses of who is told")
    with SmtpHook(smtp_conn_id=name) as hook:
        body = f"<pre>{html.escape(text)}</pre>"
        hook.send_email_smtp(to=to, subject=subject, html_content=body)


def _unfit(name: str, expected: str) -> AirflowFailException:
    return AirflowFailException(
        "Nobody can be told by this connection.\n"
        f"  Expected: a connection {name} with {expected}\n  Received: none\n"
        f"  Do:       correct the connection, or MELANOMA_NOTIFY"
    )
