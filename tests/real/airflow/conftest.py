"""One demo, with its own Airflow and MLflow on free ports, for all tests of this folder.

The files follow each other by name: the last test of the last one stops the demo.
"""

import os
from collections.abc import Iterator

import pytest

from demo.airflow_api import PHYSICIAN, RETRAINING, Airflow
from demo.settings import passwords_file
from tests.support.demo import SCHEDULE, Demo, run_demo
from tests.support.servers import free_port


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    unset = ("IMAGES", "METADATA", "CONFIG", "MELANOMA_STORE", "STORE", "RUNNER")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {
        "DEMO_HOME": str(folder / "home"),
        "AIRFLOW_PORT": str(free_port()),
        "MLFLOW_PORT": str(free_port()),
        "APP_PORT": str(free_port()),
        "MELANOMA_SCHEDULE": SCHEDULE,
        "MELANOMA_QUIET_SECONDS": "1",
    }
    address = f"http://127.0.0.1:{environment['AIRFLOW_PORT']}"
    logins = passwords_file(folder / "home" / "synthetic")
    airflow, physician = Airflow(address, logins), Airflow(address, logins, PHYSICIAN)
    mlflow = f"http://127.0.0.1:{environment['MLFLOW_PORT']}"
    standing = Demo(folder / "home", environment, airflow, physician, mlflow=mlflow)
    try:
        done = run_demo("start", environment)
        assert done.returncode == 0, done.stdout + done.stderr
        standing.said = done.stdout
        standing.first = airflow.request("GET", f"dags/{RETRAINING}/dagRuns")["dag_runs"][0][
            "dag_run_id"
        ]
        yield standing
    finally:
        run_demo("stop", environment)
