"""The few requests to Airflow's REST API that a retraining needs."""

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from tasks.errors import BadInput, Momentary

RETRAINING = "melanoma_retraining"
PROMOTION = "melanoma_promotion"
ROLLBACK = "melanoma_rollback"
POLICY = "melanoma_policy"
SECONDS_TO_PARSE = 90
# The users of the demo's Airflow: one who runs it, and one who decides about models.
ENGINEER = "engineer"
PHYSICIAN = "physician"


@dataclass(frozen=True)
class Task:
    """A task of a run: its name, state (None before it is scheduled) and seconds of running.

    A task for one part of a step has the name of the part, such as ``ingest/2-of-4``. In Airflow it
    is a numbered instance of a mapped task.
    """

    id: str
    map_index: int
    name: str
    state: str | None
    seconds: float | None
    tries: int


@dataclass
class Airflow:
    """Airflow at an address, such as ``http://127.0.0.1:8080``.

    Attributes:
        passwords: File with the password of each user, in JSON.
        user: The user that logs in, at the first request.
        seconds: Longest wait for an answer.
    """

    address: str
    passwords: Path
    user: str = ENGINEER
    seconds: float = 30
    _client: httpx.Client | None = field(default=None, repr=False)

    def request(self, method: str, path: str, body: Any = None, **parameters: Any) -> Any:
        """One request.

        Args:
            method: HTTP method.
            path: Path after ``/api/v2/``.
            body: Body, as JSON.
            parameters: Query parameters.

        Raises:
            BadInput: Airflow refused the request.
            Momentary: Airflow cannot be reached, or failed.
        """
        try:
            answer = self._connected().request(
                method, f"/api/v2/{path}", json=body, params=parameters
            )
        except httpx.HTTPError as error:
            raise Momentary(f"Airflow at {self.address} cannot be reached: {error}") from error
        if answer.status_code >= 500:
            raise Momentary(f"Airflow answered {answer.status_code} to {method} {path}.")
        if answer.is_error:
            raise BadInput(
                "Airflow refused a request.",
                expected=f"{method} {path} to be allowed",
                received=f"{answer.status_code}: {_detail(answer)}",
                do="correct what the answer names",
            )
        return answer.json() if answer.content else None

    def wait_for_dag(self, dag: str) -> None:
        """Wait until Airflow has parsed a DAG.

        Raises:
            BadInput: A DAG file cannot be imported.
            Momentary: The DAG was not parsed in time.
        """
        deadline = time.monotonic() + SECONDS_TO_PARSE
        while time.monotonic() < deadline:
            wrong = self.request("GET", "importErrors")["import_errors"]
            if wrong:
                raise BadInput(
                    "Airflow cannot read a DAG file.",
                    expected="files in dags/ that can be imported",
                    received=f"{wrong[0]['filename']}: {wrong[0]['stack_trace'].strip()[-400:]}",
                    do="correct the file",
                )
            if dag in (found["dag_id"] for found in self.request("GET", "dags")["dags"]):
                return
            time.sleep(0.3)
        raise Momentary(f"Airflow did not parse the DAG {dag} within {SECONDS_TO_PARSE} s.")

    def trigger(self, dag: str, conf: dict[str, Any], run_id: str | None = None) -> str:
        """Start a run; returns its id. Raises `BadInput` for a field out of its range."""
        body = {"logical_date": None, "conf": conf, "dag_run_id": run_id}
        return str(self.request("POST", f"dags/{dag}/dagRuns", body)["dag_run_id"])

    def state(self, dag: str, run_id: str) -> str:
        """``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.request("GET", f"dags/{dag}/dagRuns/{run_id}")["state"])

    def tasks(self, dag: str, run_id: str) -> dict[str, Task]:
        path = f"dags/{dag}/dagRuns/{run_id}/taskInstances"
        return {
            _name(found): Task(
                id=found["task_id"],
                map_index=found["map_index"],
                name=_name(found),
                state=found["state"],
                seconds=_seconds(found),
                tries=found["try_number"],
            )
            for found in self.request("GET", path, limit=100)["task_instances"]
        }

    def log(
        self, dag: str, run_id: str, task: str, attempt: int = 1, map_index: int = -1
    ) -> list[str]:
        """The lines of a task's log; for a mapped task, of the instance `map_index`."""
        path = f"dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/logs/{attempt}"
        parameters = {"full_content": "true", "map_index": map_index}
        content = self.request("GET", path, **parameters)["content"]
        return [said for line in content for said in _said(line)]

    def end_runs(self, dag: str) -> list[str]:
        """Mark every unfinished run of a DAG as failed, which ends its tasks; returns their ids."""
        ended = []
        for state in ("queued", "running"):
            for run in self.request("GET", f"dags/{dag}/dagRuns", state=state)["dag_runs"]:
                path = f"dags/{dag}/dagRuns/{run['dag_run_id']}"
                self.request("PATCH", path, {"state": "failed"})
                ended.append(str(run["dag_run_id"]))
        return ended

    def page(self, dag: str, run_id: str) -> str:
        return f"{self.address}/dags/{dag}/runs/{run_id}"

    def _connected(self) -> httpx.Client:
        if self._client is None:
            with httpx.Client(
                base_url=self.address, trust_env=False, timeout=self.seconds
            ) as client:
                token = self._token(client)
            self._client = httpx.Client(
                base_url=self.address,
                trust_env=False,
                timeout=self.seconds,
                headers={"Authorization": f"Bearer {token}"},
            )
        return self._client

    def _token(self, client: httpx.Client) -> str:
        try:
            known = json.loads(self.passwords.read_text())
        except (OSError, ValueError) as error:
            raise BadInput(
                "Nobody can log in to Airflow.",
                expected=f"the passwords of its users in {self.passwords}",
                received=str(error),
                do="`make stop`, delete the file, and `make demo` again",
            ) from None
        login = {"username": self.user, "password": known[self.user]}
        answer = client.post("/auth/token", json=login)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise BadInput(
                f"Airflow refuses the login of {self.user}.",
                expected=f"the password in {self.passwords}, which it read when it started",
                received=str(answer.status_code),
                do="`make stop`, then `make demo` again",
            )
        return str(answer.raise_for_status().json()["access_token"])


def _name(task: dict[str, Any]) -> str:
    if task["map_index"] < 0:
        return str(task["task_id"])
    # Until the task runs, Airflow knows only its number.
    return f"{task['task_id'].removesuffix('_part')}/{task['rendered_map_index']}"


def _seconds(task: dict[str, Any]) -> float | None:
    if task["state"] != "running" or not task["start_date"]:
        return None if task["duration"] is None else float(task["duration"])
    return (datetime.now(UTC) - datetime.fromisoformat(task["start_date"])).total_seconds()


def _said(line: Any) -> list[str]:
    if not isinstance(line, dict):
        return [str(line)]
    errors = line.get("error_detail") or ()
    return [str(line["event"]), *(str(error["exc_value"]) for error in errors)]


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
