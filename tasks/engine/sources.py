"""The source of a step: the modules of ``tasks`` that it imports, and their hash."""

import ast
from functools import lru_cache
from pathlib import Path

from tasks.records.record import sha256


@lru_cache
def code_hash(module: str) -> str:
    """SHA-256 over the source of a module and of all modules of ``tasks`` that it imports.

    Args:
        module: Dotted path within ``tasks``, such as ``training.train``.
    """
    folder = Path(__file__).parent.parent
    seen: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        path = folder / f"{name.replace('.', '/')}.py"
        if name not in seen and path.is_file():
            seen[name] = path.read_text()
            todo += imports_of(seen[name])
    return sha256("\0".join(f"{name}\0{seen[name]}" for name in sorted(seen)).encode())


def imports_of(source: str) -> list[str]:
    """The modules of ``tasks`` that a file imports, as dotted paths within ``tasks``.

    ``from tasks.a import b`` gives both ``a`` and ``a.b``, because the second may be a module too.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name.removeprefix("tasks.") for name in found if name.startswith("tasks.")]
