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

from demo.airflow_api import ENGINEER, PHYSICIAN, PROMOTION, RETRAINING
from demo.place import CODE
from demo.services import is_step, processes_of
from demo.settings import MARK
from tasks.config import Retraining
from tasks.engine.execute import execute
from tasks.engine.run import open_run
from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.intake.deliver import deliver
from tasks.pipeline import PIPELINE, step_named
from tasks.recipes import FORMER_RECIPES, Recipe
from tasks.records.registered import Registered
from tasks.records.trained import Trained
from tasks.records.verdict import Verdict
from tests.support.demo import PASSING, UNTAUGHT, Demo, run_demo
from tests.support.servers import free_port


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
    for step in ("ingest", "validate"):  # one part: the step does it itself
        assert states.pop(f"{step}_part") == "skipped"
    assert set(states.values()) == {"success"}
    assert {f"train/{recipe}" for recipe in Retraining().recipes} <= states.keys()
    assert all(demo.record(demo.first, step.name) for step in PIPELINE)


def test_no_other_user_reads_anything_that_the_demo_made(demo: Demo) -> None:
    open_to_others = [
        path
        for path in (demo.home, *demo.home.rglob("*"))
        if not path.is_symlink() and path.stat().st_mode & 0o077
    ]
    assert not open_to_others
    for held in ("airflow/airflow.db", "mlflow/mlflow.db", "login/airflow.json", "secrets.json"):
        assert (demo.home / held).stat().st_mode & 0o777 == 0o600
    assert list((demo.home / "store" / "raw").rglob("*.jpg"))


@pytest.mark.parametrize("host", ["", "evil.example", "localhost.evil.example"])
@pytest.mark.parametrize("path", ["dags", "assets", "connections", "config", "importErrors"])
def test_airflow_answers_only_who_has_logged_in(demo: Demo, path: str, host: str) -> None:
    """So a page of another site, which a browser took for this one, gets nothing."""
    named = {"Host": host} if host else {}
    address = f"{demo.airflow.address}/api/v2/{path}"
    refused = httpx.get(address, headers=named, trust_env=False)
    assert (refused.status_code, refused.json()) == (401, {"detail": "Not authenticated"})
    for way in ("/auth/token", "/auth/token/login"):
        given = httpx.get(demo.airflow.address + way, headers=named, trust_env=False)
        assert given.status_code == 403
        assert not given.cookies
    if path in ("dags", "assets", "importErrors"):
        assert demo.airflow.request("GET", path)["total_entries"] >= 0


def test_a_wrong_password_is_refused_and_the_demo_prints_the_right_ones(demo: Demo) -> None:
    known = json.loads((demo.home / "login" / "airflow.json").read_text())
    assert known.keys() == {ENGINEER, PHYSICIAN}
    for user, password in known.items():
        assert demo.said.count(f"{user}   password: {password}") == 2  # before the run, and after
        for tried, status in ((password, 201), (password[:-1], 401), ("", 400)):
            answer = httpx.post(
                f"{demo.airflow.address}/auth/token",
                json={"username": user, "password": tried},
                trust_env=False,
            )
            assert answer.status_code == status
    with pytest.raises(BadInput, match="403"):  # who decides about models sees no connections
        demo.physician.request("GET", "connections")


def test_mlflow_answers_under_its_own_names_only(demo: Demo) -> None:
    asked = f"{demo.mlflow}/api/2.0/mlflow/registered-models/search"
    port = demo.environment["MLFLOW_PORT"]
    for host, status in (
        (f"127.0.0.1:{port}", 200),
        (f"localhost:{port}", 200),
        ("evil.example", 403),
        (f"evil.example:{port}", 403),
        (f"127.0.0.1.evil.example:{port}", 403),
    ):
        answer = httpx.get(asked, headers={"Host": host}, trust_env=False)
        assert answer.status_code == status
        assert ("melanoma_classifier" in answer.text) == (status == 200)


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
    assert list(shown)[:2] == ["policy", "recipes"]
    sections = dict.fromkeys(field["schema"].get("section") for field in shown.values())
    assert list(sections) == [None, "Data", "Training", "Gate", "Advanced"]
    fields["recipes"]["items"]["enum"] += FORMER_RECIPES  # taken from scripts, not offered
    for name, field in fields.items():
        assert shown[name]["value"] == field["default"]
        assert shown[name]["description"].startswith(f"{field['description']} Allowed: ")
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


def test_a_tasks_log_says_what_the_step_found_and_how_grave_it_is(demo: Demo) -> None:
    path = f"dags/{RETRAINING}/dagRuns/{demo.first}/taskInstances/validate/logs/1"
    lines = demo.airflow.request("GET", path, full_content="true")["content"]
    found = [line for line in lines if "contradictory_label" in line["event"]]
    assert [line["level"] for line in found] == ["warning"]
    accepted = [line for line in lines if "files accepted" in line["event"]]
    assert [line["level"] for line in accepted] == ["info"]
    assert not [line for line in lines if line["event"].startswith(("WARNING", "INFO"))]
    verdict = demo.record(demo.first, "gate")
    assert isinstance(verdict, Verdict)
    assert verdict.reason in "\n".join(demo.airflow.log(RETRAINING, demo.first, "gate"))


