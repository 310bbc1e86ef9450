"""The laws of the house: what may import what, and what no file may hold."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel, Field

from tasks.config import Retraining
from tasks.engine.environment import plain
from tasks.engine.sources import imports_of
from tasks.pipeline import PIPELINE, Step, step_named
from tasks.records.record import Record
from tests.support.dealing import LONGEST_FIRST, ONE_AFTER_ANOTHER, dealt_as, turn_of
from tests.support.paths import ROOT

STEPS = [step.name for step in PIPELINE]
DIVIDED = [step for step in PIPELINE if step.division]
# verify is a command too, but one that register and promote call before they rely on evidence.
COMMANDS = [
    *("__main__", "intake.deliver", "intake.synthesize"),
    *("release.promote", "reporting.report", "monitoring.score"),
]
# Each file of tasks/, as a dotted path within it.
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "tasks").with_suffix("").parts)
    for path in (ROOT / "tasks").rglob("*.py")
)
HEAVY = ("numpy", "pandas", "boto3", "keras", "tensorflow", "great_expectations", "mlflow")

PLACE = r"(?<![\w.:*{}/-])/(?:home|Users|root|work|tmp)/[\w.]"

each_step = pytest.mark.parametrize("step", PIPELINE, ids=STEPS)


def source_of(module: str) -> str:
    return (ROOT / "tasks" / f"{module.replace('.', '/')}.py").read_text()


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(source_of(module))


def packages_imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else (node.module or "").partition(".")[0])
    return found


def product_files() -> list[Path]:
    return [path for folder in ("tasks", "dags", "demo") for path in (ROOT / folder).rglob("*.py")]


def files_of_the_project() -> list[Path]:
    """Every file that is, or is about to be, in the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def lines_that_match(pattern: str) -> list[str]:
    found = []
    for path in files_of_the_project():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue  # a picture
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(lines, 1)
            if re.search(pattern, line)
        ]
    return found


# Who imports whom -------------------------------------------------------------------------------


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
    ("config", "errors", "figures", "lesions", "model_file", "parts", "recipes"),
    ("records",),
    ("curve", "pipeline", "statistics"),
    ("engine",),
    ("intake", "registry"),
    ("balancing", "splitting", "training"),
    ("evaluation",),
    ("validation",),
    ("release",),
    ("monitoring", "reporting"),
    ("__init__", "__main__", "terminal"),
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
    assert above("intake.ingest", "from tasks.intake.tables import read_table") == []


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
SHOWN_BY = {"botocore": "boto3", "docker": "apache-airflow-providers-docker"}


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


# The table of steps and the steps ---------------------------------------------------------------


@each_step
def test_a_step_needs_only_steps_before_it(step: Step) -> None:
    assert set(step.needs) <= set(STEPS[: STEPS.index(step.name)])
    assert len(set(STEPS)) == len(STEPS)


@each_step
def test_a_step_depends_on_fields_and_libraries_that_exist(step: Step) -> None:
    assert set(step.config) <= set(Retraining.model_fields)
    for library in step.libraries:
        assert metadata.version(library)


def functions_of(module: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree_of(module).body if isinstance(node, ast.FunctionDef)}


def takes(function: ast.FunctionDef) -> list[str]:
    return [ast.unparse(each.annotation) for each in function.args.args if each.annotation]


def gives(function: ast.FunctionDef) -> str:
    return ast.unparse(function.returns or ast.Constant(None))


@each_step
def test_a_step_is_a_function_from_the_records_it_needs_to_the_record_it_gives(step: Step) -> None:
    function = functions_of(step.module)[step.name]
    expected = [step_named(need).gives.__name__ for need in step.needs]
    if step.division:
        expected.append(f"tuple[{step.division.gives.__name__}, ...]")

    assert takes(function) == ["Run", *expected]
    assert gives(function) == step.gives.__name__
    assert ast.get_docstring(function)


@pytest.mark.parametrize("step", DIVIDED, ids=lambda step: str(step.name))
def test_a_part_is_a_function_from_what_its_step_takes_and_the_part(step: Step) -> None:
    function = functions_of(step.module)[f"{step.name}_part"]
    division = step.division
    assert division
    part = {"parts": "Part", "recipes": "Recipe"}[division.over]

    assert takes(function) == [
        "Run",
        *(step_named(need).gives.__name__ for need in step.needs),
        part,
    ]
    assert gives(function) == division.gives.__name__
    assert ast.get_docstring(function)


@each_step
def test_only_a_step_that_divides_has_a_function_for_its_parts(step: Step) -> None:
    assert (f"{step.name}_part" in functions_of(step.module)) == bool(step.division)


