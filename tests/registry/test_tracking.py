"""The diary of a training in MLflow, also when MLflow goes away."""

import time
from pathlib import Path

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.records.record import Artifact
from tasks.records.trained import Epoch, TrainedRecipe
from tasks.registry.tracking import Diary
from tasks.registry.versions import mlflow_client, tracking_uri
from tests.support.deliveries import run_of

pytestmark = pytest.mark.slow

CLASSES = ("melanoma", "nevus")


def epoch(number: int) -> Epoch:
    return Epoch(
        loss=1 / number,
        accuracy=0.5,
        val_loss=2 / number,
        val_accuracy=0.5,
        val_balanced_accuracy=0.5,
        val_recall=(0.25, None),
        seconds=1.0,
    )


def trained(count: int) -> TrainedRecipe:
    return TrainedRecipe(
        recipe="baseline",
        model=Artifact(key="a", sha256="b", size_bytes=1),
        parameters=1,
        images=1,
        epochs=tuple(map(epoch, range(1, count + 1))),
        best_epoch=count,
        finding="It fits.",
        mlflow_run="",
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    return DirectoryStore(tmp_path_factory.mktemp("tracking"))


def diary(store: DirectoryStore, name: str) -> Diary:
    return Diary(run_of(store, name), "baseline", CLASSES, "work", {"split_sha256": "c"})


def steps(store: DirectoryStore, run_id: str, name: str) -> list[int]:
    with mlflow_client(store) as client:
        return sorted(each.step for each in client.get_metric_history(run_id, name))


def unplug(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on MLflow's address is one where nothing listens."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_what_mlflow_missed_it_gets_when_it_is_back(
    place: DirectoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = trained(3)
    kept = diary(place, "missed")
    with kept.opened():
        kept.log(whole.epochs[:1])
        with monkeypatch.context() as patched:
            unplug(patched)
            kept.log(whole.epochs[:2])
            assert "goes on without MLflow" in caplog.text
    kept.log(whole.epochs[:2])  # too soon to try again
    assert steps(place, kept.id, "val_loss") == [1]

    found = kept.closed(whole)
    assert steps(place, found, "val_loss") == [1, 2, 3]
    assert steps(place, found, "val_recall/melanoma") == [1, 2, 3]
    with mlflow_client(place) as client:
        logged = client.get_run(found)
    assert "val_recall/nevus" not in logged.data.metrics
    assert logged.data.tags["split_sha256"] == "c"
    assert logged.info.status == "FINISHED"


def test_each_store_keeps_its_own_mlflow(tmp_path: Path) -> None:
    first, second = (DirectoryStore(tmp_path / name) for name in ("first", "second"))
    with mlflow_client(first) as client:
        assert client.tracking_uri == tracking_uri(first)
    with mlflow_client(second) as client:
        assert client.tracking_uri == tracking_uri(second) != tracking_uri(first)


def test_a_training_without_mlflow_ends_without_a_run(
    place: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    unplug(monkeypatch)
    kept = diary(place, "without")
    with kept.opened():
        kept.log((epoch(1),))
    assert kept.closed(trained(1)) == ""


def test_a_second_attempt_goes_on_with_the_run_of_the_first(place: DirectoryStore) -> None:
    first, second = diary(place, "again"), diary(place, "again")
    first.log((epoch(1), epoch(2)))
    found = second.closed(trained(3))
    assert found == first.id
    assert steps(place, found, "loss") == [1, 2, 3]
    other = diary(place, "other")
    assert other.closed(trained(3)) != found


def test_the_load_of_the_machine_is_logged(
    place: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    kept = diary(place, "load")
    with kept.opened():
        deadline = time.monotonic() + 20
        while not steps(place, kept.id, "system/cpu_utilization_percentage"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert steps(place, kept.id, "system/cpu_utilization_percentage")