@pytest.mark.parametrize("task", ["validate", "register", "report", "train_part"])
def test_what_airflow_shows_of_a_task_can_be_typed(demo: Demo, task: str) -> None:
    path = f"dags/{RETRAINING}/dagRuns/{demo.first}/taskInstances/{task}"
    shown = demo.airflow.request("GET", f"{path}/0" if task == "train_part" else path)
    fields = shown["rendered_fields"]
    assert fields.keys() == {"command_line"}
    assert f"MLFLOW_TRACKING_URI={demo.mlflow}" in fields["command_line"]
    held = json.loads((demo.home / "secrets.json").read_text()).values()
    assert not [secret for secret in held if secret in fields["command_line"]]
    typed = subprocess.run(
        ["sh", "-c", fields["command_line"]],
        env={"PATH": "/usr/bin:/bin", "HOME": str(demo.folder)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert typed.returncode == 0, typed.stderr
    assert ("was committed before" in typed.stderr) == (task != "report")


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
    bundle = f"{demo.home}/store/runs/{demo.first}/evidence"
    verified = subprocess.run(
        [sys.executable, "-m", "tasks", "verify", "--evidence", bundle],
        cwd=CODE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (verified.returncode, "holds: pass" in verified.stdout) == (0, True), verified.stderr


def test_a_refused_model_is_a_green_run_with_register_skipped(demo: Demo) -> None:
    # `make demo` once more, which finds what stands.
    again = run_demo("start", demo.environment | {"CONFIG": json.dumps(UNTAUGHT)})
    assert again.returncode == 0, again.stdout
    assert "Airflow and MLflow are running" in again.stdout
    assert "nothing was registered" in again.stdout
    name = last_run(demo)
    states = demo.states(name)
    assert states.pop("register") == states.pop("train_part") == "skipped"
    assert set(states.values()) == {"success"}


def test_each_of_four_parts_is_a_task_and_together_they_make_what_one_makes(
    demo: Demo, tmp_path: Path
) -> None:
    untaught = last_run(demo)
    parts = {f"{step}/{number}-of-4" for step in ("ingest", "validate") for number in (1, 2, 3, 4)}
    assert parts <= demo.states(untaught).keys()
    deliver(open_store(str(tmp_path)), demo.home / "SYNTHETIC")
    config = Retraining.model_validate(UNTAUGHT | {"parts": 1})
    for name in ("ingest", "validate"):
        here = execute(step_named(name), open_run(f"{tmp_path}/runs/one", config, step=name))
        there = demo.record(untaught, name)
        assert here.provenance
        assert there
        assert there.provenance
        assert here.provenance.parts.keys() == {"1-of-1"}
        assert there.provenance.parts.keys() == {f"{number}-of-4" for number in (1, 2, 3, 4)}
        assert here.content_hash == there.content_hash


def test_a_killed_recipe_is_trained_again_alone_and_a_rejected_challenger_changes_nothing(
    demo: Demo,
) -> None:
    both = PASSING | {"recipes": ["baseline", "regularized"], "balance_policy": "none", "seed": 7}
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


def test_fields_that_contradict_each_other_start_nothing(demo: Demo) -> None:
    # Each value is within its own range, so Airflow itself would begin a run.
    wrong = PASSING | {"image_size": 96, "packed_size": 64}
    with pytest.raises(BadInput, match="400: image_size must be at most packed_size"):
        demo.airflow.trigger(RETRAINING, wrong, "contradiction")
    with pytest.raises(BadInput, match="404"):
        demo.airflow.state(RETRAINING, "contradiction")
    path = f"{demo.airflow.address}/api/v2/dags/{RETRAINING}/dagRuns"
    stranger = httpx.post(path, json={"logical_date": None, "conf": wrong}, trust_env=False)
    assert stranger.status_code == 401


def test_bad_input_fails_at_once_with_what_to_do_and_no_retry(demo: Demo) -> None:
    # Only the step that sees the lesions can tell.
    assert demo.retrain("bad-input", policy="melanoma", parts=1) == "failed"
    validate = demo.airflow.tasks(RETRAINING, "bad-input")["validate"]
    assert (validate.state, validate.tries) == ("failed", 1)
    text = "\n".join(demo.airflow.log(RETRAINING, "bad-input", "validate"))
    assert "The policy does not fit the data" in text
    assert "there is no retry" in text


def test_delivered_images_start_a_run_and_stopping_it_ends_its_process(demo: Demo) -> None:
    demo.store.replace("config.json", json.dumps(PASSING | {"seed": 11}).encode())
    assets = demo.airflow.request("GET", "assets", name_pattern="images_delivered")["assets"]
    demo.airflow.request("POST", "assets/events", {"asset_id": assets[0]["id"], "extra": {}})

    def running() -> list[dict[str, Any]]:
        path = f"dags/{RETRAINING}/dagRuns"
        found: list[dict[str, Any]] = demo.airflow.request("GET", path, state="running")["dag_runs"]
        return found

    demo.wait(lambda: bool(running() and step_processes(demo)))
    begun = running()[0]
    assert begun["run_type"] == "asset_triggered"
    said = "\n".join(demo.airflow.log(RETRAINING, begun["dag_run_id"], "parts"))
    assert '"seed":11' in said  # a run that nobody started has the defaults of the store
    demo.airflow.end_runs(RETRAINING)
    demo.wait(lambda: not step_processes(demo), seconds=60)
    demo.store.delete("config.json")


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
    demo.wait(lambda: bool(processes_of(folder / "synthetic", MARK)), seconds=30)
    begun.send_signal(number)
    assert begun.wait(60) == 130
    assert not processes_of(folder / "synthetic", MARK)
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


def last_run(demo: Demo) -> str:
    path = f"dags/{RETRAINING}/dagRuns"
    return str(
        demo.airflow.request("GET", path, order_by="-start_date")["dag_runs"][0]["dag_run_id"]
    )


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
