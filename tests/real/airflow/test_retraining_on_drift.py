"""The loop is closed: another device is noticed, labels are wanted, and a retraining starts."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.airflow_api import RETRAINING
from tasks.evaluation.traces import read
from tasks.intake.deliver import deliver
from tasks.intake.second_clinic import second_clinic
from tasks.monitoring.history import history_in
from tests.support.demo import Demo

MONITORING = "melanoma_monitoring"
ENOUGH = 10  # new labelled lesions


@pytest.fixture(scope="module", autouse=True)
def nothing_left(demo: Demo) -> Iterator[None]:
    """Leaves no run that a drift test started, whatever becomes of the tests."""
    yield
    demo.airflow.end_runs(RETRAINING)
    demo.wait(lambda: not demo.step_processes, seconds=60)


@pytest.fixture(scope="module")
def app(demo: Demo) -> str:
    """Address of the app, which answers with a model in use: the first one, if there was none."""
    address = f"http://127.0.0.1:{demo.environment['APP_PORT']}"
    if demo.champion is None:
        assert demo.answer(demo.waiting_promotion(), "Approve")["promote"] == "success"
    demo.wait(
        lambda: httpx.get(f"{address}/ready", trust_env=False).json() == {"status": "ready"},
        seconds=60,
    )
    return address


def watched(demo: Demo) -> dict[str, str | None]:
    """The last states of the tasks of a run of the monitoring."""
    run = demo.airflow.trigger(MONITORING, {"days": 2, "enough": ENOUGH})
    assert demo.ended(MONITORING, run) == "success"
    return demo.states(run, MONITORING)


def started_by_drift(demo: Demo) -> list[dict[str, Any]]:
    runs = demo.airflow.request("GET", f"dags/{RETRAINING}/dagRuns")["dag_runs"]
    return [run for run in runs if run["dag_run_id"].startswith("drift-")]


def test_a_second_device_is_found_as_drift_and_labels_are_wanted(demo: Demo, app: str) -> None:
    files = [path.read_bytes() for path in (demo.home / "SYNTHETIC second clinic").rglob("*.jpg")]
    now = datetime.now(UTC)
    turns = cycle(files)

    def keeps_traces() -> bool:
        # The app writes the traces of many answers, or of a minute, at once.
        sent = [("images", ("lesion.jpg", next(turns))) for _ in range(50)]
        httpx.post(
            f"{app}/predict/batch", files=sent, trust_env=False, timeout=60
        ).raise_for_status()
        return len(read(demo.store, now - timedelta(hours=1), now + timedelta(hours=2))) > 50

    demo.wait(keeps_traces, seconds=120)
    states = watched(demo)
    found = history_in(demo.store).tests[-1]
    assert (found.verdict, found.news, found.synthetic) == ("drift", True, True)
    assert "file" in found.moved
    assert found.version == demo.champion
    # Nobody has delivered a label yet.
    assert (states["want_labels"], states["retrain"]) == ("success", "skipped")
    assert (found.new_labelled, started_by_drift(demo)) == (0, [])
    (asset,) = demo.airflow.request("GET", "assets", name_pattern="labels_wanted")["assets"]
    (event,) = demo.airflow.request("GET", "assets/events", asset_id=asset["id"])["asset_events"]
    wanted = [each for hour in event["extra"]["lesions_by_hour"].values() for each in hour]
    assert set(wanted) == {each.lesion for each in found.label_first}
    assert wanted
    page = (demo.home / "store" / "monitoring" / "drift.html").read_text()
    assert "<h2>Drift" in page
    assert "SYNTHETIC" in page


def test_labels_that_come_later_start_one_retraining_with_the_stores_defaults(
    demo: Demo, tmp_path: Path
) -> None:
    second_clinic(tmp_path / "drawn", seed=22, scale=0.05)
    drawn = sorted((tmp_path / "drawn").rglob("*.jpg"))
    for number, path in enumerate(drawn):
        to = tmp_path / "labelled" / path.parent.name / f"SYNTHETIC_09{number:05d}.jpg"
        to.parent.mkdir(parents=True, exist_ok=True)
        path.rename(to)
    deliver(demo.store, tmp_path / "labelled")

    states = watched(demo)
    found = history_in(demo.store).tests[-1]
    assert (found.verdict, found.new_labelled, found.retrain) == ("drift", len(drawn), True)
    assert states["retrain"] == "success"
    (run,) = started_by_drift(demo)
    assert run["run_type"] == "operator_triggered"
    name = run["dag_run_id"]
    demo.wait(lambda: demo.states(name).get("parts") == "success")
    said = "\n".join(demo.airflow.log(RETRAINING, name, "parts"))
    assert '"policy":"synthetic"' in said
    demo.airflow.end_runs(RETRAINING)  # it has begun
    champion = demo.champion

    assert watched(demo)["retrain"] == "skipped"  # drift that lasts starts no second one
    assert len(started_by_drift(demo)) == 1
    assert demo.champion == champion  # and nothing was promoted
