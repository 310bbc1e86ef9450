"""An Airflow and an MLflow before which registered models lie, and what can go wrong with them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from demo.airflow_api import ENGINEER, PHYSICIAN, PROMOTION, ROLLBACK, Airflow
from demo.place import Place
from demo.services import Service, end, recorded, start, wait_until_ready
from demo.settings import MARK, environment, passwords, passwords_file, services
from tasks.config import Retraining
from tasks.engine.person import VARIABLE, Person
from tasks.engine.run import open_run
from tasks.errors import Halt
from tests.support.deliveries import BEFORE_REGISTER, delivered, do
from tests.support.demo import PASSING, SCHEDULE, Demo
from tests.support.faulty_proxy import Choice, FaultyProxy, faulty
from tests.support.servers import free_port

# Each run of the engineer has registered a version of its own: 1, 2.
RUNS = {1: "first", 2: "second"}


@dataclass(frozen=True)
class House:
    """A demo whose parts can be broken.

    Attributes:
        demo: The demo.
        proxy: What Airflow's tasks reach MLflow through.
        parts: MLflow, and Airflow's processes, by name.
    """

    demo: Demo
    proxy: FaultyProxy
    parts: dict[str, Service]

    def start(self, name: str) -> None:
        wait_until_ready(start(self.parts[name], self.demo.home, self.demo.environment))

    def kill(self, name: str) -> None:
        """Kill a part with all processes that it has started, as a machine that fails does."""
        session = recorded(self.demo.home)[name].pid
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if os.getsid(process.pid) == session:
                    process.send_signal(signal.SIGKILL)

    @contextmanager
    def mlflow_answers(self, choice: Choice) -> Iterator[None]:
        """MLflow has a fault, as `choice` says, while the block lasts."""
        before, self.proxy.choice = self.proxy.choice, choice
        try:
            yield
        finally:
            self.proxy.choice = before

    @contextmanager
    def ledger_is_read_only(self) -> Iterator[None]:
        """No entry can be added to the ledger of promotions while the block lasts."""
        folder = self.demo.home / "store" / "ledger" / "promotions"
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
            yield
        finally:
            while subprocess.run(["umount", folder], check=False, capture_output=True).returncode:
                time.sleep(0.1)  # somebody reads there


@contextmanager
def standing(folder: Path, drawn: Path) -> Iterator[House]:
    """Airflow and MLflow, and a store in which two runs of the engineer have registered a model.

    Args:
        folder: Holds the demo. What an earlier call left there is used again.
        drawn: Folder of drawn lesions.
    """
    home = folder / "synthetic"
    place = Place(home, free_port(), free_port(), None, None, Retraining(), app_port=free_port())
    for name in ("airflow", "mlflow", "store"):
        (home / name).mkdir(parents=True, exist_ok=True)
    passwords(home)
    with faulty(place.mlflow, lambda method, path: None) as proxy:
        settings = environment(place) | {
            "MELANOMA_SCHEDULE": SCHEDULE,
            "MLFLOW_TRACKING_URI": proxy.endpoint,
        }
        logins = passwords_file(home)
        airflow, physician = (
            Airflow(place.airflow, logins),
            Airflow(place.airflow, logins, PHYSICIAN),
        )
        demo = Demo(folder, settings, airflow, physician, first=RUNS[1], mlflow=place.mlflow)
        mlflow, *others = services(place)
        # MLflow answers only under the names that it knows.
        at = mlflow.argv.index("--allowed-hosts") + 1
        hosts = f"{mlflow.argv[at]},{proxy.endpoint.removeprefix('http://')}"
        mlflow = replace(mlflow, argv=(*mlflow.argv[:at], hosts, *mlflow.argv[at + 1 :]))
        house = House(demo, proxy, {each.name: each for each in (mlflow, *others)})
        try:
            house.start(mlflow.name)
            if not (home / "store" / "raw").exists():
                _register(place, drawn)
                migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
                subprocess.run(migrate, env=settings, check=True, capture_output=True)
            for each in others:
                house.start(each.name)
            for dag in (PROMOTION, ROLLBACK):
                airflow.wait_for_dag(dag)
            yield house
        finally:
            end(home, MARK)


def _register(place: Place, drawn: Path) -> None:
    person = Person(name=ENGINEER, how="Airflow", authenticated=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", place.mlflow)
        patch.setenv(VARIABLE, person.model_dump_json())
        store = delivered(drawn, Path(place.store))
        for seed, name in RUNS.items():
            config = Retraining(**(PASSING | {"parts": 1, "epochs": 1, "seed": seed}))
            with suppress(Halt):  # the worse of two challengers is proposed to nobody
                do(open_run(f"{store.uri}/runs/{name}", config), *BEFORE_REGISTER, "register")
