"""What register leaves in MLflow: figures, readable tags, pages, and the verdict of every run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.errors import Corrupt, Halt, Momentary
from tasks.records.evaluated import Evaluated
from tasks.records.record import sha256
from tasks.records.registered import Registered
from tasks.records.trained import Trained
from tasks.records.verdict import Verdict
from tasks.registry.aliases import mark
from tasks.registry.verdicts import anchor_verdict, key_of
from tasks.registry.versions import (
    CHALLENGER,
    MODEL,
    experiment_id,
    has_run,
    mlflow_client,
    mlflow_module,
    tracking_uri,
)
from tasks.release.evidence import FOLDER, MANIFEST
from tasks.reporting.report import report
from tests.support.deliveries import BEFORE_REGISTER as BEFORE
from tests.support.deliveries import do

pytestmark = pytest.mark.slow


def unplug(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on MLflow's address is one where nothing listens."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def version_of(run: Run) -> Any:
    with mlflow_client(run.store) as client:
        return client.get_model_version(MODEL, "1")


def mlflow_run_of(run: Run) -> Any:
    with mlflow_client(run.store) as client:
        return client.get_run(version_of(run).run_id)


def page_of(run: Run, name: str) -> str:
    with mlflow_client(run.store):
        artifacts = mlflow_module("mlflow.artifacts")
        return str(artifacts.load_text(f"{mlflow_run_of(run).info.artifact_uri}/release/{name}"))


# What people compare ------------------------------------------------------------------------------


def test_a_versions_run_has_the_test_figures_by_which_mlflow_compares_versions(run: Run) -> None:
    evaluated = run.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    figures, metrics = evaluated.figures, mlflow_run_of(run).data.metrics

    assert metrics["test/sensitivity"] == figures.sensitivity.estimate
    assert metrics["test/sensitivity_lower"] == figures.sensitivity.lower
    assert metrics["test/sensitivity_upper"] == figures.sensitivity.upper
    assert metrics["test/specificity"] == figures.specificity.estimate
    assert metrics["test/auc"] == figures.auc.value
    assert metrics["test/balanced_accuracy"] == figures.balanced_accuracy.value


def test_a_version_has_tags_that_a_person_can_read(run: Run) -> None:
    evaluated, tags = run.record("evaluate"), version_of(run).tags
    assert isinstance(evaluated, Evaluated)
    found = evaluated.figures.sensitivity

    assert tags["sensitivity"].startswith(f"{found.successes} of {found.n}, at least ")
    assert tags["policy"] == "smoke, version 1"
    assert tags["data"].startswith("SYNTHETIC")
    assert tags["status"] == "challenger"
    assert "nobody has decided" in tags["status_reason"]


def test_the_card_and_the_report_lie_beside_the_version(run: Run) -> None:
    card = run.store.read(f"runs/{run.name}/{FOLDER}/model_card.html").decode()
    assert page_of(run, "model_card.html") == card
    assert "Verdict of the gate: pass" in page_of(run, "model_card.md")
    page = run.store.read(report(run)).decode()
    assert page_of(run, "report.html") == page


def test_a_report_without_mlflow_is_written_and_the_lack_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unplug(monkeypatch)
    assert b"<html" in run.store.read(report(run))
    assert "in the store, and not in MLflow" in caplog.text


def test_a_report_makes_no_mlflow_where_there_was_none(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = shutil.copytree(run.store.uri, tmp_path / "archive")
    (Path(store) / "mlflow.db").unlink()
    report(Run(DirectoryStore(Path(store)), run.name, run.config))
    assert "this store has none" in caplog.text
    assert not (Path(store) / "mlflow.db").exists()


def test_a_second_attempt_leaves_what_the_first_left(run: Run) -> None:
    """As after a kill between the version and its record."""
    before, first = version_of(run), run.record("register")
    assert isinstance(first, Registered)
    with mlflow_client(run.store) as client:
        client.delete_registered_model_alias(MODEL, CHALLENGER)
        mark(client, MODEL, 1, "rejected", "decided meanwhile")
    run.store.delete(f"runs/{run.name}/register/record.json")
    try:
        again = do(run, "register")
        assert again.content_hash == first.content_hash
        assert again.files == first.files != {}
        assert version_of(run).tags["status"] == "rejected"
        with mlflow_client(run.store) as client:
            assert client.get_model_version_by_alias(MODEL, CHALLENGER).version == before.version
            assert len(client.get_metric_history(before.run_id, "test/auc")) == 1
    finally:
        with mlflow_client(run.store) as client:
            mark(client, MODEL, 1, "challenger", before.tags["status_reason"])


# The verdict, outside the store -------------------------------------------------------------------


def evidence_of(run: Run) -> str:
    return sha256(run.store.read(f"runs/{run.name}/{FOLDER}/{MANIFEST}"))


def refused_run(run: Run, name: str) -> Run:
    """A run of the same training that another policy refuses: one epoch proves nothing."""
    refused = Run(run.store, name, run.config.model_copy(update={"policy": "synthetic"}))
    do(refused, *BEFORE)
    return refused


def test_the_verdict_of_a_refused_run_stands_in_mlflow_too(run: Run) -> None:
    refused = refused_run(run, "unproven")
    for _ in range(2):
        with pytest.raises(Halt, match="Nothing is registered"):
            do(refused, "register")
    verdict, tags = refused.record("gate"), mlflow_run_of(run).data.tags

    assert isinstance(verdict, Verdict)
    assert tags[key_of("verdict", refused)] == verdict.decision != "pass"
    assert tags[key_of("verdict_reason", refused)] == verdict.reason[:2000]
    assert tags[key_of("evidence_sha256", refused)] == evidence_of(refused)
    assert json.loads(tags[key_of("ledger_head", refused)])["number"] >= 1
    assert tags[key_of("verdict", run)] == "pass"  # of the run that shares the training
    assert tags[key_of("evidence_sha256", run)] == evidence_of(run)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_refusal_that_was_forged_into_a_pass_is_not_registered(run: Run, hidden: bool) -> None:
    """Consistently, so that the evidence holds; and with a record that names another MLflow run."""
    name = f"forged-{hidden}"
    refused = refused_run(run, name)
    with pytest.raises(Halt):
        do(refused, "register")
    for step in ("gate", FOLDER):
        shutil.rmtree(Path(run.store.uri, "runs", name, step))
    forged = Run(run.store, name, run.config)  # whose policy lets everything pass
    do(forged, "gate")
    if hidden:
        hide_the_training(forged)
    with pytest.raises(Corrupt, match="was judged before, by other evidence") as caught:
        do(forged, "register")
    assert "pass" in caught.value.received
    assert forged.record("register") is None


def hide_the_training(run: Run) -> None:
    """The record of train names no MLflow run, and all that follow are brought in line."""
    for step in ("train", "evaluate", "gate"):
        folder = Path(run.store.uri, "runs", run.name, step, "record.json")
        content = json.loads(folder.read_text())
        if step == "train":
            for each in content["recipes"]:
                each["mlflow_run"] = ""
            trained = Trained.model_validate(content).content_hash
        else:
            inputs = content["provenance"]["inputs"]
            inputs["train" if step == "evaluate" else "evaluate"] = trained
            if step == "evaluate":
                trained = Evaluated.model_validate(content).content_hash
        folder.write_text(json.dumps(content))


def test_a_refusal_waits_for_mlflow(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever keeps MLflow away for a moment has no verdict to forge against."""
    refused = refused_run(run, "waiting")
    with monkeypatch.context() as patched:
        unplug(patched)
        with pytest.raises(Momentary, match="MLflow at"):
            do(refused, "register")
    with pytest.raises(Halt):
        do(refused, "register")
    assert key_of("verdict", refused) in mlflow_run_of(run).data.tags