@pytest.mark.parametrize("step", DIVIDED, ids=lambda step: str(step.name))
def test_the_result_depends_on_the_names_of_the_parts_but_not_on_their_number(step: Step) -> None:
    assert step.division
    assert ("recipes" in step.config) == (step.division.over == "recipes")
    assert "parts" not in step.config


@pytest.mark.parametrize("step", DIVIDED, ids=lambda step: str(step.name))
def test_no_step_before_one_that_divides_can_stop_the_rest(step: Step) -> None:
    """In the DAG a step that divides also runs after tasks that were skipped, as its own are if
    it has one part. A step that says that the rest must not run would be overheard."""
    before = PIPELINE[: PIPELINE.index(step)]

    assert all(each.gives.reason_to_stop is Record.reason_to_stop for each in before)
    assert not any("Halt" in names_imported(each.module) for each in before)


def names_imported(module: str) -> set[str]:
    nodes = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in nodes for alias in node.names}


def test_a_step_that_can_stop_the_rest_would_be_found() -> None:
    assert "Halt" in names_imported("release.register")
    assert step_named("register").gives.reason_to_stop is not Record.reason_to_stop


def fields_read(module: str) -> set[str]:
    """The fields of the configuration that a module reads: ``config.x`` or ``....config.x``."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and node.attr in Retraining.model_fields:
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if name == "config":
                found.add(node.attr)
    return found


def all_it_imports(module: str) -> set[str]:
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in MODULES and name not in seen:
            seen.add(name)
            todo += imports_of(source_of(name))
    return seen


@each_step
def test_a_step_reads_no_field_that_reuse_does_not_know_of(step: Step) -> None:
    """Else a change of that field would be answered with old work."""
    if not step.reusable:  # what it reads of other records' configurations counts by their hashes
        return
    read = set().union(*(fields_read(name) for name in all_it_imports(step.module)))

    assert read <= set(step.config)


def test_reading_a_field_is_seen_however_it_is_reached() -> None:
    assert fields_read("training.learner") >= {"epochs", "image_size", "learning_rate"}
    assert {"training.learner", "training.residual_network"} <= all_it_imports("training.train")


def test_training_does_not_depend_on_how_it_is_judged() -> None:
    """Else a change in a figure would throw all trained models away."""
    judging = {name for name in MODULES if name.startswith(("evaluation.", "statistics."))}

    assert not judging & all_it_imports("training.train")
    judged_by = {f"evaluation.{name}" for name in ("scoring", "comparison", "saliency")}
    judged_by |= {f"statistics.{name}" for name in ("proportions", "ranking", "calibration")}
    assert judged_by <= all_it_imports("evaluation.evaluate")


@each_step
def test_a_step_depends_on_no_field_that_it_does_not_read(step: Step) -> None:
    """Else a change of that field would throw work away."""
    read = set().union(*(fields_read(name) for name in all_it_imports(step.module)))
    divided_over = {step.division.over} if step.division else set()  # read by `parts_of`

    assert set(step.config) <= read | divided_over


# The records ------------------------------------------------------------------------------------


def models_in(annotation: Any) -> set[type[BaseModel]]:
    """A model that a type names, and all models that its fields name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.values()
        return {annotation}.union(*(models_in(each.annotation) for each in fields))
    return set().union(*(models_in(part) for part in get_args(annotation)))


def fields_without_description(models: set[type[BaseModel]]) -> list[str]:
    return sorted(
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description
    )


def test_each_field_of_a_record_says_what_it_is() -> None:
    divisions = [step.division.gives for step in DIVIDED if step.division]
    models = set().union(*(models_in(each) for each in (*(s.gives for s in PIPELINE), *divisions)))

    assert {"Trained", "Epoch", "Provenance", "Artifact", "Retraining"} <= {
        model.__name__ for model in models
    }
    assert fields_without_description(models) == []


def test_a_field_of_a_record_that_says_nothing_would_be_found() -> None:
    class Held(BaseModel):
        silent: int

    class Holder(Record):
        held: Annotated[dict[str, tuple[Held, ...]] | None, "checked"] = Field(description="Told.")

    assert fields_without_description(models_in(Holder)) == ["Held.silent"]


# What no file may hold --------------------------------------------------------------------------


def test_no_file_names_a_package_registry() -> None:
    hosts = (("pypi", "org"), ("pythonhosted", "org"), ("anaconda", "org"), ("npmjs", "org"))

    assert lines_that_match("|".join(re.escape(".".join(host)) for host in hosts)) == []


def test_no_file_names_a_place_on_a_developers_machine() -> None:
    assert lines_that_match(PLACE) == []


