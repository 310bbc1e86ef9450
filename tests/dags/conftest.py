"""A web server with the pages of runs, and a run with all that is served beside what is not."""

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tasks.engine.store import Store
from tests.support.page_paths import BUNDLE, NAME, QUOTED, SECRET


@pytest.fixture(scope="module")
def kubernetes_place_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An Airflow of a folder of its own, which the operators of the place are imported with."""
    from tests.support import kubernetes_place

    kubernetes_place.place(tmp_path_factory.mktemp("airflow"))


@pytest.fixture
def kubernetes_settings(kubernetes_place_home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of an installation on Kubernetes in the environment."""
    from tests.support import kubernetes_place

    kubernetes_place.set_up(monkeypatch)


@pytest.fixture
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Tasks of the place `kubernetes`, and a cluster of ours for their pods."""
    from tests.support import fake_cluster, kubernetes_place

    kubernetes_place.place(tmp_path_factory.mktemp("airflow"))
    from dags.places import kubernetes, pod_follow, pod_logs
    from tests.support.pod_tasks import Airflow

    with fake_cluster.running() as (cluster, address), pytest.MonkeyPatch.context() as patch:
        connection = {"kube_config": fake_cluster.kubeconfig(address)}
        fields = {"conn_type": "kubernetes", "extra": connection}
        patch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps(fields))
        kubernetes_place.set_up(patch, MELANOMA_KUBERNETES_CONNECTION="cluster")
        patch.setattr(kubernetes, "LOOK", 0.02)
        patch.setattr(kubernetes, "EVENTS", 0.0)
        patch.setattr(pod_follow, "PAUSE", 0.02)
        patch.setattr(pod_logs, "FIRST_PAUSE", 0.02)
        # Attempts that run side by side put the processors of their logs back in any order.
        processors = structlog.get_config()["processors"]
        before = list(processors)
        yield Airflow(cluster)
        processors[:] = before
        structlog.configure(processors=processors)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    # Importing Airflow writes a configuration file into AIRFLOW_HOME.
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from tests.support import pages

    passwords = tmp_path_factory.mktemp("login") / "passwords.json"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in pages.LOGIN.items():
            patch.setenv(name, value)
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        patch.delenv("AIRFLOW__API__BASE_URL", raising=False)
        yield pages


@pytest.fixture(scope="module")
def address(pages: Any) -> Iterator[str]:
    with pages.served() as found:
        yield found


@pytest.fixture
def run(store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run with all that is served, beside what is not; returns the start of its pages' paths."""
    monkeypatch.setenv("MELANOMA_STORE", store.uri)
    folder = f"runs/{NAME}"
    manifest = {
        "files": {
            path: {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
            for path, data in BUNDLE.items()
        }
    }
    for path, data in BUNDLE.items():
        store.create(f"{folder}/evidence/{path}", data)
    store.create(f"{folder}/evidence/manifest.json", json.dumps(manifest).encode())
    store.create(f"{folder}/report.html", b"<p>report")
    store.create(f"{folder}/quarantine.html", b"<p>quarantine")
    store.create(f"{folder}/validate/a1b2c3d4/data_docs/index.html", b"<p>docs")
    store.create(f"{folder}/validate/a1b2c3d4/data_docs/of/laws table.html", b"<p>laws")
    for key in (
        f"{folder}/raw.json",
        f"{folder}/validate/record.json",
        f"{folder}/validate/a1b2c3d4/quarantine.csv",
        f"{folder}/train/a1b2c3d4/model.keras",
        f"{folder}/train/a1b2c3d4/data_docs/x.html",
        f"{folder}/report.html.bak",
        "runs/report.html",
        "runs/evidence/x.html",
        "raw/report.html",
        "report.html",
        "evidence/x.html",
        "ledger/000001.json",
    ):
        store.create(key, SECRET)
    return f"runs/{QUOTED}"
