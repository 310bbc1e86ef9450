"""The product as a user meets it: `make demo`, Airflow's pages and API, `make stop`.

One Airflow serves all tests, in the order of this file: a person's day with the product.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import httpx
import psutil
import pytest

from demo.airflow_api import PROMOTION, RETRAINING
from demo.place import CODE
from demo.services import is_step, processes_of
from demo.settings import MARK
from tasks.config import Recipe, Retraining
from tasks.contracts import Registered, Trained, Verdict
from tasks.deliver import deliver
from tasks.errors import BadInput
from tasks.pipeline import PIPELINE, step_named
from tasks.run import execute, open_run
from tasks.storage import open_store
from tests.end_to_end.conftest import PASSING, Demo, free_port, run_demo


def test_the_demo_says_what_happened_and_where_to_look(demo: Demo) -> None:
    assert "SYNTHETIC" in demo.said
    assert "contradictory_label" in demo.said  # a planted defect, in quarantine
    assert "melanoma sensitivity" in demo.said
    assert "alias challenger" in demo.said
    assert demo.airflow.page(RETRAINING, demo.first) in demo.said
    assert demo.mlflow in demo.said
    assert (demo.home / "store" / "runs" / demo.first / "report.html").is_file()


def test_every_step_of_a_run_commits_its_record(demo: Demo) -> None:
    states = demo.states(demo.first)
    assert states.pop("train_part") == "skipped"  # one recipe: the step trains it itself
    assert set(states.values()) == {"success"}
    assert all(demo.record(demo.first, step.name) for step in PIPELINE)


def test_each_of_four_parts_is_a_task_and_together_they_make_what_one_makes(
    demo: Demo, tmp_path: Path
) -> None:
    parts = {f"{step}/{number}-of-4" for step in ("ingest", "validate") for number in (1, 2, 3, 4)}
    assert parts <= demo.states(demo.first).keys()
    deliver(open_store(str(tmp_path)), demo.folder.parent / "delivery")
    config = Retraining.model_validate(PASSING | {"parts": 1})
    for name in ("ingest", "validate"):
        here = execute(step_named(name), open_run(f"{tmp_path}/runs/one", config, step=name))
        there = demo.record(demo.first, name)
        assert here.provenance
        assert there
        assert there.provenance
        assert here.provenance.parts.keys() == {"1-of-1"}
        assert there.provenance.parts.keys() == {f"{number}-of-4" for number in (1, 2, 3, 4)}
        assert here.content_hash == there.content_hash


def test_no_dag_file_fails_to_import(demo: Demo) -> None:
    assert demo.airflow.request("GET", "importErrors")["total_entries"] == 0
    dags = {dag["dag_id"]: dag for dag in demo.airflow.request("GET", "dags")["dags"]}
    assert {RETRAINING, PROMOTION} <= dags.keys()


def test_the_graph_is_the_pipelines_table(demo: Demo) -> None:
    tasks = demo.airflow.request("GET", f"dags/{RETRAINING}/tasks")["tasks"]
    after = {task["task_id"]: set(task["downstream_task_ids"]) for task in tasks}
    for step in PIPELINE:
        before = {name for name in after if step.name in after[name]}
        if step.division:
            part = f"{step.name}_part"
            assert {name for name in after if part in after[name]} == {
                *step.needs,
                step.division.over,
            }
            before.remove(part)
        assert before == set(step.needs)
    assert after["register"] == {"report"}


def test_the_form_holds_every_field_with_its_bounds(demo: Demo) -> None:
    shown = demo.airflow.request("GET", f"dags/{RETRAINING}/details")["params"]
    fields: dict[str, dict[str, Any]] = Retraining.model_json_schema()["properties"]
    assert shown.keys() == fields.keys()
    for name, field in fields.items():
        assert shown[name]["value"] == field["default"]
        assert shown[name]["description"] == field["description"]
        bounds = field.keys() - {"default", "description"}
        assert {bound: shown[name]["schema"][bound] for bound in bounds} == {
            bound: field[bound] for bound in bounds
        }
    assert shown["recipes"]["schema"]["examples"] == list(get_args(Recipe))


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"image_size": "large"}, {"recipes": ["alchemy"]}, {"policy": "lenient"}],
)
def test_a_value_out_of_its_range_starts_nothing(demo: Demo, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        demo.airflow.trigger(RETRAINING, wrong, "refused")
    with pytest.raises(BadInput, match="404"):
        demo.airflow.state(RETRAINING, "refused")


def test_a_tasks_log_says_what_the_step_found(demo: Demo) -> None:
    text = "\n".join(demo.airflow.log(RETRAINING, demo.first, "validate"))
    assert "contradictory_label" in text or "two labels" in text
    verdict = demo.record(demo.first, "gate")
    assert isinstance(verdict, Verdict)
    assert verdict.reason in "\n".join(demo.airflow.log(RETRAINING, demo.first, "gate"))


def test_a_registered_model_waits_for_a_person_who_reads_the_evidence(demo: Demo) -> None:
    promotion = demo.waiting_promotion()
    path = f"dags/{PROMOTION}/dagRuns/{promotion}/taskInstances/decide/-1/hitlDetails"
    shown = demo.airflow.request("GET", path)
    registered = demo.record(demo.first, "register")
    assert isinstance(registered, Registered)
    assert f"{registered.name}, version {registered.version}" in shown["body"]
    assert "Melanoma sensitivity" in shown["body"]
    assert "**Gate: pass.**" in shown["body"]
    assert shown["defaults"] == ["Reject"]


def test_an_approved_challenger_becomes_the_champion(demo: Demo) -> None:
    registered = demo.record(demo.first, "register")
    assert isinstance(registered, Registered)
    assert champion(demo, registered.name) is None
    assert demo.answer(demo.waiting_promotion(), "Approve")["promote"] == "success"
    assert champion(demo, registered.name) == registered.version


def test_a_refused_model_is_a_green_run_with_register_skipped(demo: Demo) -> None:
    # `make demo` once more: it finds what stands, and reuses what has not changed.
    again = run_demo("start", demo.environment | {"CONFIG": config(policy="melanoma")})
    assert again.returncode == 0, again.stdout
    assert "Airflow and MLflow stand" in again.stdout
    assert "nothing was registered" in again.stdout
    runs = demo.airflow.request("GET", f"dags/{RETRAINING}/dagRuns", order_by="-start_date")
    name = runs["dag_runs"][0]["dag_run_id"]
    states = demo.states(name)
    assert states.pop("register") == states.pop("train_part") == "skipped"
    assert set(states.values()) == {"success"}
    train = demo.record(name, "train")
    assert train is not None
    assert train.provenance is not None
    assert train.provenance.reused_from == demo.first


def test_a_killed_recipe_is_trained_again_alone_and_a_rejected_challenger_changes_nothing(
    demo: Demo,
) -> None:
    both = PASSING | {"recipes": ["baseline", "regularized"], "seed": 7}
    demo.airflow.trigger(RETRAINING, both, "another-seed")
    training = "runs/another-seed/train/regularized/progress.json"
    demo.wait(lambda: bool(list(demo.store.list(training))))  # it has trained for one epoch
    for process in processes_of(demo.home, MARK):
        if "--part regularized" in " ".join(process.cmdline()) and is_step(process):
            process.kill()
    demo.wait(lambda: demo.airflow.state(RETRAINING, "another-seed") in ("success", "failed"))

    tasks = demo.airflow.tasks(RETRAINING, "another-seed")
    tries = {name: (tasks[name].state, tasks[name].tries) for name in tasks if "train" in name}
    assert tries == {
        "train/baseline": ("success", 1),
        "train/regularized": ("success", 2),
        "train": ("success", 1),
    }
    trained = demo.record("another-seed", "train")
    assert isinstance(trained, Trained)
    assert [each.recipe for each in trained.recipes] == ["baseline", "regularized"]
    registered = demo.record("another-seed", "register")
    assert isinstance(registered, Registered)
    assert demo.answer(demo.waiting_promotion(), "Reject")["promote"] == "skipped"
    assert champion(demo, registered.name) == registered.version - 1


def test_bad_input_fails_at_once_with_what_to_do_and_no_retry(demo: Demo) -> None:
    # Each value is within its own range, so only the step can tell.
    assert demo.retrain("bad-input", image_size=96, packed_size=64, parts=1) == "failed"
    ingest = demo.airflow.tasks(RETRAINING, "bad-input")["ingest"]
    assert (ingest.state, ingest.tries) == ("failed", 1)
    text = "\n".join(demo.airflow.log(RETRAINING, "bad-input", "ingest"))
    assert "image_size must be at most packed_size" in text
    assert "there is no retry" in text


def test_delivered_images_start_a_run_and_stopping_it_ends_its_process(demo: Demo) -> None:
    assets = demo.airflow.request("GET", "assets", name_pattern="images_delivered")["assets"]
    demo.airflow.request("POST", "assets/events", {"asset_id": assets[0]["id"], "extra": {}})

    def running() -> list[dict[str, Any]]:
        path = f"dags/{RETRAINING}/dagRuns"
        found: list[dict[str, Any]] = demo.airflow.request("GET", path, state="running")["dag_runs"]
        return found

    demo.wait(lambda: bool(running() and step_processes(demo)))
    assert running()[0]["run_type"] == "asset_triggered"
    demo.airflow.end_runs(RETRAINING)
    demo.wait(lambda: not step_processes(demo), seconds=60)


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(demo: Demo) -> None:
    other = demo.environment | {
        "DEMO_HOME": str(demo.folder.parent / "other"),
        "MLFLOW_PORT": str(free_port()),
    }
    done = run_demo("start", other)
    port = other["AIRFLOW_PORT"]
    assert done.returncode == BadInput.exit_code
    assert f"Airflow cannot listen on port {port}" in done.stdout
    assert "api_server" in done.stdout  # who holds it
    assert f"AIRFLOW_PORT={int(port) + 1} make demo" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process(demo: Demo, number: signal.Signals) -> None:
    folder = demo.folder.parent / f"interrupted-{number.name}"
    other = demo.environment | {
        "DEMO_HOME": str(folder),
        "AIRFLOW_PORT": str(free_port()),
        "MLFLOW_PORT": str(free_port()),
    }
    begun = subprocess.Popen(
        [sys.executable, "-m", "demo", "start"],
        cwd=CODE,
        env=other,
        # What a shell has put into the background, tests too, would go on ignoring SIGINT.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    demo.wait(lambda: bool(processes_of(folder / "images", MARK)), seconds=30)
    begun.send_signal(number)
    assert begun.wait(60) == 130
    assert not processes_of(folder / "images", MARK)
    assert demo.airflow.request("GET", "version")  # and ends nothing of another demo


def test_stop_ends_every_process_and_may_be_repeated(demo: Demo) -> None:
    before = processes_of(demo.home, MARK)
    assert len(before) >= 4  # MLflow, and Airflow's server, scheduler and processor of DAG files
    done = run_demo("stop", demo.environment)
    assert (done.returncode, "processes ended" in done.stdout) == (0, True)
    assert not processes_of(demo.home, MARK)
    assert not any(process.is_running() for process in before)
    ports = {int(demo.environment[name]) for name in ("AIRFLOW_PORT", "MLFLOW_PORT")}
    listening = psutil.net_connections("tcp")
    assert not any(
        connection.laddr.port in ports and connection.status == psutil.CONN_LISTEN
        for connection in listening
    )
    again = run_demo("stop", demo.environment)
    assert (again.returncode, again.stdout.strip()) == (0, "Nothing of the demo is running.")


def config(**changes: Any) -> str:
    return json.dumps(PASSING | changes)


def champion(demo: Demo, model: str) -> int | None:
    """The version that holds the alias champion, or None."""
    answer = httpx.get(
        f"{demo.mlflow}/api/2.0/mlflow/registered-models/alias",
        params={"name": model, "alias": "champion"},
        trust_env=False,
    )
    if answer.status_code != httpx.codes.OK:
        return None
    return int(answer.json()["model_version"]["version"])


def step_processes(demo: Demo) -> list[int]:
    return [process.pid for process in processes_of(demo.home, MARK) if is_step(process)]
