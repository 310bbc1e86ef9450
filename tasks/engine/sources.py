"""The source of a step: the hash of the code that its result depends on.

Each file counts as Python reads it: without comments, docstrings, formatting and line numbers. No
file of ``tasks/`` reads a docstring as data; a law of the house forbids it.
"""

import ast
from functools import lru_cache
from pathlib import Path

from tasks.records.record import sha256

# Raise it with a change, in what COUNTED_BY_FORMAT names, after which a step that runs on the same
# records and configuration would answer otherwise. Then every step of every run is done again.
FORMAT = 1

# Files, and packages, of which no line counts, so that a change there discards no trained model.
# Whatever is not named here counts, in each step that imports it.
COUNTED_BY_FORMAT = (
    # What a step reads of a record is content, which counts by its hash; how a record is written
    # counts by `Record.FORMAT`.
    "records",
    # Each value that a step reads of the configuration is in the fingerprint itself.
    "config",
    # Needs, fields, libraries and outside of a step are in the fingerprint itself.
    "pipeline",
    # An error ends a step without a record. Where a step goes on, its record tells the error in
    # words, from which nothing is computed.
    "errors",
    # They hand bytes on, and compare their SHA-256. What writes a table or reads the ledger
    # computes: `engine.spreadsheet`, `engine.judged`, `engine.ledger` and `engine.loose` count.
    "engine.checkpoints",
    "engine.environment",
    "engine.erasures",
    "engine.execute",
    "engine.folder_signature",
    "engine.quiet",
    "engine.reuse",
    "engine.run",
    "engine.signing",
    "engine.sources",
    "engine.directory",
    "engine.s3",
    "engine.storage",
    "engine.store",
    "engine.vouchers",
    # What is withdrawn is in the fingerprint itself.
    "engine.withdrawals",
    # So is who delivered what, and in which order, as `Step.outside`.
    "engine.delivery_order",
    # The champion's version and bytes are in the fingerprint itself, as `Step.outside`. What is
    # written to MLflow is read back by no step.
    "registry",
)

SOURCES = 1000  # files whose reading is kept: the hashes of several steps read most of them

# What may begin with a docstring. Any other string that stands as a statement counts.
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@lru_cache
def code_hash(module: str) -> str:
    """SHA-256, hex, over `FORMAT` and the code of `files_that_count`.

    Args:
        module: Dotted path within ``tasks``, such as ``training.train``.
    """
    code = (f"{name}\0{as_read(source)}" for name, source in sorted(_sources_of(module).items()))
    return sha256("\0".join([str(FORMAT), *code]).encode())


def files_that_count(module: str) -> list[str]:
    """The files of ``tasks`` whose code counts for a step, as dotted paths: its module, and all
    that this imports, directly or not, but for what counts by `FORMAT`."""
    return sorted(_sources_of(module))


def _sources_of(module: str) -> dict[str, str]:
    folder = Path(__file__).parent.parent
    seen: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        path = folder / f"{name.replace('.', '/')}.py"
        if name not in seen and not _counts_by_format(name) and path.is_file():
            seen[name] = path.read_text()
            todo += imports_of(seen[name])
    return seen


def _counts_by_format(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in COUNTED_BY_FORMAT)


def as_read(source: str) -> str:
    """What Python reads in a source: its syntax tree, in words, without docstrings."""
    return _parsed(source)[0]


def imports_of(source: str) -> tuple[str, ...]:
    """The modules of ``tasks`` that a file imports, as dotted paths within ``tasks``.

    ``from tasks.a import b`` gives both ``a`` and ``a.b``, because the second may be a module too.
    """
    return _parsed(source)[1]


@lru_cache(SOURCES)
def _parsed(source: str) -> tuple[str, tuple[str, ...]]:
    """`as_read` and `imports_of`, which both read the whole syntax tree."""
    tree = ast.parse(source)
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.kind = None  # u"text" is "text"
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    own = (name.removeprefix("tasks.") for name in found if name.startswith("tasks."))
    return ast.dump(tree), tuple(own)
