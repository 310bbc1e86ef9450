"""Nothing of what is done here is reported to the makers of libraries."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.engine.quiet import UNREPORTED
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

# By any of these MLflow takes a process for a test and reports nothing: none may help here.
CI = ("CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "TRAVIS")
CONFIG = {
    "image_size": 32,
    "packed_size": 32,
    "epochs": 1,
    "minimum_groups": 3,
    "recipes": ["baseline"],
    "policy": "smoke",
}

COMMAND = """
import json, sys
from tasks.__main__ import main
before = [name for name in sys.modules if name.partition(".")[0] == "mlflow"]
code = main(sys.argv[1:])
import mlflow.telemetry.client as telemetry
from tests.support.paths import ROOT
import threading
print(json.dumps({
    "code": code,
    "imported before": before,
    "imported": "mlflow.entities" in sys.modules,
    "client": repr(telemetry.get_telemetry_client()),
    "threads": [t.name for t in threading.enumerate() if "elemetry" in t.name],
}))
"""


def environment(**settings: str) -> dict[str, str]:
    """That of a person's terminal, who has set nothing."""
    inherited = {k: v for k, v in os.environ.items() if k not in (*CI, *UNREPORTED)}
    return {**inherited, **settings}


def outcome(code: str, *argv: str, **settings: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", code, *argv],
        env=environment(**settings), capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(told, dict)
    return told


def argv_of(command: str, store: Path) -> list[str]:
    if command == "score":
        folder = next((store / "raw").iterdir())
        labels = store / "labels.csv"
        labels.write_text("image_id,diagnosis\nISIC_0000001,nevus\n")
        told = ["--images", str(folder), "--labels", str(labels), "--store", str(store)]
        return ["score", "--model", "models:/melanoma_classifier/1", *told]
    return [command, "--run", f"{store}/runs/first"]


@pytest.mark.parametrize("command", ["evaluate", "register", "promote", "score"])
def test_a_command_that_uses_mlflow_reports_nothing(command: str, store_of_format_1: Path) -> None:
    """In a fresh process, without any setting. Whether the command succeeds does not matter."""
    argv = argv_of(command, store_of_format_1)
    if command in ("evaluate", "register"):
        for record in (store_of_format_1 / "runs/first" / command).rglob("record.json"):
            record.unlink()
        argv += ["--config", json.dumps(CONFIG)]
    told = outcome(COMMAND, *argv)

    assert told["imported before"] == []
    assert told["imported"], told
    assert (told["client"], told["threads"]) == ("None", [])


def test_without_the_setting_mlflow_would_report() -> None:
    """Else the test above could not fail."""
    code = "import mlflow.telemetry.client as telemetry; print(telemetry.get_telemetry_client())"
    silent = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(**silent), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "TelemetryClient" in done.stdout


def test_what_reports_is_told_before_it_is_imported() -> None:
    """One function imports MLflow, by a name that it is given."""
    for path in (ROOT / "tasks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.partition(".")[0] == "mlflow"], path.name
        calls = re.findall(r"import_module\((.*?)\)", path.read_text())
        assert not [call for call in calls if "mlflow" in call], path.name


def test_every_command_is_silent_before_it_begins() -> None:
    """Also what it starts, and Great Expectations, inherit the settings."""
    code = (
        "import json, os\nfrom tasks.__main__ import main\nmain(['config', '--json'])\n"
        "print(json.dumps(dict(os.environ)))"
    )
    told = outcome(code)
    assert {name: told.get(name) for name in UNREPORTED} == UNREPORTED


@pytest.mark.parametrize("file", ["steps.Dockerfile", "airflow.Dockerfile"])
def test_every_image_holds_the_settings(file: str) -> None:
    """Also of what is started in it beside the command line."""
    text = (ROOT / "containers" / file).read_text()
    stages = re.split(r"^FROM ", text, flags=re.M)[1:]
    started = {stage.split()[3]: stage for stage in stages if "ENTRYPOINT" in stage}
    assert started
    for name, stage in started.items():
        for setting, value in UNREPORTED.items():
            assert f"{setting}={value}" in stage, name


def test_the_demo_gives_the_settings_to_all_that_it_starts() -> None:
    source = (ROOT / "demo" / "settings.py").read_text()
    (made,) = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == "environment"
    ]
    assert "**UNREPORTED" in ast.unparse(made)
