"""The product as a user meets it: `make demo`, Airflow's pages and API, `make stop`.

One Airflow serves all tests, in the order of this file: a person's day with the product.
"""

import json
import subprocess
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from demo.airflow_api import ENGINEER, PHYSICIAN, PROMOTION, RETRAINING, ROLLBACK
from demo.place import SYNTHETIC_CONFIG
from tasks.config import RELEASED_POLICIES, Retraining, parse_config
from tasks.engine.execute import execute
from tasks.engine.run import open_run
from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.intake.deliver import deliver
from tasks.pipeline import PIPELINE, step_named
from tasks.recipes import FORMER_RECIPES, Recipe
from tasks.records.verdict import Verdict
from tests.support.demo import UNTAUGHT, Demo, run_demo


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
    assert {RETRAINING, PROMOTION, ROLLBACK} <= dags.keys()


@pytest.mark.parametrize("dag", [RETRAINING, PROMOTION, ROLLBACK])
def test_nobody_is_offered_a_run_for_a_day_of_the_past(demo: Demo, dag: str) -> None:
    assert demo.airflow.request("GET", f"dags/{dag}/details")["is_backfillable"] is False
    past = {"from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-31T00:00:00Z"}
    with pytest.raises(BadInput, match="does not allow backfill runs"):
        demo.airflow.request("POST", "backfills", past | {"dag_id": dag})


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
    # The demo gave the store its own configuration as defaults, before Airflow read any.
    defaults = parse_config(SYNTHETIC_CONFIG).model_dump(mode="json")
    for name, field in fields.items():
        assert shown[name]["value"] == defaults[name]
        assert shown[name]["description"].startswith(f"{field['description']} Allowed: ")
        bounds = field.keys() - {"default", "description", "examples"}
        assert {bound: shown[name]["schema"][bound] for bound in bounds} == {
            bound: field[bound] for bound in bounds
        }
    assert shown["recipes"]["schema"]["examples"] == list(get_args(Recipe))
    # The released policies; the store of the demo holds none of its own.
    assert shown["policy"]["schema"]["examples"] == list(RELEASED_POLICIES)


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


def test_a_task_links_its_report_which_only_who_has_logged_in_gets(demo: Demo) -> None:
    path = f"dags/{RETRAINING}/dagRuns/{demo.first}/taskInstances/gate/links"
    links = demo.airflow.request("GET", path)["extra_links"]
    known = json.loads((demo.home / "login" / "airflow.json").read_text())
    with httpx.Client(base_url=demo.airflow.address, trust_env=False) as browser:
        assert browser.get(links["Report"]).status_code == 401
        login = {"username": PHYSICIAN, "password": known[PHYSICIAN]}
        token = browser.post("/auth/token", json=login).json()["access_token"]
        for name, held in (("Report", "Passed"), ("Evidence", "manifest.json")):
            page = browser.get(links[name], headers={"Cookie": f"_token={token}"})
            assert (page.status_code, held in page.text) == (200, True)
            assert page.headers["content-security-policy"].startswith("sandbox")


def test_a_refused_model_is_a_green_run_with_register_skipped(demo: Demo) -> None:
    # `make demo` once more, which finds what stands.
    again = run_demo("start", demo.environment | {"CONFIG": json.dumps(UNTAUGHT)})
    assert again.returncode == 0, again.stdout
    assert "Airflow, MLflow and the app are running" in again.stdout
    assert "nothing was registered" in again.stdout
    name = demo.last_run
    states = demo.states(name)
    assert states.pop("register") == states.pop("train_part") == "skipped"
    assert set(states.values()) == {"success"}


def test_each_of_four_parts_is_a_task_and_together_they_make_what_one_makes(
    demo: Demo, tmp_path: Path
) -> None:
    untaught = demo.last_run
    parts = {f"{step}/{number}-of-4" for step in ("ingest", "validate") for number in (1, 2, 3, 4)}
    assert parts <= demo.states(untaught).keys()
    deliver(open_store(str(tmp_path)), demo.home / "SYNTHETIC")
    second = demo.home / "SYNTHETIC second clinic"
    deliver(open_store(str(tmp_path)), second, external="second-clinic")
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


def test_a_task_of_a_failed_run_may_be_cleared_and_the_run_goes_on(demo: Demo) -> None:
    """Where a deadline counts from Airflow's own reference, Airflow 3.3 answers with 500."""
    name = "refuses-contradictions"
    assert demo.retrain(name, parts=1, laws_that_fail=["contradictory_label"]) == "failed"
    tries = demo.airflow.tasks(RETRAINING, name)["validate"].tries

    asked = {"dry_run": False, "dag_run_id": name, "only_failed": True}
    cleared = demo.airflow.request("POST", f"dags/{RETRAINING}/clearTaskInstances", asked)

    assert "validate" in {each["task_id"] for each in cleared["task_instances"]}
    assert demo.ended(RETRAINING, name) == "failed"  # the images are still what they are
    assert demo.airflow.tasks(RETRAINING, name)["validate"].tries == tries + 1
