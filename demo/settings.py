"""Airflow's and MLflow's settings for one machine, each with its reason.

The names are those of Airflow's own configuration reference: [section] option becomes
AIRFLOW__SECTION__OPTION.
"""

import base64
import configparser
import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from demo.airflow_api import ENGINEER, PHYSICIAN
from demo.engine import NETWORK
from demo.place import CODE, Place
from demo.services import Service
from tasks.engine.quiet import UNREPORTED

# Names the demo of a process. Children inherit it, so a process that left its session is found too.
MARK = "MELANOMA_DEMO"
LOGIN = "melanoma"


def airflow_settings(place: Place) -> dict[str, str]:
    """Airflow's settings, without its secrets."""
    home = place.home / "airflow"
    return {
        "AIRFLOW_HOME": str(home),
        # What runs.
        "AIRFLOW__CORE__DAGS_FOLDER": str(CODE / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(CODE / "dags" / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # Each idle worker is a process; the default of 32 costs gigabytes. Three are enough for
        # check_balance beside a step of another DAG, and two cores are no use to more.
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        # A DAG that starts paused would wait for a click for ever.
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        # Who may come in. A page of another site that a browser takes for this one (DNS rebinding)
        # has no login, and so gets nothing, whatever Host it sends.
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(place.airflow_port),
        "AIRFLOW__API__BASE_URL": place.airflow,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        # Both may begin a run and decide; connections and settings are the engineer's.
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ENGINEER}:ADMIN,{PHYSICIAN}:USER",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(place.home)),
        # Workers report to the server through this address; without it they would guess.
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{place.airflow}/execution/",
        # One server process answers a person and three workers easily.
        "AIRFLOW__API__WORKERS": "1",
        # Seconds between looks for work. At the default of 1 a run of ten tasks waits about ten
        # seconds longer; below 0.2 the scheduler itself would take a core from the training.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
        # The DAG files change when a developer edits them, and then their time of change says so.
        # Parsing them again every 30 s would take a core for a second each time.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        # Two files: one process parses them as soon as two would.
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__PRINT_STATS_INTERVAL": "0",
        # A killed scheduler's tasks are noticed after this many seconds, instead of 300.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        # A scheduler looks for the tasks of one that was killed this often, instead of every 300 s.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
        # A worker notices the end of its task only at its next heartbeat. At the default of 5 s it
        # would stay taken that long after every task, however short.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # The line to type that repeats a task must be whole, however long its configuration is.
        "AIRFLOW__CORE__MAX_TEMPLATED_FIELD_LENGTH": "65536",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home / "logs/parsing"),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        # Logs name patients' images: nobody else on this machine reads them.
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
    }


def environment(place: Place) -> dict[str, str]:
    """The environment of every service, and so of every step."""
    local = ("127.0.0.1", "localhost", place.mlflow_host)
    loopback = ",".join(filter(None, (os.environ.get("NO_PROXY"), *local)))
    inherited = {
        name: value
        for name, value in os.environ.items()
        # Another Airflow's or MLflow's settings would mix with these.
        if not name.startswith(("AIRFLOW_", "MLFLOW_", "MELANOMA_MLFLOW_"))
    }
    return {
        **inherited,
        **airflow_settings(place),
        **_secrets(place),
        **(_lock(place) if place.runner == "docker" else {}),
        MARK: str(place.home),
        "PYTHONPATH": str(CODE),
        "MELANOMA_STORE": place.store,
        "MELANOMA_RUNNER": place.runner,
        "MELANOMA_NETWORK": os.environ.get("MELANOMA_NETWORK") or NETWORK,
        "MLFLOW_TRACKING_URI": place.mlflow,
        "NO_PROXY": loopback,  # a proxy of the house cannot reach this machine's own ports
        "no_proxy": loopback,
        # MLflow's background jobs (scorers, prompt optimization) are no use here, and would start
        # eight more processes of 200 MB each.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **UNREPORTED,
    }


