"""The whole pipeline, pod after pod, on a real S3 server: each pod as the operator renders it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dags.exit_codes import raise_for
from tasks.config import Retraining
from tasks.engine.run import open_run
from tasks.engine.storage import open_store
from tasks.intake.deliver import deliver
from tasks.intake.synthesize import synthesize
from tasks.pipeline import PIPELINE
from tests.support import kubernetes_place
from tests.support.campaigns import found
from tests.support.deliveries import WHOLE as SMALL
from tests.support.environments import of_a_container
from tests.support.paths import ROOT
from tests.support.podman import Ended, Podman, need_images, need_podman
from tests.support.servers import S3Server, mlflow_server

STEPS = [step.name for step in PIPELINE]
BEFORE_TRAINING = STEPS[: STEPS.index("train")]
# Training repeats bit by bit where cores and libraries are equal. Evidence holds times.
REPEATABLE = STEPS[: STEPS.index("register")]
LONG = SMALL | {"recipes": ["residual"], "residual_epochs": 16, "checkpoint_minutes": 0}


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    need_podman()
    need_images()
    return Podman(tmp_path_factory.mktemp("podman"))


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server of this machine."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


class Place:
    """One store on the S3 server, and pods that work on it.

    Attributes:
        stores: Addresses with the same delivery: for pods, and for processes.
        secrets: Those of the cluster.
    """

    def __init__(self, podman: Podman, server: S3Server, folder: Path) -> None:
        self.podman, self.server = podman, server
        login = (
            f"[default]\naws_access_key_id = {server.access_key}\n"
            f"aws_secret_access_key = {server.secret_key}\n"
        )
        self.secrets = {
            "melanoma-store": {"credentials": login},
            "melanoma-mlflow": {"credentials": "[mlflow]\n"},
        }
        synthesize(folder / "images", scale=0.2)
        buckets = [server.new_bucket() for _ in range(2)]
        deliver(open_store(f"s3://{buckets[0]}/melanoma"), folder / "images")
        client = server.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=buckets[0]):
            for each in page["Contents"]:
                source = {"Bucket": buckets[0], "Key": each["Key"]}
                client.copy_object(Bucket=buckets[1], Key=each["Key"], CopySource=source)
        self.stores = [f"s3://{bucket}/melanoma" for bucket in buckets]

    def pod(self, step: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
        options = ("--run", f"{self.stores[0]}/runs/{name}", "--config", json.dumps(config))
        return kubernetes_place.pod_of(kubernetes_place.task(step, *options))

    def do(self, step: str, name: str, config: dict[str, Any]) -> Ended:
        return self.podman.run(self.pod(step, name, config), self.secrets)

    def record(self, step: str, name: str, store: int = 0) -> Any:
        return open_run(f"{self.stores[store]}/runs/{name}", Retraining()).record(step)

    def checkpoints(self, name: str) -> list[str]:
        listed = open_store(self.stores[0]).list(f"runs/{name}/train/")
        return [entry.key for entry in listed if entry.key.endswith(".npz")]


@pytest.fixture(scope="module")
def place(
    podman: Podman, radosgw: S3Server, mlflow: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    kubernetes_place.place(tmp_path_factory.mktemp("airflow"))
    images = {
        f"MELANOMA_IMAGE_{kind.upper()}": podman.load(f"melanoma-retraining/{kind}:latest")
        for kind in ("data", "train")
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in radosgw.environment.items():
            patch.setenv(name, value)
        addresses = {"AWS_ENDPOINT_URL": radosgw.endpoint, "MLFLOW_TRACKING_URI": mlflow}
        kubernetes_place.set_up(patch, MELANOMA_IMAGES="", **images, **addresses)
        yield Place(podman, radosgw, tmp_path_factory.mktemp("place"))


@pytest.fixture(autouse=True)
def logged_in(clean_environment: None, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with a clean environment; this is what the test's own process needs."""
    for name, value in place.server.environment.items():
        monkeypatch.setenv(name, value)


def by_process(step: str, store: str) -> None:
    options = ["--run", f"{store}/runs/same", "--config", json.dumps(SMALL)]
    argv = [sys.executable, "-m", "tasks", step, *options]
    subprocess.run(argv, cwd=ROOT, env=of_a_container(), check=True, capture_output=True)


def test_every_step_runs_as_a_pod_within_its_limits_and_gives_the_record_of_a_process(
    place: Place,
) -> None:
    rows = {}
    for row in PIPELINE:
        ended = place.do(row.name, "same", SMALL)
        raise_for(ended.code, ended.lines[-1])  # as Airflow judges it
        host = ended.facts["HostConfig"]
        assert host["Memory"] == row.memory_mb << 20
        assert host["CpuQuota"] / host["CpuPeriod"] == row.cpus
        assert host["ReadonlyRootfs"] is True
        made = place.record(row.name, "same")
        assert made is not None
        assert made.provenance.image in place.podman.images
        same = "not asked"
        if row.name in REPEATABLE:
            by_process(row.name, place.stores[1])
            other = place.record(row.name, "same", store=1)
            assert made.content_hash == other.content_hash, row.name
            same = "yes"
        rows[row.name] = {
            "exit code": ended.code,
            "seconds": round(ended.seconds, 1),
            "memory limit, MiB": host["Memory"] >> 20,
            "cores": row.cpus,
            "record equal to a process's": same,
        }
    found("pods", rows)


def test_a_pod_that_is_evicted_in_mid_training_goes_on_from_its_checkpoint(place: Place) -> None:
    """Once with a word before, as a drained node does, and once without, as one that dies."""
    for step in BEFORE_TRAINING:
        assert place.do(step, "evicted", LONG).code == 0
    codes = []
    for ending in (("stop", "--time", "20"), ("kill",)):
        pod = place.pod("train", "evicted", LONG)
        before = set(place.checkpoints("evicted"))
        try:
            container = place.podman.begin(pod, place.secrets)
            deadline = time.monotonic() + 300
            while set(place.checkpoints("evicted")) <= before:
                assert time.monotonic() < deadline, place.podman("logs", container)
                time.sleep(0.1)
            place.podman(*ending, container)
            codes.append(place.podman.ended(container).code)
        finally:
            place.podman.remove(pod)
        assert place.checkpoints("evicted")
        assert place.record("train", "evicted") is None
    last = place.do("train", "evicted", LONG)
    resumed = [line for line in last.lines if "Resumed in epoch" in line]

    assert (codes, last.code) == ([75, 137], 0)
    assert resumed
    assert place.record("train", "evicted") is not None
    said = resumed[0].partition("Resumed ")[2]
    found("pods", {"a training, evicted twice": {"exit code": "75, 137, 0", "resumed": said}})
