"""What fails between a question and the model in use, against a running Airflow.

Each time: nothing is lost, nothing goes into use twice or by half, and a person is told. The tests
follow each other: the challenger is whichever of two versions is not in use. PROMOTION_HOME names a
folder that keeps what the first test needs, for the next time.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.airflow_api import PROMOTION, ROLLBACK
from demo.place import CODE
from tasks.errors import BadInput
from tasks.registry.promotions import Promotion, Promotions, Rollback, promotions_in
from tasks.registry.versions import CHAMPION, MODEL
from tests.support.campaigns import found
from tests.support.decisions import RUNS, House, standing
from tests.support.missing import need_root

ALIAS = "/registered-models/alias"


@pytest.fixture(scope="module")
def house(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    kept = os.environ.get("PROMOTION_HOME")
    with standing(Path(kept) if kept else tmp_path_factory.mktemp("home"), drawn) as house:
        house.demo.airflow.end_runs(PROMOTION)  # of an earlier campaign
        yield house


def new(name: str) -> str:
    """The id of a run that no earlier campaign in the same home has."""
    return f"{name}-{time.time_ns() // 10**9}"


def question(run: str) -> str:
    return f"melanoma_promotion, {run}"


def ledger(house: House) -> Promotions:
    return promotions_in(house.demo.store)


def challenger(house: House) -> int:
    champion = ledger(house).champion
    return 2 if champion and champion.version == 1 else 1


def put(house: House, run: str) -> int:
    """Put the challenger before people; returns its version."""
    version = challenger(house)
    address = f"{house.demo.home}/store/runs/{RUNS[version]}"
    house.demo.airflow.trigger(PROMOTION, {"run": address}, run)
    return version


def asked(house: House, run: str) -> int:
    version = put(house, run)
    assert house.demo.waiting_promotion() == run
    return version


def approve(house: House, run: str) -> None:
    house.demo.say(house.demo.physician, run, "Approve")


def task(house: House, run: str, name: str, dag: str = PROMOTION) -> str | None:
    return house.demo.states(run, dag)[name]


def until(house: House, run: str, name: str, state: str, dag: str = PROMOTION) -> None:
    house.demo.wait(lambda: task(house, run, name, dag) == state, 150)


def said(house: House, run: str, name: str, attempt: int = 1, dag: str = PROMOTION) -> str:
    return "\n".join(house.demo.airflow.log(dag, run, name, attempt))


def clear(house: House, run: str, name: str, dag: str = PROMOTION) -> None:
    body: dict[str, Any] = {
        "dry_run": False, "dag_run_id": run, "task_ids": [name], "only_failed": False,
        "include_downstream": True,
    }  # fmt: skip
    house.demo.airflow.request("POST", f"dags/{dag}/clearTaskInstances", body)


def check_once(house: House, run: str, version: int) -> None:
    """The version is in use, by one promotion of this question, and MLflow's alias says so."""
    now = ledger(house)
    mine = question(run)
    moves = [each for each in now.facts if isinstance(each, Promotion) and each.question == mine]
    assert [each.after.version for each in moves] == [version]
    assert len(now.answers(mine)) == 1
    assert now.champion == moves[0].after
    assert house.demo.champion == version


def is_champion(house: House, version: int) -> bool:
    return house.demo.champion == version


def keep(name: str, seen: str, told: str) -> None:
    load = f"{os.getloadavg()[0]:.1f}"
    found("promotion_faults", {name: {"seen": seen, "told": told, "load": load}})


def test_a_scheduler_that_is_killed_between_answer_and_promotion(house: House) -> None:
    run = new("killed")
    version = asked(house, run)
    approve(house, run)
    house.kill("airflow-scheduler")
    assert ledger(house).promotion(question(run)) is None
    house.start("airflow-scheduler")
    assert house.demo.ended(PROMOTION, run) == "success"
    check_once(house, run, version)
    keep("scheduler killed after the answer", "promoted once", "nothing to tell")


