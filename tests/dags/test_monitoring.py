"""What the DAG of monitoring raises and starts, without an Airflow that runs."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.errors import BadInput
from tasks.monitoring.history import enter
from tasks.monitoring.watch import watched
from tasks.monitoring.watched import Watched
from tests.support.asked import NOON, USUAL, Clinic, asked, reference, traces
from tests.support.webhook import message_of

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


def test_labels_and_a_retraining_both_follow_the_test_and_not_each_other(dag: Any) -> None:
    # A skipped want_labels, of drift that is no news, does not skip the retraining.
    assert dag.tested.downstream_task_ids == {"want_labels", "enough_labels"}
    assert dag.labels.operator.downstream_task_ids == set()
    assert dag.enough.operator.downstream_task_ids == {"retrain"}
    assert dag.retrain.trigger_dag_id == "melanoma_retraining"
    for task in (dag.labels.operator, dag.enough.operator, dag.retrain):
        assert task.trigger_rule == "all_success"  # a skip skips all that follows
    told = list(dag.tested.argv)
    assert told[told.index("--days") + 1] == "{{ params.days }}"
    assert told[told.index("--enough") + 1] == "{{ params.enough }}"
    assert "--starts-retraining" in told
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

    for task in (dag.wanted, dag.enough_labels.function):
        with pytest.raises(AirflowFailException, match="No drift test was entered"):
            task()


@pytest.mark.parametrize("news", [True, False])
def test_a_retraining_starts_where_the_test_says_so_also_on_drift_that_is_no_news(
    dag: Any, entered: Enter, news: bool
) -> None:
    found = entered(DRIFT, news=news, new_labelled=50, starts=True)
    one = dag.enough_labels.function()

    assert one == f"drift-{found.model_sha256[:12]}-{found.until}"
    entered(DRIFT, n=140, new_labelled=55, starts=True)  # a second test of the same hour
    assert dag.enough_labels.function() == one
    assert dag.retrain.trigger_run_id.startswith("{{ ti.xcom_pull(task_ids='enough_labels')")
    assert dag.retrain.skip_when_already_exists


@pytest.mark.parametrize(
    ("clinic", "said", "words"),
    [
        (DRIFT, {"new_labelled": 49}, "drift: 49 lesions .* and 50 are enough"),
        (DRIFT, {"new_labelled": 99, "labelled_then": 50}, "99 lesions .* and 100 are enough"),
        (DRIFT, {"new_labelled": None}, "an unknown number of lesions"),
        (USUAL, {}, "No retraining: none"),
    ],
    ids=["few", "few since", "unknown", "no drift"],
)
def test_a_retraining_is_skipped_with_the_reason(
    dag: Any, entered: Enter, clinic: Clinic, said: dict[str, Any], words: str
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    entered(clinic, starts=False, **said)
    with pytest.raises(AirflowSkipException, match=words):
        dag.enough_labels.function()


@pytest.mark.usefixtures("dag")
def test_people_are_told_what_the_test_said(
    entered: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered(DRIFT, news=True, new_labelled=3)
    text = message_of("drift", "want_labels", monkeypatch)

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
