"""The command line of the demo: ``python -m demo start`` and ``python -m demo stop``."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import typer
from rich.console import Console

from demo import engine, outcome
from demo.airflow_api import PROMOTION, RETRAINING, Airflow
from demo.defaults import give_defaults
from demo.follow import Look, follow
from demo.place import Place, check_port_is_free, parent_folder, place_from
from demo.services import Started, end, is_step, processes_of, recorded, wait_until_ready
from demo.services import start as start_service
from demo.settings import (
    MARK,
    environment,
    mlflow_login,
    passwords,
    passwords_file,
    services,
)
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Momentary, PipelineError

SECONDS_FOR_STEPS_TO_END = 40

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
# Off a terminal there is no width to fit: wide enough that no table breaks its lines.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@app.command()
def start() -> None:
    """Start Airflow, MLflow and the web app, deliver images, retrain, and show the outcome.

    The environment may hold IMAGES and METADATA (folders; without them, lesions are drawn), CONFIG
    (JSON), AIRFLOW_PORT, MLFLOW_PORT, APP_PORT, DEMO_HOME, RUNNER (process or docker) and STORE
    (s3://bucket/prefix).
    """
    with _explained():
        place = place_from()
        if place.runner == "docker":
            place = replace(place, mlflow_host=engine.prepare())
        with _alone(place.home.parent):
            _end_others(place)
            standing = _standing(place)
            place = _where_it_stands(place, standing)
            try:
                look = _demonstrate(place, standing)
            except BaseException:
                _undo(place, standing)
                raise
    raise typer.Exit(0 if look.state == "success" else 1)


@app.command()
def stop() -> None:
    """End every process that `start` started. Files stay."""
    with _explained():
        ended = 0
        for home in _homes(parent_folder()):
            _end_unfinished_runs(home, _standing_at(home))
            ended += end(home, MARK)
            engine.remove_containers(home)
        console.print(f"{ended} processes ended." if ended else "Nothing of the demo is running.")


def _demonstrate(place: Place, standing: dict[str, Started]) -> Look:
    if not standing:
        _prepare(place)
    console.print(give_defaults(place), soft_wrap=True, markup=False)
    if standing:
        console.print(
            f"Airflow, MLflow and the app are running: {place.airflow}, {place.mlflow}, {place.app}"
        )
    else:
        standing_now = _start_services(place)
    _deliver(place)
    if place.runner == "docker" and not place.s3:
        engine.give_to_containers(Path(place.store))
    if not standing:
        for started in standing_now:
            wait_until_ready(started)
        console.print(f"Airflow: {place.airflow}   MLflow: {place.mlflow}   App: {place.app}")
    _say_who_may_log_in(place)
    airflow = Airflow(place.airflow, passwords_file(place.home))
    for dag in (RETRAINING, PROMOTION):
        airflow.wait_for_dag(dag)
    if not standing:
        _forget_earlier_runs(airflow)
    # Letters, digits and '-' only: the run has the same name in Airflow and in the store.
    name = time.strftime("demo-%Y%m%d-%H%M%S")
    given = place.config.model_dump(mode="json", exclude_unset=True)
    run_id = airflow.trigger(RETRAINING, given, name)
    console.print(f"Run {run_id}: {airflow.page(RETRAINING, run_id)}\n", soft_wrap=True)
    look = follow(airflow, open_store(place.store), run_id, name, console)
    _conclude(place, airflow, look, name)
    return look


def _prepare(place: Place) -> None:
    """Check the ports, and make the folders."""
    check_port_is_free(place.mlflow_port, "MLFLOW_PORT", "MLflow", place.mlflow_host)
    check_port_is_free(place.airflow_port, "AIRFLOW_PORT", "Airflow")
    check_port_is_free(place.app_port, "APP_PORT", "The web app")
    _lock_up(place.home)
    for folder in ("airflow", "mlflow", "run", "store"):
        (place.home / folder).mkdir(parents=True, exist_ok=True)
    _stands_in(place).write_text(_where(place))


def _start_services(place: Place) -> list[Started]:
    settings = environment(place)
    console.print("Starting Airflow, MLflow and the web app ...")
    passwords(place.home)  # before Airflow would make some of its own
    first, *others = services(place)
    mlflow = start_service(first, place.home, settings)
    _run(place, "airflow", "db", "migrate", log="airflow-db")
    return [mlflow, *(start_service(service, place.home, settings) for service in others)]


def _deliver(place: Place) -> None:
    images = place.images
    if images is None:
        images = place.home / "SYNTHETIC"
        if not images.exists():
            console.print("Drawing SYNTHETIC lesions ...")
            _run(place, "tasks", "synthesize", "--to", str(images), log="synthesize")
    options = ["--store", place.store, "--images", str(images)]
    options += ["--metadata", str(place.metadata)] if place.metadata else []
    console.print(f"Delivering the images of {images} ...")
    _run(place, "tasks", "deliver", *options, log="deliver")
    _deliver_external(place)


def _deliver_external(place: Place) -> None:
    """Deliver what models are judged on and never learn from: a second clinic."""
    name, images = "", place.external
    if images:
        name = re.sub(r"[^a-z0-9_-]+", "-", images.name.casefold()).strip("-_") or "external"
    elif place.images is None:
        name, images = "second-clinic", place.home / "SYNTHETIC second clinic"
        if not images.exists():
            drawing = ["synthesize", "--second-clinic", "--seed", "21", "--to", str(images)]
            _run(place, "tasks", *drawing, log="synthesize")
    if images is None:
        console.print("No external set: give EXTERNAL=folder to judge models elsewhere too.")
        return
    console.print(f"Delivering the external set {name}: {images} ...")
    options = ["--store", place.store, "--external", name, "--images", str(images)]
    _run(place, "tasks", "deliver", *options, log="deliver")


def _conclude(place: Place, airflow: Airflow, look: Look, name: str) -> None:
    store = open_store(place.store)
    outcome.show(store, name, place.config, console)
    for task in look.tasks.values():
        if task.state == "failed":
            lines = airflow.log(RETRAINING, name, task.id, task.tries, task.map_index)[-25:]
            console.print(f"\n[red]{task.name} failed.[/] The end of its log:")
            console.print("\n".join(f"  {line}" for line in lines), markup=False, soft_wrap=True)
    seconds = sum(task.seconds or 0 for task in look.tasks.values())
    console.print(f"\nRun {name}: {look.state}, {seconds:.0f} s in its tasks.")
    addresses = {
        "Airflow": airflow.page(RETRAINING, name),
        "MLflow": place.mlflow,
        "Report": f"{place.store}/runs/{name}/report.html",
        "App": place.app,
    }
    if look.tasks["register"].state == "success":
        addresses["Decide"] = f"{place.airflow}/required_actions"
    for what, lies_at in addresses.items():
        console.print(f"  {what:<8} {lies_at}", soft_wrap=True)  # whole, to be clicked
    _say_who_may_log_in(place)
    if place.runner == "docker":
        console.print(f"MLflow's login and password: {mlflow_login(place)}", soft_wrap=True)
    console.print("Airflow, MLflow and the app stay up; `make stop` ends them.")


def _say_who_may_log_in(place: Place) -> None:
    for user, password in passwords(place.home).items():
        console.print(f"  Airflow's login: {user}   password: {password}", markup=False)


def _lock_up(home: Path) -> None:
    """Lock the folder for other users, also folders that an earlier version left open."""
    if home.is_dir() and home.stat().st_mode & 0o077:
        for folder, folders, files in os.walk(home):
            for path in (Path(folder, name) for name in (*folders, *files)):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode & 0o700)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)


# What stands, and its end ------------------------------------------------------------------------


def _standing(place: Place) -> dict[str, Started]:
    """The services of this demo if all are alive; otherwise none, and the rest is ended."""
    standing = _standing_at(place.home)
    whole = {service.name for service in services(place)} <= standing.keys()
    if whole and _same_place(place):
        return standing
    if standing:
        _end_unfinished_runs(place.home, standing)
    if end(place.home, MARK):
        changed = "Another RUNNER or STORE" if whole else "A part of the demo had ended"
        console.print(f"{changed}; starting everything anew.")
    engine.remove_containers(place.home)
    return {}


def _same_place(place: Place) -> bool:
    """Whether the services were started for this runner and this store."""
    file = _stands_in(place)
    return file.exists() and file.read_text() == _where(place)


def _stands_in(place: Place) -> Path:
    return place.home / "run" / "place"


def _where(place: Place) -> str:
    return f"{place.runner} {place.store} {place.mlflow_host}"


def _standing_at(home: Path) -> dict[str, Started]:
    return {name: started for name, started in recorded(home).items() if started.alive}


def _where_it_stands(place: Place, standing: dict[str, Started]) -> Place:
    """The place, with the ports of the running services. Raises `BadInput` for other ports."""
    if not standing:
        return place
    return replace(
        place,
        airflow_port=_port_of(standing["airflow-api-server"], "AIRFLOW_PORT"),
        mlflow_port=_port_of(standing["mlflow"], "MLFLOW_PORT"),
        app_port=_port_of(standing["app"], "APP_PORT"),
    )


def _port_of(started: Started, variable: str) -> int:
    port = urlsplit(started.page or "").port or 0
    if os.environ.get(variable) not in (None, "", str(port)):
        raise BadInput(
            "The demo is running on another port.",
            expected=f"{variable}={port}, or none",
            received=f"{variable}={os.environ[variable]}",
            do="`make stop` first",
        )
    return port


def _end_others(place: Place) -> None:
    """End the demo with the other kind of images, because it may hold the ports and the memory."""
    for home in _homes(place.home.parent):
        if home != place.home and _standing_at(home):
            _end_unfinished_runs(home, _standing_at(home))
            end(home, MARK)
            engine.remove_containers(home)
            console.print(f"Ended the demo in {home}; its files stay there.")


def _homes(parent: Path) -> list[Path]:
    return [parent / "images", parent / "synthetic"]


def _undo(place: Place, standing: dict[str, Started]) -> None:
    """End the services that this call started; if they ran before, end only its run."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if standing:
        _end_unfinished_runs(place.home, standing)
        _wait_for_steps(place)
    elif ended := end(place.home, MARK):
        engine.remove_containers(place.home)
        console.print(f"\nEnded the {ended} processes that were started.")


def _end_unfinished_runs(home: Path, standing: dict[str, Started]) -> None:
    """Let Airflow end its runs itself, so that its database does not list them as running."""
    server = standing.get("airflow-api-server")
    if server and server.page:
        address = server.page.removesuffix("/api/v2/version")
        with suppress(PipelineError):
            airflow = Airflow(address, passwords_file(home), seconds=5)
            for run_id in airflow.end_runs(RETRAINING):
                console.print(f"Ended run {run_id}.")


def _wait_for_steps(place: Place) -> None:
    """Wait until no step runs any more: Airflow ends steps at their next heartbeat."""
    deadline = time.monotonic() + SECONDS_FOR_STEPS_TO_END
    while any(is_step(process) for process in processes_of(place.home, MARK)):
        if time.monotonic() > deadline:
            console.print("A step still runs; `make stop` ends it.")
            return
        time.sleep(0.3)


def _forget_earlier_runs(airflow: Airflow) -> None:
    """Mark runs that were killed with their Airflow as failed; they would block the next run."""
    for run_id in airflow.end_runs(RETRAINING):
        console.print(f"Run {run_id} was killed earlier; marked it as failed.")


# This process ------------------------------------------------------------------------------------


def _run(place: Place, module: str, *options: str, log: str) -> None:
    """Run a command to its end.

    Raises:
        BadInput, Momentary: The command failed; the error holds the last lines of its output.
    """
    path = place.home / "logs" / f"{log}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", module, *options],
            env=environment(place),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        said = "\n".join(path.read_text(errors="replace").splitlines()[-20:])
        raise Momentary(f"`{module} {' '.join(options)}` failed ({path}):", log=said)


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Hold the lock of the demo, because two demos at once would start everything twice."""
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                "Another `make demo` is running.",
                expected="one at a time in a folder",
                received=f"{parent} is locked",
                do="wait for it, end it with Ctrl-C, or give another folder: DEMO_HOME=folder",
            ) from None
        yield


@contextmanager
def _explained() -> Iterator[None]:
    """Turn errors into messages and exit codes, and SIGTERM and SIGHUP into Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    os.umask(0o077)  # only this user may read databases and patients' images, also in services
    try:
        yield
    except PipelineError as error:
        console.print(f"\n{error}", markup=False, style="red", soft_wrap=True)
        raise typer.Exit(error.exit_code) from None
    except OSError as error:
        console.print(f"\nThe demo cannot use {error.filename}: {error.strerror}.", style="red")
        raise typer.Exit(BadInput.exit_code) from None
    except KeyboardInterrupt:
        console.print("Interrupted.")
        raise typer.Exit(130) from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    app(prog_name="python -m demo")