def test_a_run_of_the_same_name_in_another_store_is_another_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever copies a store must not take the place of its verdict, on the same training too."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(run.store))
    copy, verdict = Run(DirectoryStore(tmp_path), run.name, run.config), run.record("gate")
    training = mlflow_run_of(run).info.run_id
    assert isinstance(verdict, Verdict)
    with mlflow_client(copy.store) as client:
        for _ in range(2):
            anchor_verdict(client, copy, training, verdict, "1" * 64)
        with pytest.raises(Corrupt, match="was judged before"):
            anchor_verdict(client, copy, training, verdict, "2" * 64)
        anchor_verdict(client, run, training, verdict, evidence_of(run))


def test_a_verdict_in_a_deleted_run_of_mlflow_still_stands(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(run.store))
    other, verdict = Run(DirectoryStore(tmp_path), "deleted", run.config), run.record("gate")
    assert isinstance(verdict, Verdict)
    with mlflow_client(other.store) as client:
        training = client.create_run(experiment_id(client, other.store)).info.run_id
        assert has_run(client, training)
        anchor_verdict(client, other, training, verdict, "1" * 64)
        client.delete_run(training)
        assert not has_run(client, training)
        anew = client.create_run(experiment_id(client, other.store)).info.run_id
        with pytest.raises(Corrupt, match="was judged before"):
            anchor_verdict(client, other, anew, verdict, "2" * 64)
