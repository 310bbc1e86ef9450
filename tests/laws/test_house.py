"""The laws of the house: what may import what."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tasks.engine.environment import plain
from tasks.engine.sources import imports_of
from tasks.pipeline import PIPELINE
from tests.support.house import MODULES, packages_imported, product_files, source_of
from tests.support.paths import ROOT

# verify is a command too, but one that register and promote call before they rely on evidence.
COMMANDS = [
    *("__main__", "intake.deliver", "intake.inspect", "intake.synthesize"),
    "intake.second_clinic",
    *("intake_commands", "model_commands", "release.promote", "release.rollback"),
    *("erasure_commands", "erasure.erase", "erasure.pages"),
    *("release.compare", "release.decide", "release.propose", "reporting.report"),
    *("feedback.release", "monitoring.score"),
    *("serving.reviewing", "serving.website", "serving_commands"),
]
HEAVY = ("numpy", "pandas", "boto3", "keras", "tensorflow", "great_expectations", "mlflow")


@pytest.mark.parametrize("module", MODULES)
def test_tasks_never_imports_airflow_nor_relatively(module: str) -> None:
    imported = packages_imported(ROOT / "tasks" / f"{module.replace('.', '/')}.py")

    assert not imported & {"airflow", "dags", "demo", "."}  # code_hash follows absolute imports


@pytest.mark.parametrize("module", MODULES)
def test_only_commands_import_steps(module: str) -> None:
    if module in COMMANDS:
        return
    assert not set(imports_of(source_of(module))) & {*(step.module for step in PIPELINE), *COMMANDS}


# A package imports what stands in the rows before its own.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("text",),
    ("config", "errors", "figures", "lesions", "model_file", "parts", "recipes", "terms"),
    ("records",),
    ("curve", "kubernetes_names", "pipeline", "places", "statistics"),
    ("engine",),
    ("intake", "kubeflow", "registry"),
    ("balancing", "splitting", "training"),
    ("evaluation",),
    ("validation",),
    ("release",),
    ("feedback",),
    ("monitoring", "reporting", "serving"),
    ("erasure",),
    (
        *("__init__", "__main__", "erasure_commands", "intake_commands", "kubeflow_commands"),
        *(
            "model_commands",
            "monitoring_commands",
            "options",
            "serving_commands",
            "signing_commands",
            "terminal",
        ),
    ),
)
SINGLE_FILES = {path.name for path in (ROOT / "tasks").glob("*.py")}
FLOOR = {package: number for number, row in enumerate(FLOORS) for package in row}


def above(module: str, source: str) -> list[str]:
    """What a module imports of a package above its own, or beside it in the same row."""
    own = module.partition(".")[0]
    imported = {name.partition(".")[0] for name in imports_of(source)} - {own}
    # Single files of one row may know each other; packages of one row may not.
    highest = FLOOR[own] if f"{own}.py" in SINGLE_FILES else FLOOR[own] - 1
    return sorted(name for name in imported if FLOOR[name] > highest)


@pytest.mark.parametrize("module", MODULES)
def test_a_package_imports_only_what_lies_below_it(module: str) -> None:
    assert above(module, source_of(module)) == []


def test_an_import_upwards_or_across_would_be_found() -> None:
    assert above("intake.ingest", "from tasks.release.card import model_card") == ["release"]
    assert above("intake.ingest", "def f():\n    import tasks.registry.versions") == ["registry"]
    assert above("intake.ingest", "from tasks.engine import run") == []
    assert above("intake.ingest", "from tasks.intake.tables import read_tables") == []


def test_a_package_is_described_and_importing_it_runs_nothing() -> None:
    """What ``__init__.py`` held would be in no step's code hash."""
    packages = {
        path.name: path for path in (ROOT / "tasks").iterdir() if (path / "__init__.py").exists()
    }
    described = re.findall(r"(?m)^\| `(\w+)` \|", (ROOT / "docs/architecture.md").read_text())

    assert sorted(described) == sorted(packages)
    assert [name for name, path in packages.items() if (path / "__init__.py").read_text()] == []


def test_great_expectations_is_imported_by_one_file_of_validation_only() -> None:
    importers = [p for p in product_files() if "great_expectations" in packages_imported(p)]

    assert importers == [ROOT / "tasks/validation/expectations.py"]


def opens_any_format(source: str) -> list[int]:
    """The lines that let Pillow open whatever a file holds."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if ast.unparse(call.func) in ("Image.open", "PIL.Image.open")
        and "FORMATS" not in [ast.unparse(k.value) for k in call.keywords if k.arg == "formats"]
    ]


@pytest.mark.parametrize(
    "path", product_files(), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_pillow_opens_only_the_formats_that_are_accepted(path: Path) -> None:
    source = path.read_text()
    assert opens_any_format(source) == []
    assert "from PIL.Image import" not in source
    assert opens_any_format("Image.open(path)") == opens_any_format("Image.open(p, formats=F)")


# Libraries whose objects another one hands out, and tells its users to import them from there.
SHOWN_BY = {
    "botocore": "boto3",
    "docker": "apache-airflow-providers-docker",
    "kubernetes": "apache-airflow-providers-cncf-kubernetes",
    "MarkupSafe": "jinja2",
    "starlette": "fastapi",
    "urllib3": "apache-airflow-providers-cncf-kubernetes",
}


def declared() -> set[str]:
    """The libraries that pyproject.toml names for what runs: of any extra, or for a GPU. What only
    a developer has is not among them."""
    file = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = file["project"]["optional-dependencies"].values()
    named = [*file["project"]["dependencies"], *(name for extra in extras for name in extra)]
    named += file["dependency-groups"]["gpu"]
    return {plain(re.split(r"[<>=\[]", name)[0]) for name in named}


@pytest.mark.parametrize(
    "path", product_files(), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_library_that_is_imported_is_declared(path: Path) -> None:
    """Else it comes through another one, and goes when that one no longer needs it."""
    libraries = metadata.packages_distributions()
    for package in packages_imported(path) & set(libraries):
        named = {plain(SHOWN_BY.get(name, name)) for name in libraries[package]}
        assert named & declared(), package


def test_a_library_that_only_comes_through_another_is_not_declared() -> None:
    assert metadata.version("h11")
    assert "h11" not in declared()


def test_a_library_of_the_developers_alone_is_not_declared() -> None:
    assert metadata.version("pytest")
    assert "pytest" not in declared()


@pytest.mark.parametrize(
    "module", ["tasks", "tasks.pipeline", "tasks.engine.execute", "tasks.__main__"]
)
def test_importing_what_every_step_needs_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {name for name in loaded if name.partition(".")[0] in (*HEAVY, "airflow")}
    if module == "tasks":
        assert [name for name in loaded if name.startswith("tasks")] == ["tasks"]
