"""What the DAG of promotion asks and takes, without an Airflow that runs."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run, latest_key
from tasks.errors import BadInput, Momentary
from tasks.registry.promotions import append
from tests.support.approvals import question_about


@pytest.fixture(scope="module")
def promotion(tmp_path_factory: pytest.TempPathFactory) -> Any:
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags import melanoma_promotion

    return melanoma_promotion


def context(form: str | None, *events: str) -> Any:
    from dags.assets import CHALLENGER_REGISTERED

    happened = [SimpleNamespace(extra={"run": run}) for run in events]
    return {
        "params": {"run": form},
        "triggering_asset_events": {CHALLENGER_REGISTERED: happened},
    }


def test_no_answer_is_a_rejection(promotion: Any) -> None:
    from dags.decision import TIME_TO_DECIDE

    for task in (promotion.decide, promotion.second):
        assert task.defaults == ["Reject"]
        assert task.response_timeout == TIME_TO_DECIDE


def test_the_form_names_the_run_before_any_event_does(
    promotion: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = str(tmp_path)
    monkeypatch.setenv("MELANOMA_STORE", store)
    events = (f"{store}/runs/a", f"{store}/runs/b")
    assert promotion.named_runs(context(None, *events)) == [f"{store}/runs/b", f"{store}/runs/a"]
    assert promotion.challenger(context(f"{store}/runs/c", *events)) == f"{store}/runs/c"


def test_the_run_that_registered_last_counts_without_an_event_of_its_own(
    promotion: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Airflow names only the first of several events that waited."""
    store = DirectoryStore(tmp_path)
    monkeypatch.setenv("MELANOMA_STORE", store.uri)
    store.replace(latest_key("register"), b'{"run": "last"}')
    first, last = f"{store.uri}/runs/first", f"{store.uri}/runs/last"
    assert promotion.named_runs(context(None, first)) == [last, first]


def test_a_model_that_people_were_asked_about_is_not_asked_about_by_an_event(
    promotion: Any, registered_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    store = DirectoryStore(Path(shutil.copytree(registered_run.store.uri, tmp_path / "store")))
    monkeypatch.setenv("MELANOMA_STORE", store.uri)
    run = f"{store.uri}/runs/{registered_run.name}"
    assert promotion.challenger(context(None, run)) == run
    append(store, "", lambda now: question_about(registered_run))
    with pytest.raises(AirflowSkipException, match="asked about this model before"):
        promotion.challenger(context(None, run))
    assert promotion.challenger(context(run, run)) == run


@pytest.mark.parametrize("run", ["s3://theirs/store/runs/a", "/store/runs/a", "a", None])
def test_a_run_of_another_store_is_refused(
    promotion: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: str | None
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("MELANOMA_STORE", str(tmp_path))
    with pytest.raises(AirflowFailException, match="Expected"):
        promotion.challenger(context(run))


@pytest.mark.usefixtures("promotion")
def test_an_answer_is_written_down_though_the_store_fails_for_a_moment() -> None:
    """Airflow would ask the person again, and forget the answer."""
    from dags.decision import patiently

    outcomes: list[Any] = [Momentary("busy"), Momentary("busy"), "written"]

    def work() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    written: Any = patiently(work, (0, 0, 0))
    assert written == "written"
    outcomes[:] = [Momentary("busy")] * 3
    with pytest.raises(Momentary):
        patiently(work, (0, 0))
    outcomes[:] = [BadInput("no", expected="", received="", do="")]
    with pytest.raises(BadInput):
        patiently(work, (0, 0))


def test_who_acts_is_who_triggered_and_nobody_for_an_event() -> None:
    from dags.person import person_of

    by_hand: Any = {"dag_run": SimpleNamespace(triggering_user_name="anna", run_type="manual")}
    scheduled: Any = {"dag_run": SimpleNamespace(triggering_user_name=None, run_type="scheduled")}
    event: Any = {"dag_run": SimpleNamespace(triggering_user_name=None, run_type="asset_triggered")}
    assert person_of(by_hand).in_words == "anna (Airflow)"
    assert person_of(scheduled).in_words == "nobody (schedule)"
    assert person_of(event).in_words == "nobody (event)"