@pytest.mark.parametrize(
    "line", ["cd {}home/me", "x = '{}Users/me/x'", "ROOT={}work/main", "{}tmp/a"]
)
def test_a_place_on_a_developers_machine_would_be_found(line: str) -> None:
    assert re.search(PLACE, line.format("/"))
    assert not re.search(PLACE, line.format("some/"))


MOST_LINES = 400


def is_too_long(source: str) -> bool:
    return len(source.splitlines()) > MOST_LINES


@pytest.mark.parametrize(
    "path", product_files(), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_file_of_the_product_is_short_enough_to_be_read(path: Path) -> None:
    assert not is_too_long(path.read_text()), f"cut {path.name} by idea"


def test_a_file_that_is_too_long_would_be_found() -> None:
    assert is_too_long("x = 1\n" * (MOST_LINES + 1))
    assert not is_too_long("x = 1\n" * MOST_LINES)


def test_no_file_is_a_drawer_for_what_has_no_name() -> None:
    names = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "base"}

    assert [path for path in files_of_the_project() if path.stem.casefold() in names] == []


@pytest.mark.parametrize("lock", sorted((ROOT / "locks").glob("*.txt")), ids=lambda path: path.stem)
def test_every_entry_of_a_lock_is_pinned_and_has_a_hash(lock: Path) -> None:
    text = re.sub(r"(?m)^\s*#.*\n", "", lock.read_text()).replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip()]

    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._\[\],-]+==[^\s;]+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry


@pytest.mark.parametrize("lock", ["train", "train-gpu"])
def test_training_has_what_mlflow_reads_the_load_of_the_machine_with(lock: str) -> None:
    assert re.search(r"(?m)^psutil==", (ROOT / "locks" / f"{lock}.txt").read_text())


def test_everything_in_a_lock_is_in_the_lock_of_everything() -> None:
    """One resolution: a container runs the versions that were tested together. Only what computes
    on a GPU is in no environment of a CPU machine."""

    def pins(path: Path) -> dict[str, str]:
        found = re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", path.read_text())
        return {name.casefold().replace("_", "-"): version for name, version in found}

    everything = pins(ROOT / "locks/everything.txt")
    installer = ROOT / "locks/uv.txt"  # installs the rest, and is no part of it
    for lock in set((ROOT / "locks").glob("*.txt")) - {installer}:
        differing = {
            name: (version, everything.get(name))
            for name, version in pins(lock).items()
            if everything.get(name) != version
            and not (lock.name == "train-gpu.txt" and re.match("jax-cuda|nvidia-", name))
        }
        assert differing == {}, lock.name


def test_one_process_gets_all_tests_that_share_an_engine_and_begins_first() -> None:
    """Two at once would build the same images, and make the same network, beside each other."""
    for place in ONE_AFTER_ANOTHER:
        assert (ROOT / place).is_dir()
        assert dealt_as(f"{place}test_a.py::test_a[1]") == dealt_as(f"{place}test_b.py::test_b")
        assert turn_of(f"{place}test_a.py::test_a") < turn_of("tests/test_a.py::test_a")
    assert dealt_as("tests/test_a.py::test_b") == dealt_as("tests/test_a.py::test_c[x::y]")
    assert dealt_as("tests/test_a.py::test_b") != dealt_as("tests/test_b.py::test_b")
    for place in LONGEST_FIRST:
        assert (ROOT / place).exists()


# What is said -----------------------------------------------------------------------------------

# A bound that is rounded to the nearest claims more than it holds: 79.96 % becomes 80.0 %.
NEAREST = re.compile(
    r"""\.(?:lower|upper)\s*(?::[+.]|\)?\s*\|\s*(?:percent|round))  # {x.lower:.1%}
    |format\(\s*[\w.]+\.(?:lower|upper)\b  # "%.3f" | format(x.lower)
    |percent\(\s*[\w.]+\.(?:lower|upper)\b  # percent(x.lower)
    """,
    re.VERBOSE,
)


def test_no_page_log_or_message_rounds_a_bound_to_the_nearest() -> None:
    folders = [ROOT / "tasks", ROOT / "dags", ROOT / "demo"]
    files = [path for each in folders for path in each.rglob("*") if path.suffix in (".py", ".j2")]
    found = [
        f"{path.name}:{number}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if NEAREST.search(line)
    ]

    assert len(files) > 80
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'f"{found.lower:.1%} to {found.upper:.1%}"',
        '{{ "%.3f" | format(figure.lower) }}',
        "{{ each.upper | percent(1) }}",
        "percent(same.upper)",
    ],
)
def test_that_law_sees_each_way_to_round_a_bound(line: str) -> None:
    assert NEAREST.search(line)
    assert not NEAREST.search(line.replace("lower", "value").replace("upper", "value"))