def test_a_scheduler_that_is_killed_while_promote_runs(house: House) -> None:
    run = new("killed-later")
    version = asked(house, run)
    approve(house, run)
    until(house, run, "promote", "running")
    house.kill("airflow-scheduler")
    house.start("airflow-scheduler")
    assert house.demo.ended(PROMOTION, run) == "success"
    check_once(house, run, version)
    told = "the task shows both attempts"
    keep("scheduler killed while promote runs", "promoted once, by the second attempt", told)


def test_mlflow_that_is_gone_or_fails_while_it_is_asked_or_promotes(house: House) -> None:
    run = new("no-mlflow")
    house.kill("mlflow")
    version = put(house, run)
    until(house, run, "ask", "up_for_retry")
    assert "MLflow" in said(house, run, "ask")
    assert ledger(house).question(question(run)) is None
    house.start("mlflow")
    assert house.demo.waiting_promotion() == run
    keep("MLflow gone at ask", "asked at the second attempt", "log of ask: MLflow failed")
    with house.mlflow_answers(lambda method, path: "500"):
        approve(house, run)
        until(house, run, "promote", "up_for_retry")
        assert ledger(house).promotion(question(run)) is None
    assert house.demo.ended(PROMOTION, run) == "success"
    check_once(house, run, version)
    assert "500" in said(house, run, "promote")
    keep("MLflow answers 500 at promote", "promoted once, at the second attempt", "log of promote")


def test_mlflow_that_fails_between_the_ledger_and_the_alias(house: House) -> None:
    """The entry is the promotion, and so is the entry of a rollback: the alias follows later."""
    run = new("half")
    back = new("half-back")
    version = asked(house, run)
    in_use = house.demo.champion
    with house.mlflow_answers(lambda method, path: "500" if path.endswith(ALIAS) else None):
        approve(house, run)
        until(house, run, "promote", "up_for_retry")
        assert ledger(house).promotion(question(run))
        assert house.demo.champion == in_use
    assert house.demo.ended(PROMOTION, run) == "success"
    check_once(house, run, version)
    keep(
        "MLflow fails at the alias, promote",
        "promoted once, alias at the second attempt",
        "log of promote",
    )

    form = {"version": in_use, "reason": "It called a ruler melanoma."}
    before = sum(isinstance(each, Rollback) for each in ledger(house).facts)
    with house.mlflow_answers(lambda method, path: "reset" if path.endswith(ALIAS) else None):
        house.demo.physician.trigger(ROLLBACK, form, back)
        until(house, back, "rollback", "up_for_retry", ROLLBACK)
    assert house.demo.ended(ROLLBACK, back) == "success"
    assert house.demo.champion == in_use
    assert sum(isinstance(each, Rollback) for each in ledger(house).facts) == before + 1
    keep(
        "MLflow breaks off at the alias, rollback",
        "rolled back once, alias later",
        "log of rollback",
    )


def test_a_rollback_moves_the_alias_within_30_s(house: House) -> None:
    now = ledger(house)
    assert now.previous
    assert now.champion
    for to in (now.previous.version, now.champion.version):
        began = time.monotonic()
        run = house.demo.physician.trigger(ROLLBACK, {"version": to, "reason": "harm"})
        house.demo.wait(partial(is_champion, house, to), 120)
        seconds = time.monotonic() - began
        assert house.demo.ended(ROLLBACK, run) == "success"
    keep("a rollback, by REST", f"alias moved {seconds:.0f} s after the trigger", "")
    assert seconds < 30


