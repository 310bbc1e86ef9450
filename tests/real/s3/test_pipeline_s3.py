"""The whole pipeline on a real S3 server, as a terminal runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.config import Retraining
from tasks.engine.run import open_run
from tasks.engine.storage import open_store
from tasks.intake.synthesize import synthesize
from tasks.pipeline import PIPELINE
from tasks.records.ingested import Ingested
from tasks.records.record import artifacts_of
from tests.support.deliveries import WHOLE as SMALL
from tests.support.paths import ROOT
from tests.support.records import record_of
from tests.support.servers import S3Server, free_port

on_a_real_s3 = pytest.mark.parametrize("store_uri", ["radosgw"], indirect=True)


def command(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tasks", *argv],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def run_all(store: str, name: str, *more: str, **environment: str) -> dict[str, Any]:
    config = json.dumps(SMALL)
    argv = ["run", "--store", store, "--name", name, "--config", config, "--json", *more]
    done = command(*argv, **environment)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@on_a_real_s3
def test_a_whole_run_on_s3_and_another_on_unchanged_and_on_new_data(
    store_uri: str, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    synthesize(images, scale=0.2)
    mlflow = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}

    first = run_all(store_uri, "first", "--images", str(images), **mlflow)

    assert first["states"] == dict.fromkeys([step.name for step in PIPELINE], "done")
    run = open_run(f"{store_uri}/runs/first", Retraining())
    for step in PIPELINE:
        record = run.record(step.name)
        assert record
        for artifact in artifacts_of(record):
            run.fetch(artifact)
    assert record_of(run, Ingested).synthetic
    assert b"SYNTHETIC" in run.store.read("runs/first/report.html")

    second = run_all(store_uri, "second", **mlflow)

    states = second["states"]
    assert states.pop("register").startswith("halted")  # this very model is a version already
    assert states.pop("validate") == "done"  # against what a model has been judged on since
    assert set(states.values()) == {"reused from first"}

    raw = next(iter(run.store.list("raw/images/")))
    run.store.create(f"{raw.key.rpartition('/')[0]}/new.jpg", run.store.read(raw.key))
    third = run_all(store_uri, "third", "--until", "split", **mlflow)

    assert third["states"] == dict.fromkeys(["ingest", "validate", "split"], "done")
    assert third["records"]["ingest"]["fetched"] == 1


def assert_told_plainly(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@on_a_real_s3
def test_what_is_wrong_with_a_server_is_told_without_a_traceback(
    store_uri: str, radosgw: S3Server
) -> None:
    def ingest(store: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return command("ingest", "--run", f"{store}/runs/first", **environment)

    plain = ("Expected:", "Received:", "Do:")
    assert_told_plainly(ingest(store_uri), 64, "There is nothing to learn from", *plain)
    wrong = ingest(store_uri, AWS_SECRET_ACCESS_KEY="wrong")
    assert_told_plainly(wrong, 64, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY", *plain)
    assert_told_plainly(ingest("s3://no-such-bucket"), 64, "create the bucket", *plain)
    nobody = f"http://127.0.0.1:{free_port()}"
    assert_told_plainly(ingest(store_uri, AWS_ENDPOINT_URL=nobody), 75, nobody)
    assert_told_plainly(ingest(store_uri, AWS_ENDPOINT_URL="nonsense"), 64, "nonsense", *plain)
    left = {entry.key for entry in open_store(store_uri).list("")}
    words = {f"runs/first/ingest/{folder}stopped.json" for folder in ("", "1-of-1/")}
    begun = {"runs/first/started.json", "runs/first/config.json"}
    left = {key for key in left if not key.startswith("runs/first/policy/")}
    assert left <= words | begun  # at most who began it, and why it stopped, and which part
