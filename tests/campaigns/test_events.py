"""Events of deliveries while a run is on, and a run that is late, in a real Airflow whose steps do
nothing."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.airflow_api import RETRAINING, Airflow
from demo.place import Place
from demo.services import end, start, wait_until_ready
from demo.settings import MARK, environment, passwords, passwords_file, services
from tasks.config import Retraining
from tasks.errors import BadInput
from tests.support.campaigns import found
from tests.support.demo import SCHEDULE, Demo
from tests.support.servers import free_port
from tests.support.webhook import Posted, webhook_server

# Stands in for Python: a step that waits as long as a file lies there; register has no model.
STAND_IN = """#!/bin/sh
while [ "$3" = ingest ] && [ -e "$HELD" ]; do sleep 0.2; done
[ "$3" != register ] || exit 99
"""
SECONDS_TO_BE_LATE = 8


@dataclass(frozen=True)
class House:
    """An Airflow, the file that holds up its runs, and what it told people."""

    airflow: Airflow
    held: Path
    posted: Posted

    def runs(self) -> list[dict[str, Any]]:
        """All runs, the first first."""
        path = f"dags/{RETRAINING}/dagRuns"
        runs: list[dict[str, Any]] = self.airflow.request("GET", path, order_by="id")["dag_runs"]
        return runs

    def state(self, run: str) -> str:
        return self.airflow.state(RETRAINING, run)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("house")
    place = Place(home, free_port(), free_port(), None, None, Retraining(), app_port=free_port())
    stand_in, held = home / "stand-in", home / "held"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    for folder in ("airflow", "store"):
        (home / folder).mkdir()
    passwords(home)
    with webhook_server() as (address, posted):
        people = {"conn_type": "generic", "password": f"{address}/good"}
        settings = environment(place) | {
            "MELANOMA_PYTHON": str(stand_in),
            "HELD": str(held),
            "MELANOMA_SCHEDULE": SCHEDULE,
            "MELANOMA_DEADLINE_HOURS": str(SECONDS_TO_BE_LATE / 3600),
            "MELANOMA_QUIET_SECONDS": "2",
            "MELANOMA_NOTIFY": "people",
            "AIRFLOW_CONN_PEOPLE": json.dumps(people),
        }
        migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(migrate, env=settings, check=True, capture_output=True)
        try:
            airflows = [each for each in services(place) if each.name != "mlflow"]
            for begun in [start(each, home, settings) for each in airflows]:
                wait_until_ready(begun)
            airflow = Airflow(place.airflow, passwords_file(home))
            airflow.wait_for_dag(RETRAINING)
            yield House(airflow, held, posted)
        finally:
            end(home, MARK)


def deliver(house: House, times: int) -> None:
    (asset,) = house.airflow.request("GET", "assets", name_pattern="images_delivered")["assets"]
    for _ in range(times):
        house.airflow.request("POST", "assets/events", {"asset_id": asset["id"], "extra": {}})


def test_fields_that_contradict_each_other_start_nothing(house: House) -> None:
    wrong = {"image_size": 96, "packed_size": 64}
    with pytest.raises(BadInput, match="400: image_size must be at most packed_size"):
        house.airflow.trigger(RETRAINING, wrong, "contradiction")
    path = f"{house.airflow.address}/api/v2/dags/{RETRAINING}/dagRuns"
    stranger = httpx.post(path, json={"logical_date": None, "conf": wrong}, trust_env=False)
    assert stranger.status_code == 401
    assert house.runs() == []


def test_four_deliveries_during_a_run_are_one_run_after_it_and_a_late_run_is_told(
    house: House,
) -> None:
    house.held.touch()
    house.airflow.trigger(RETRAINING, {}, "busy")
    Demo.wait(lambda: house.airflow.tasks(RETRAINING, "busy")["ingest"].state == "running")
    deliver(house, 4)
    last = datetime.now(UTC)
    Demo.wait(lambda: any("should have ended" in each["text"] for each in house.posted), 60)
    # It goes on, and no other begins beside it.
    assert [(run["dag_run_id"], run["state"]) for run in house.runs()] == [("busy", "running")]

    house.held.unlink()
    Demo.wait(lambda: len(house.runs()) > 1, 60)
    after = house.runs()[1]
    assert after["run_type"] == "asset_triggered"
    Demo.wait(lambda: house.state(after["dag_run_id"]) == "success", 60)
    time.sleep(3)
    (_, after) = house.runs()  # and no third
    # Airflow 3.3 names the first event only. The run begins after the last, so it misses no file.
    assert datetime.fromisoformat(after["start_date"]) > last
    found("events", {"four events during a run": {"runs after it": 1}})


def test_ten_deliveries_one_after_the_other_are_taken_by_one_run(house: House) -> None:
    before = len(house.runs())
    raw = house.held.parent / "store" / "raw"
    raw.mkdir(parents=True)
    for number in range(10):
        (raw / f"{number}.jpg").touch()
        last = datetime.now(UTC)
        deliver(house, 1)
        time.sleep(0.5)
    Demo.wait(lambda: len(house.runs()) > before, 60)
    first = house.runs()[before]["dag_run_id"]
    Demo.wait(lambda: house.state(first) == "success", 60)
    path = f"dags/{RETRAINING}/dagRuns/{first}/taskInstances/ingest"
    ingest = house.airflow.request("GET", path)

    # The steps begin after the last delivery. What Airflow starts for the rest finds nothing new.
    assert datetime.fromisoformat(ingest["start_date"]) > last
    time.sleep(3)
    begun = len(house.runs()) - before
    assert begun <= 2
    found("events", {"ten deliveries in 5 s": {"runs that train": 1, "runs in all": begun}})
