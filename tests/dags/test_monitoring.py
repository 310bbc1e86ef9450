"""What the DAG of monitoring raises and starts, without an Airflow that runs."""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.errors import BadInput
from tasks.monitoring.history import enter
from tasks.monitoring.watch import watched
from tasks.monitoring.watched import Watched
from tests.support.asked import NOON, USUAL, Clinic, asked, reference, traces
from tests.support.webhook import webhook_server

Enter = Callable[..., Watched]


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags import melanoma_monitoring

    return melanoma_monitoring


@pytest.fixture
def entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Enters a test of a day into the ledger of the installation's store."""
    store = DirectoryStore(tmp_path)
    monkeypatch.setenv("MELANOMA_STORE", f"{store.uri}/")

    def enter_test(clinic: Clinic = USUAL, n: int = 150, **said: Any) -> Watched:
        rows = asked(traces(n, 5, clinic))
        found = watched(reference(), rows, since=NOON - timedelta(days=7), until=NOON)
        return enter(store, found.model_copy(update=said))

    return enter_test


DRIFT = USUAL.but(format="PNG")


def test_the_test_comes_first_then_labels_then_a_retraining(dag: Any) -> None:
    assert dag.tested.downstream_task_ids == {"want_labels"}
    assert dag.labels.operator.downstream_task_ids == {"enough_labels"}
    assert dag.enough.operator.downstream_task_ids == {"retrain"}
    assert dag.retrain.trigger_dag_id == "melanoma_retraining"
    for task in (dag.labels.operator, dag.enough.operator, dag.retrain):
        assert task.trigger_rule == "all_success"  # a skip skips all that follows
    told = list(dag.tested.argv)
    assert told[told.index("--days") + 1] == "{{ params.days }}"
    assert told[told.index("--enough") + 1] == "{{ params.enough }}"
    assert not {"promote", "rollback", "ask"} & set(dag.tested.dag.task_ids)


def test_new_drift_wants_labels_by_hour(dag: Any, entered: Enter) -> None:
    found = entered(DRIFT, news=True, new_labelled=3)
    said = dag.wanted()
    lesions = [lesion for own in said["lesions_by_hour"].values() for lesion in own]

    assert said["version"] == 3
    assert said["causes"] == list(found.causes)
    assert lesions
    assert set(lesions) == {each.lesion for each in found.label_first}
    assert said["retrain"] is False


@pytest.mark.parametrize(
    ("clinic", "n", "said", "words"),
    [
        (USUAL, 150, {}, "none"),
        (USUAL, 20, {}, "insufficient evidence"),
        (DRIFT, 150, {"news": False}, "drift, as the test before"),
    ],
    ids=["none", "insufficient", "old"],
)
def test_without_new_drift_nothing_is_raised(
    dag: Any, entered: Enter, clinic: Clinic, n: int, said: dict[str, Any], words: str
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    entered(clinic, n, **said)
    with pytest.raises(AirflowSkipException, match=words):
        dag.wanted()


def test_without_any_test_the_task_fails(dag: Any, entered: Enter) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="No drift test was entered"):
        dag.wanted()


@pytest.mark.parametrize(
    ("known", "news", "starts"),
    [(50, True, True), (49, True, False), (None, True, False), (500, False, False)],
)
def test_a_retraining_starts_only_with_enough_new_labels(
    dag: Any, entered: Enter, known: int | None, news: bool, starts: bool
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    entered(DRIFT, news=news, new_labelled=known)
    if starts:
        dag.enough_labels.function()
        return
    with pytest.raises(AirflowSkipException, match="No retraining"):
        dag.enough_labels.function()


@pytest.mark.usefixtures("dag")
def test_people_are_told_what_the_test_said(
    entered: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.notifications import Notify

    entered(DRIFT, news=True, new_labelled=3)
    ti = SimpleNamespace(
        dag_id="melanoma_monitoring", run_id="r", task_id="want_labels", map_index=-1
    )
    with webhook_server() as (address, posted):
        monkeypatch.setenv("MELANOMA_NOTIFY", "people")
        told = {"conn_type": "http", "password": f"{address}/good"}
        monkeypatch.setenv("AIRFLOW_CONN_PEOPLE", json.dumps(told))
        Notify("drift").notify({"ti": ti})
    (message,) = posted
    text = str(message)

    assert "asked about what it did not learn from" in text
    assert "Drift. Version 3 was asked about 150 lesions" in text
    assert "monitoring/drift.html" in text


def test_the_times_can_be_set_and_a_wrong_one_is_told(
    dag: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dag.schedule().expression == "0 5 * * *"
    monkeypatch.setenv("MELANOMA_MONITORING_SCHEDULE", "30 4 * * 1")
    assert dag.schedule().expression == "30 4 * * 1"
    monkeypatch.setenv("MELANOMA_MONITORING_SCHEDULE", "daily")
    with pytest.raises(BadInput, match="MELANOMA_MONITORING_SCHEDULE=daily"):
        dag.schedule()
