"""A demo that stands, its API, and what it is asked to do."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from demo.airflow_api import POLICY, PROMOTION, RETRAINING, Airflow
from demo.place import CODE
from demo.services import is_step, processes_of
from demo.settings import MARK
from tasks.engine.run import read_record
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.records.record import Record
from tasks.registry.promotions import Answer, promotions_in
from tasks.registry.versions import CHAMPION, MODEL

# No scheduled run may start between the test's own, whenever the tests run: half a year away.
SCHEDULE = f"0 0 1 {(time.gmtime().tm_mon + 5) % 12 + 1} *"


# Small enough to train in seconds; with these limits any model passes the gate.
PASSING = {
    "image_size": 32,
    "packed_size": 48,
    "epochs": 2,
    "recipes": ["baseline"],
    "parts": 4,
    "minimum_groups": 3,
    "policy": "smoke",
}


# What no policy lets pass: it has not learned anything, and is judged.
UNTAUGHT = PASSING | {
    "policy": "synthetic",
    "epochs": 1,
    "learning_rate": 1e-9,
    "balance_policy": "none",
}


@dataclass
class Demo:
    """A demo that stands: the lesions that it draws itself, at its own scale.

    Attributes:
        folder: Its DEMO_HOME.
        environment: What `make demo` was called with: no images and no configuration.
        airflow: Its API, for the engineer.
        physician: Its API, for who decides.
        first: Name of the run that `make demo` did.
        said: What `make demo` printed.
    """

    folder: Path
    environment: dict[str, str]
    airflow: Airflow
    physician: Airflow
    first: str = ""
    said: str = ""
    mlflow: str = field(default="", repr=False)

    @property
    def home(self) -> Path:
        return self.folder / "synthetic"

    @property
    def store(self) -> Store:
        return open_store(str(self.home / "store"))

    def record(self, run: str, step: str) -> Record | None:
        return read_record(self.store, run, step)

    def retrain(self, name: str, **config: Any) -> str:
        """Trigger a retraining with the passing configuration, changed; returns its last state."""
        self.airflow.trigger(RETRAINING, PASSING | config, name)
        self.wait(lambda: self.airflow.state(RETRAINING, name) in ("success", "failed"))
        return self.airflow.state(RETRAINING, name)

    def states(self, run: str, dag: str = RETRAINING) -> dict[str, str | None]:
        return {name: task.state for name, task in self.airflow.tasks(dag, run).items()}

    def waiting_promotion(self) -> str:
        """The id of the promotion that waits for a person, once there is one."""
        found: list[str] = []

        def look() -> bool:
            runs = self.airflow.request("GET", f"dags/{PROMOTION}/dagRuns", state="running")
            found[:] = [
                run["dag_run_id"]
                for run in runs["dag_runs"]
                if self.states(run["dag_run_id"], PROMOTION)["decide"] == "awaiting_input"
            ]
            return bool(found)

        self.wait(look)
        self.let_the_worker_report()
        return found[-1]

    @staticmethod
    def let_the_worker_report() -> None:
        """Wait as long as a person reads. Airflow 3.3 asks again if the answer comes before the
        worker that asked has reported back."""
        time.sleep(3)

    def answer_about_policy(self, person: Airflow, run: str, task: str, option: str) -> None:
        """Answer a question about a policy, once it waits for a person."""
        self.wait(lambda: self.states(run, POLICY).get(task) == "awaiting_input")
        self.let_the_worker_report()
        path = f"dags/{POLICY}/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails"
        body = {"chosen_options": [option], "params_input": {"reason": "a test"}}
        person.request("PATCH", path, body)

    def answer(self, promotion: str, option: str) -> dict[str, str | None]:
        """Answer a waiting promotion as a person would; returns its tasks' last states."""
        self.say(self.physician, promotion, option)
        self.wait(lambda: self.airflow.state(PROMOTION, promotion) in ("success", "failed"))
        return self.states(promotion, PROMOTION)

    @staticmethod
    def say(person: Airflow, promotion: str, option: str, reason: str = "a test") -> None:
        """Give an answer in a person's name."""
        path = f"dags/{PROMOTION}/dagRuns/{promotion}/taskInstances/decide/-1/hitlDetails"
        body = {"chosen_options": [option], "params_input": {"reason": reason}}
        person.request("PATCH", path, body)

    def ended(self, dag: str, run: str) -> str:
        """The last state of a run, once it has ended."""
        self.wait(lambda: self.airflow.state(dag, run) in ("success", "failed"))
        return self.airflow.state(dag, run)

    @property
    def last_run(self) -> str:
        path = f"dags/{RETRAINING}/dagRuns"
        runs = self.airflow.request("GET", path, order_by="-start_date")["dag_runs"]
        return str(runs[0]["dag_run_id"])

    @property
    def champion(self) -> int | None:
        """The version that holds the alias champion in MLflow, or None."""
        answer = httpx.get(
            f"{self.mlflow}/api/2.0/mlflow/registered-models/alias",
            params={"name": MODEL, "alias": CHAMPION},
            trust_env=False,
        )
        if answer.status_code != httpx.codes.OK:
            return None
        return int(answer.json()["model_version"]["version"])

    @property
    def answers(self) -> list[Answer]:
        """All answers, also those that do not count."""
        return [each for each in promotions_in(self.store).facts if isinstance(each, Answer)]

    @property
    def step_processes(self) -> list[int]:
        return [process.pid for process in processes_of(self.home, MARK) if is_step(process)]

    @staticmethod
    def wait(done: Callable[[], bool], seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
            time.sleep(0.5)


def run_demo(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``python -m demo start`` or ``stop`` to its end, as make does."""
    return subprocess.run(
        [sys.executable, "-m", "demo", command],
        cwd=CODE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