def test_a_store_that_refuses_writes_at_ask_answer_and_promote(house: House) -> None:
    run = new("no-store")
    need_root("mount a folder for reading only")
    with house.ledger_is_read_only():
        version = put(house, run)
        assert house.demo.ended(PROMOTION, run) == "failed"
    assert "The store cannot be used" in said(house, run, "ask")
    clear(house, run, "ask")
    assert house.demo.waiting_promotion() == run
    keep("store refuses writes at ask", "nobody was asked; asked once cleared", "log of ask")
    with house.ledger_is_read_only():
        approve(house, run)
        assert house.demo.ended(PROMOTION, run) == "failed"
    log = said(house, run, "decide")
    assert "physician" in log
    assert "a test" in log  # the reason: whoever reads it knows what was lost from the ledger
    clear(house, run, "decide")
    assert house.demo.waiting_promotion() == run
    told = "log of decide, with the answer; the person is asked again"
    keep("store refuses writes at the answer", "nothing was promoted; asked again", told)
    approve(house, run)
    mine = question(run)
    house.demo.wait(lambda: bool(ledger(house).answers(mine)))
    with house.ledger_is_read_only():
        assert house.demo.ended(PROMOTION, run) == "failed"
        assert ledger(house).promotion(mine) is None
    clear(house, run, "promote")
    assert house.demo.ended(PROMOTION, run) == "success"
    check_once(house, run, version)
    keep(
        "store refuses writes at promote",
        "promoted once, after promote was cleared",
        "log of promote",
    )


def test_who_answers_twice_is_told_and_a_deleted_run_is_promoted_from_the_ledger(
    house: House,
) -> None:
    run = new("deleted")
    version = asked(house, run)
    approve(house, run)
    with pytest.raises(BadInput, match="409"):
        house.demo.say(house.demo.physician, run, "Reject")
    keep("approver answers twice", "the first answer counts", "409 of Airflow")
    mine = question(run)
    house.demo.wait(lambda: bool(ledger(house).answers(mine)))
    assert house.demo.airflow.end_runs(PROMOTION) == [run]  # Airflow deletes no run that is on
    house.demo.airflow.request("DELETE", f"dags/{PROMOTION}/dagRuns/{run}")
    time.sleep(20)  # a process that was promoting has ended
    early = bool(ledger(house).promotion(mine))
    address = f"{house.demo.home}/store/runs/{RUNS[version]}"
    promoted = subprocess.run(
        [sys.executable, "-m", "tasks", "promote", "--run", address, "--question", mine],
        cwd=CODE, env=house.demo.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert promoted.returncode == 0, promoted.stderr
    check_once(house, run, version)
    seen = "promoted by the process" if early else "promoted from the ledger by `promote --run`"
    keep("DAG run deleted after the approval", seen, "the ledger holds question and answer")


def test_an_alias_that_is_moved_by_hand_during_the_question(house: House) -> None:
    run = new("moved")
    version = asked(house, run)
    champion = ledger(house).champion
    assert champion
    where = f"{house.demo.mlflow}/api/2.0/mlflow/registered-models/alias"
    moved = {"name": MODEL, "alias": CHAMPION, "version": str(version)}
    httpx.post(where, json=moved, trust_env=False).raise_for_status()
    house.demo.say(house.demo.physician, run, "Reject")
    assert house.demo.ended(PROMOTION, run) == "success"
    assert ledger(house).champion == champion
    argv = [sys.executable, "-m", "tasks", "ledger", "--store", f"{house.demo.home}/store"]
    for more, held in ((), version), (("--repair",), champion.version):
        told = subprocess.run(
            [*argv, *more], cwd=CODE, env=house.demo.environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert f"on version {version}" in told.stdout + told.stderr
        assert house.demo.champion == held
    keep("alias moved by hand", "the ledger counts; --repair sets it right", "`ledger`, each run")


def test_a_version_that_is_deleted_while_a_person_thinks(house: House) -> None:
    run = new("gone")
    version = asked(house, run)
    champion = house.demo.champion
    where = f"{house.demo.mlflow}/api/2.0/mlflow/model-versions/delete"
    gone = {"name": MODEL, "version": str(version)}
    httpx.request("DELETE", where, json=gone, trust_env=False).raise_for_status()
    approve(house, run)
    assert house.demo.ended(PROMOTION, run) == "failed"
    assert ledger(house).promotion(question(run)) is None
    assert house.demo.champion == champion
    assert "RESOURCE_DOES_NOT_EXIST" in said(house, run, "promote")
    keep("version deleted while a person thinks", "nothing was promoted", "log of promote")
