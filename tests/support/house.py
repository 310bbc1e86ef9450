"""The files of the project, its modules and its steps, for the laws about them."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tasks.pipeline import PIPELINE
from tests.support.paths import ROOT

STEPS = [step.name for step in PIPELINE]
DIVIDED = [step for step in PIPELINE if step.division]
# Each file of tasks/, as a dotted path within it.
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "tasks").with_suffix("").parts)
    for path in (ROOT / "tasks").rglob("*.py")
)
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
