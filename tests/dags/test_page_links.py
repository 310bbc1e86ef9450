"""The addresses of the pages of runs, and how Airflow comes to show them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.page_paths import QUOTED, RUN_ID
from tests.support.paths import ROOT

PLUGINS = ROOT / "dags" / "plugins"


def in_airflow(code: str, home: Path, **environment: str) -> Any:
    """What a new process, with Airflow's settings, prints as JSON in its last line."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
            "PYTHONPATH": str(ROOT),
        }
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def links(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    # Importing Airflow writes a configuration file into AIRFLOW_HOME.
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    monkeypatch.delenv("AIRFLOW__API__BASE_URL", raising=False)
    from dags.pages import links

    return links


@pytest.mark.parametrize(
    ("run_id", "file", "expected"),
    [
        (RUN_ID, "report.html", f"/melanoma/runs/{QUOTED}/report.html"),
        ("first", "", "/melanoma/runs/first/"),
        ("first", "evidence/a b/ü)", "/melanoma/runs/first/evidence/a%20b/%C3%BC%29"),
        ("../x?y#z", "report.html", "/melanoma/runs/..%2Fx%3Fy%23z/report.html"),
    ],
)
def test_a_link_quotes_what_stands_in_it(links: Any, run_id: str, file: str, expected: str) -> None:
    assert links.link(run_id, file) == expected


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://hospital.example", "/melanoma/runs/first/report.html"),
        ("https://hospital.example/airflow/", "/airflow/melanoma/runs/first/report.html"),
    ],
)
def test_a_link_holds_the_path_of_airflow_and_no_host(
    links: Any, monkeypatch: pytest.MonkeyPatch, base_url: str, expected: str
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    assert links.link("first", "report.html") == expected


# Airflow's own link, of a task that starts another DAG. It asks Airflow's database.
OF_AIRFLOW = "Triggered DAG"
SHOWN = """
import json
from types import SimpleNamespace
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

bag = DagBag({folder!r}, bundle_path=None)
found = {{}}
for name, dag in bag.dags.items():
    dag = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    for task_id, task in dag.task_dict.items():
        key = SimpleNamespace(dag_id=name, run_id={run_id!r}, task_id=task_id)
        links = {{each: task.get_extra_links(SimpleNamespace(key=key), each)
                 for each in task.extra_links if each != {of_airflow!r}}}
        found[f"{{name}} {{task_id}}"] = {{each: link for each, link in links.items() if link}}
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["process", "docker"])
def test_each_task_of_a_retraining_links_to_the_pages_of_its_run(
    runner: str, tmp_path: Path
) -> None:
    code = SHOWN.format(folder=str(ROOT / "dags"), run_id=RUN_ID, of_airflow=OF_AIRFLOW)
    shown = in_airflow(code, tmp_path, MELANOMA_RUNNER=runner)
    of_task = {
        name.partition(" ")[2].rpartition(".")[2]: links
        for name, links in shown.items()
        if name.startswith("melanoma_retraining ")
    }
    top = f"/melanoma/runs/{QUOTED}/"
    report, docs = {"Report": f"{top}report.html"}, {"Data Docs": f"{top}data_docs"}
    model = {"Model card": f"{top}evidence/model_card.html", "Evidence": f"{top}evidence/"}
    for step in (
        "ingest",
        "ingest_part",
        "split",
        "check_balance",
        "train",
        "train_part",
        "report",
    ):
        assert of_task[step] == report
    assert of_task["validate"] == of_task["validate_part"] == report | docs
    assert of_task["gate"] == of_task["register"] == report | model
    # The run of another DAG has no pages.
    others = [shown[name] for name in shown if not name.startswith("melanoma_retraining ")]
    assert others
    assert not any(others)


LOADED = """
import json, sys
from airflow import plugins_manager
plugins_manager.ensure_plugins_loaded()
plugins, errors = plugins_manager._get_plugins()
heavy = [name for name in ("fastapi", "docker", "boto3") if name in sys.modules]
(own,) = [each for each in plugins if each.name == "melanoma_pages"]
views, _ = plugins_manager._get_ui_plugins()
apps, _ = plugins_manager.get_fastapi_plugins()
print(json.dumps([errors, heavy, [each["href"] for each in views],
                  [(each["url_prefix"], callable(each["app"])) for each in apps]]))
"""


@pytest.mark.slow
def test_the_plugin_loads_everywhere_and_its_app_only_where_it_is_served(tmp_path: Path) -> None:
    plain = "import json, sys, airflow.plugins_manager\n" + (
        "print(json.dumps([n for n in ('fastapi', 'docker', 'boto3') if n in sys.modules]))"
    )
    errors, heavy, views, apps = in_airflow(
        LOADED, tmp_path, AIRFLOW__API__BASE_URL="http://127.0.0.1:8080/air"
    )
    assert errors == {}
    assert heavy == in_airflow(plain, tmp_path)  # what Airflow itself has loaded by then
    assert views == ["/air/melanoma/runs/{RUN_ID}/"]
    assert apps == [["/melanoma", True]]


def test_the_demo_and_the_image_load_the_plugin() -> None:
    from demo.place import place_from
    from demo.settings import airflow_settings

    found = sorted(path.name for path in PLUGINS.glob("*.py"))
    assert found == ["melanoma_pages.py", "refusal.py"]
    assert airflow_settings(place_from({}))["AIRFLOW__CORE__PLUGINS_FOLDER"] == str(PLUGINS)
    image = (ROOT / "containers" / "airflow.Dockerfile").read_text()
    assert "AIRFLOW__CORE__PLUGINS_FOLDER=/app/dags/plugins" in image
