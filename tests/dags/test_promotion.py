"""What the DAG of promotion asks and takes, without an Airflow that runs."""

import os
from types import SimpleNamespace
from typing import Any

import pytest


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
    for task in (promotion.decide, promotion.second):
        assert task.defaults == ["Reject"]
        assert task.response_timeout == promotion.TIME_TO_DECIDE


def test_the_form_names_the_run_before_the_last_event_does(
    promotion: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELANOMA_STORE", "s3://ours/store")
    assert promotion.challenger(context(None, "s3://ours/store/runs/a")).endswith("/a")
    events = ("s3://ours/store/runs/a", "s3://ours/store/runs/b")
    assert promotion.challenger(context(None, *events)).endswith("/b")
    assert promotion.challenger(context("s3://ours/store/runs/c", *events)).endswith("/c")


@pytest.mark.parametrize("run", ["s3://theirs/store/runs/a", "/store/runs/a", "a", None])
def test_a_run_of_another_store_is_refused(
    promotion: Any, monkeypatch: pytest.MonkeyPatch, run: str | None
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("MELANOMA_STORE", "s3://ours/store")
    with pytest.raises(AirflowFailException, match="Expected"):
        promotion.challenger(context(run))


def test_who_acts_is_who_triggered_and_nobody_for_an_event() -> None:
    from dags.person import person_of

    by_hand: Any = {"dag_run": SimpleNamespace(triggering_user_name="anna", run_type="manual")}
    scheduled: Any = {"dag_run": SimpleNamespace(triggering_user_name=None, run_type="scheduled")}
    event: Any = {"dag_run": SimpleNamespace(triggering_user_name=None, run_type="asset_triggered")}
    assert person_of(by_hand).in_words == "anna (Airflow)"
    assert person_of(scheduled).in_words == "nobody (schedule)"
    assert person_of(event).in_words == "nobody (event)"
