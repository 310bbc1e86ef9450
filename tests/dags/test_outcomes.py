"""What the DAG of monitoring does with released diagnoses, without an Airflow that runs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.ledger import Chain, entry_key, next_entry
from tasks.monitoring.counting import of_version
from tasks.monitoring.history import FOLDER, OUTCOMES, history_in
from tests.support.released import MODEL, melanomas, outcomes_of, sealed
from tests.support.webhook import message_of

Enter = Callable[..., None]

BROKEN, KEPT = [False] * 8, [True] * 40
RUN = "scheduled__2026-11-30T05:00:00+00:00"


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags import melanoma_monitoring

    return melanoma_monitoring


@pytest.fixture
def entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Enters a look into the ledger of the installation's store."""
    store = DirectoryStore(tmp_path)
    monkeypatch.setenv("MELANOMA_STORE", f"{store.uri}/")

    def enter(found: list[bool], told_by: str = "") -> None:
        look = outcomes_of(of_version(MODEL, melanomas(found), sealed()), told_by=told_by)
        chain: Chain = history_in(store).chain
        entry = next_entry(chain, OUTCOMES, "", look.model_dump(mode="json"), FOLDER)
        store.create(entry_key(entry.number, FOLDER), entry.data)

    return enter


@pytest.fixture
def tell(dag: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr(dag, "get_current_context", lambda: {"run_id": RUN})
    return lambda: dag.tell_broken_promise.function()


def test_the_look_waits_for_no_drift_test_and_tells_under_the_name_of_its_run(dag: Any) -> None:
    assert dag.followed.upstream_task_ids == set()
    assert dag.followed.downstream_task_ids == {"tell_broken_promise"}
    assert dag.told.operator.trigger_rule == "all_success"
    assert dag.told.operator.downstream_task_ids == set()  # an alarm promotes nothing
    told = list(dag.followed.argv)
    assert told[told.index("--name") + 1] == "{{ request(run_id) }}"
    assert dag.followed.dag.user_defined_macros["request"](RUN) == f"melanoma_monitoring, {RUN}"
    assert [each.event for each in dag.told.operator.on_success_callback] == ["outcome"]


def test_the_run_that_tells_an_alarm_succeeds(
    dag: Any, entered: Enter, tell: Callable[[], None]
) -> None:
    entered(BROKEN, dag.request_of(RUN))
    tell()


@pytest.mark.parametrize(
    ("found", "told_by", "words"),
    [
        (KEPT, "", "kept so far"),
        ([], "", "insufficient evidence"),
        (BROKEN, "melanoma_monitoring, an earlier run", "which melanoma_monitoring, an earlier"),
        (BROKEN, "", "broken"),
    ],
    ids=["kept", "insufficient", "told before", "by hand"],
)
def test_without_a_new_alarm_nobody_is_told(
    entered: Enter, tell: Callable[[], None], found: list[bool], told_by: str, words: str
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    entered(found, told_by)
    with pytest.raises(AirflowSkipException, match=words):
        tell()


def test_the_last_look_counts(dag: Any, entered: Enter, tell: Callable[[], None]) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    entered(BROKEN, dag.request_of(RUN))
    entered(KEPT)  # of another model, after a rollback
    with pytest.raises(AirflowSkipException, match="kept so far"):
        tell()


@pytest.mark.usefixtures("entered")
def test_without_any_look_the_task_fails(tell: Callable[[], None]) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="No look at released diagnoses was entered"):
        tell()


@pytest.mark.usefixtures("dag")
def test_people_are_told_what_is_broken_and_what_they_can_do(
    entered: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered(BROKEN, "this run")
    text = message_of("outcome", "tell_broken_promise", monkeypatch)

    assert "breaks what it promised" in text
    assert "The promise is broken. Version 3 found 0 of 8 released melanomas" in text
    assert "python -m tasks rollback" in text
    assert "melanoma_retraining" in text
    assert "monitoring/outcomes.html" in text


@pytest.mark.usefixtures("dag")
def test_a_store_without_any_look_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dags.notifications import said_by_outcomes

    monkeypatch.setenv("MELANOMA_STORE", str(tmp_path))
    assert "holds no look" in said_by_outcomes()[0]
