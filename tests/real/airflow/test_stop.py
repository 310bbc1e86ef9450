"""What stops: bad input, a run that a person ends, a demo that cannot start, the whole demo."""

import json
import signal
import subprocess
import sys
from typing import Any

import httpx
import psutil
import pytest

from demo.airflow_api import RETRAINING
from demo.place import CODE
from demo.services import processes_of
from demo.settings import MARK
from tasks.errors import BadInput
from tests.support.demo import PASSING, Demo, run_demo
from tests.support.servers import free_port


def test_fields_that_contradict_each_other_start_nothing(demo: Demo) -> None:
    # Each value is within its own range, so Airflow itself would begin a run.
    wrong = PASSING | {"image_size": 96, "packed_size": 64}
    with pytest.raises(BadInput, match="400: image_size must be at most packed_size"):
        demo.airflow.trigger(RETRAINING, wrong, "contradiction")
    with pytest.raises(BadInput, match="404"):
        demo.airflow.state(RETRAINING, "contradiction")
    path = f"{demo.airflow.address}/api/v2/dags/{RETRAINING}/dagRuns"
    stranger = httpx.post(path, json={"logical_date": None, "conf": wrong}, trust_env=False)
    assert stranger.status_code == 401


def test_bad_input_fails_at_once_with_what_to_do_and_no_retry(demo: Demo) -> None:
    # Only the step that sees the lesions can tell.
    assert demo.retrain("bad-input", policy="melanoma", parts=1) == "failed"
    validate = demo.airflow.tasks(RETRAINING, "bad-input")["validate"]
    assert (validate.state, validate.tries) == ("failed", 1)
    text = "\n".join(demo.airflow.log(RETRAINING, "bad-input", "validate"))
    assert "The policy does not fit the data" in text
    assert "there is no retry" in text


def test_delivered_images_start_a_run_and_stopping_it_ends_its_process(demo: Demo) -> None:
    before = demo.store.read("config.json")
    demo.store.replace("config.json", json.dumps(PASSING | {"seed": 11}).encode())
    assets = demo.airflow.request("GET", "assets", name_pattern="images_delivered")["assets"]
    demo.airflow.request("POST", "assets/events", {"asset_id": assets[0]["id"], "extra": {}})

    def running() -> list[dict[str, Any]]:
        path = f"dags/{RETRAINING}/dagRuns"
        found: list[dict[str, Any]] = demo.airflow.request("GET", path, state="running")["dag_runs"]
        return found

    demo.wait(lambda: bool(running() and demo.step_processes))
    begun = running()[0]
    assert begun["run_type"] == "asset_triggered"
    said = "\n".join(demo.airflow.log(RETRAINING, begun["dag_run_id"], "parts"))
    assert '"seed":11' in said  # a run that nobody started has the defaults of the store
    demo.airflow.end_runs(RETRAINING)
    demo.wait(lambda: not demo.step_processes, seconds=60)
    demo.store.replace("config.json", before)


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(demo: Demo) -> None:
    other = demo.environment | {
        "DEMO_HOME": str(demo.folder.parent / "other"),
        "MLFLOW_PORT": str(free_port()),
        "APP_PORT": str(free_port()),
    }
    done = run_demo("start", other)
    port = other["AIRFLOW_PORT"]
    assert done.returncode == BadInput.exit_code
    assert f"Airflow cannot listen on port {port}" in done.stdout
    assert "api_server" in done.stdout  # who holds it
    assert f"AIRFLOW_PORT={int(port) + 1} make demo" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process(demo: Demo, number: signal.Signals) -> None:
    folder = demo.folder.parent / f"interrupted-{number.name}"
    other = demo.environment | {
        "DEMO_HOME": str(folder),
        "AIRFLOW_PORT": str(free_port()),
        "MLFLOW_PORT": str(free_port()),
        "APP_PORT": str(free_port()),
    }
    begun = subprocess.Popen(
        [sys.executable, "-m", "demo", "start"],
        cwd=CODE,
        env=other,
        # What a shell has put into the background, tests too, would go on ignoring SIGINT.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    demo.wait(lambda: bool(processes_of(folder / "synthetic", MARK)), seconds=30)
    begun.send_signal(number)
    assert begun.wait(60) == 130
    assert not processes_of(folder / "synthetic", MARK)
    assert demo.airflow.request("GET", "version")  # and ends nothing of another demo


def test_stop_ends_every_process_and_may_be_repeated(demo: Demo) -> None:
    before = processes_of(demo.home, MARK)
    assert len(before) >= 4  # MLflow, and Airflow's server, scheduler and processor of DAG files
    done = run_demo("stop", demo.environment)
    assert (done.returncode, "processes ended" in done.stdout) == (0, True)
    assert not processes_of(demo.home, MARK)
    assert not any(process.is_running() for process in before)
    ports = {int(demo.environment[name]) for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "APP_PORT")}
    listening = psutil.net_connections("tcp")
    assert not any(
        connection.laddr.port in ports and connection.status == psutil.CONN_LISTEN
        for connection in listening
    )
    again = run_demo("stop", demo.environment)
    assert (again.returncode, again.stdout.strip()) == (0, "Nothing of the demo is running.")
