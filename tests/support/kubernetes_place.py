"""The place `kubernetes` in a test: its variables, and the pods that it renders."""

import os
from pathlib import Path
from typing import Any

import pytest

DIGEST = f"sha256:{'a' * 64}"
STORE = "s3://bucket/melanoma"
SETTINGS = {
    "MELANOMA_STORE": STORE,
    "MELANOMA_IMAGES": f"registry.example/melanoma/{{image}}@{DIGEST}",
    "MELANOMA_STORE_SECRET": "melanoma-store",
    "MELANOMA_MLFLOW_SECRET": "melanoma-mlflow",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "AWS_ENDPOINT_URL": "http://s3:8000",
}


def place(home: Path) -> Any:
    """The module of the place."""
    # Importing Airflow writes a configuration file into AIRFLOW_HOME.
    os.environ.setdefault("AIRFLOW_HOME", str(home))
    from dags.places import kubernetes

    return kubernetes


def set_up(patch: pytest.MonkeyPatch, **more: str) -> None:
    """The variables of Airflow's processes; an empty value removes one."""
    for name in [each for each in os.environ if each.startswith("MELANOMA_")]:
        if name != "MELANOMA_RUNNER":
            patch.delenv(name)
    for name, value in (SETTINGS | more).items():
        if value:
            patch.setenv(name, value)
        else:
            patch.delenv(name, raising=False)


def task(command: str, *options: str, **settings: Any) -> Any:
    """A task of the place, with its templates rendered."""
    from dags.places.kubernetes import task_of

    made: Any = task_of(command, *(options or ("--run", f"{STORE}/runs/a")), **settings)
    made.render_template_fields({"task": made})
    return made


def pod_of(made: Any) -> dict[str, Any]:
    """The pod that a task asks the cluster for, as JSON."""
    from kubernetes.client import ApiClient

    found: dict[str, Any] = ApiClient().sanitize_for_serialization(made._made({}))
    return found