def services(place: Place) -> tuple[Service, ...]:
    """The services, in the order of starting.

    There is no triggerer: no task is deferred, and a task that waits for a person waits in the
    database.
    """
    airflow = (sys.executable, "-m", "airflow")
    scheduler = (*airflow, "scheduler", "--skip-serve-logs")  # the server reads them from the disk
    server = (*airflow, "api-server")
    return (
        Service("mlflow", _mlflow(place), f"{place.mlflow}/health"),
        Service("airflow-api-server", server, f"{place.airflow}/api/v2/version"),
        Service("airflow-scheduler", scheduler),
        Service("airflow-dag-processor", (*airflow, "dag-processor")),
        Service("app", _app(place), f"{place.app}/health", _mlflow_password(place)),
    )


def _mlflow(place: Place) -> tuple[str, ...]:
    home = place.home / "mlflow"
    locked = ("--app-name", "basic-auth") if place.runner == "docker" else ()
    hosts = {place.mlflow_host, "127.0.0.1", "localhost"}
    return (
        *(sys.executable, "-m", "mlflow", "server", *locked),
        *("--host", place.mlflow_host, "--port", str(place.mlflow_port), "--workers", "1"),
        # A page of another site that a browser takes for this one (DNS rebinding) is refused.
        *("--allowed-hosts", ",".join(f"{host}:{place.mlflow_port}" for host in sorted(hosts))),
        *("--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}"),
        *("--artifacts-destination", str(home / "artifacts")),
    )


def _app(place: Place) -> tuple[str, ...]:
    # It looks often: a person who has just approved a model waits for the model. Images are kept
    # only where somebody ticks that the patient agreed.
    return (
        *(sys.executable, "-m", "tasks", "serve", "--store", place.store, "--every", "3"),
        "--feedback",
        *("--port", str(place.app_port)),
    )


def _mlflow_password(place: Place) -> dict[str, str]:
    """What logs the app in to an MLflow that asks for a password."""
    if place.runner != "docker":
        return {}
    _lock(place)
    login = configparser.ConfigParser(interpolation=None)
    login.read(mlflow_login(place))
    names = ("mlflow_tracking_username", "mlflow_tracking_password")
    return {name.upper(): login["mlflow"][name] for name in names}


def passwords_file(home: Path) -> Path:
    """The file with the passwords of Airflow's users."""
    return home / "login" / "airflow.json"


def passwords(home: Path) -> dict[str, str]:
    """The password of each of Airflow's users, made once per demo."""
    return _once(passwords_file(home), lambda: {who: _password() for who in (ENGINEER, PHYSICIAN)})


def _password() -> str:
    return secrets.token_urlsafe(12)


def mlflow_login(place: Place) -> Path:
    """The file with MLflow's login and password, of a demo whose steps run in containers."""
    return place.home / "login" / "mlflow"


def _lock(place: Place) -> dict[str, str]:
    """Give MLflow a password, made once per demo: where containers reach it, others may too."""
    file, settings = mlflow_login(place), mlflow_login(place).with_name("server.ini")
    if not settings.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.parent.chmod(0o700)
        password = secrets.token_hex(24)
        file.write_text(
            f"[mlflow]\nmlflow_tracking_username = {LOGIN}\nmlflow_tracking_password = {password}\n"
        )
        # The folder is locked, not the file: a step in a container is another user.
        file.chmod(0o444)
        partial = settings.with_suffix(".partial")
        partial.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
            f"database_uri = sqlite:///{place.home / 'mlflow' / 'users.db'}\n"
            f"admin_username = {LOGIN}\nadmin_password = {password}\n"
        )
        partial.replace(settings)
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(48),  # of forms, not of logins
        "MELANOMA_MLFLOW_CREDENTIALS": str(file),
    }


def _secrets(place: Place) -> dict[str, str]:
    """Keys that Airflow's processes share, made once per demo."""
    return _once(
        place.home / "secrets.json",
        lambda: {
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(48),
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        },
    )


def _once(file: Path, make: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The content of a file of secrets; made if the file does not exist."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.parent.chmod(0o700)
        partial = file.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(make()))
        partial.replace(file)
    return dict(json.loads(file.read_text()))
