"""The laws of the code that a step's result depends on: what counts, and what does not."""

import ast
import hashlib
import importlib.util
import json
import random
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.sources import COUNTED_BY_FORMAT, as_read, files_that_count
from tasks.pipeline import PIPELINE, step_named
from tasks.records.record import Record
from tests.support.paths import ROOT

# Whose code counts for a step: packages with the number of their files, and single files. Where
# this list grows, a change of more files discards the step's work.
COUNTED = {
    "ingest": "figures, intake 34, lesions, parts, terms",
    "validate": "engine 4, evaluation 8, figures, intake 19, lesions, parts, splitting 2, "
    "statistics 5, terms, validation 22",
    "split": "engine 4, figures, intake 2, lesions, splitting 4",
    "check_balance": "balancing 1, figures, lesions",
    "oversample": "balancing 2, intake 2, lesions",
    "train": "curve, figures, intake 3, lesions, model_file, recipes, training 17",
    "evaluate": "engine 4, evaluation 19, figures, intake 10, lesions, model_file, recipes, "
    "splitting 3, statistics 7, terms, training 16",
    "gate": "engine 4, evaluation 17, figures, intake 9, lesions, splitting 4, statistics 7, terms",
    "register": "curve, engine 4, evaluation 26, figures, intake 9, lesions, recipes, release "
    "15, splitting 5, statistics 7, terms, text 2, validation 1",
}
OF_TRAIN = files_that_count("training.train")


def path_of(module: str) -> Path:
    return ROOT / "tasks" / f"{module.replace('.', '/')}.py"


def in_short(files: list[str]) -> str:
    packages = [name.partition(".")[0] for name in files]
    single = {name for name in files if "." not in name}
    told = (
        each if each in single else f"{each} {packages.count(each)}"
        for each in sorted(set(packages))
    )
    return ", ".join(told)


@pytest.mark.parametrize("step", PIPELINE, ids=lambda step: str(step.name))
def test_what_counts_for_a_step_is_its_stage_and_what_that_computes_with(step: Any) -> None:
    assert in_short(files_that_count(step.module)) == COUNTED[step.name]


def test_each_file_that_counts_by_format_is_there() -> None:
    for name in COUNTED_BY_FORMAT:
        assert path_of(name).exists() or (ROOT / "tasks" / name).is_dir(), name


# What counts in a file --------------------------------------------------------------------------


class OtherDocstrings(ast.NodeTransformer):
    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.Expr(ast.Constant("Another docstring."))
        return node


@pytest.mark.parametrize("module", OF_TRAIN)
def test_comments_docstrings_and_formatting_do_not_count(module: str) -> None:
    source = path_of(module).read_text()
    bare = ast.unparse(ast.parse(source))
    redocumented = ast.unparse(OtherDocstrings().visit(ast.parse(source)))

    assert bare != source
    assert as_read(bare) == as_read(source)
    assert as_read(redocumented) == as_read(source)
    assert as_read(f"# a comment\n\n{source}\n\n# another\n") == as_read(source)


def other(value: Any) -> Any:
    if isinstance(value, bool) or value is None or value is Ellipsis:
        return "another"
    return value + (b"?" if isinstance(value, bytes) else "?" if isinstance(value, str) else 1)


@pytest.mark.parametrize("module", OF_TRAIN)
def test_each_constant_counts(module: str) -> None:
    source = path_of(module).read_text()
    without_docstrings = OtherDocstrings().visit(ast.parse(source))
    constants = [
        node
        for node in ast.walk(without_docstrings)
        if isinstance(node, ast.Constant) and node.value != "Another docstring."
    ]
    before = as_read(source)
    for node in random.Random(module).sample(constants, min(25, len(constants))):
        node.value, kept = other(node.value), node.value
        assert as_read(ast.unparse(without_docstrings)) != before
        node.value = kept
    assert as_read(ast.unparse(without_docstrings)) == before


CODE = '''"""A module."""
from a import b

RATE = 0.1
NAMES = ("mel", "nev")

@b
def f(x, y=2, *, z="why"):
    """What f does."""
    "a string that is no docstring"
    if x > y:
        return [x, z]
    return f"{x:.2f}"

class C(b):
    """A class."""
    field: int = 1
    """Of a field."""
'''


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("0.1", "0.2"),
        ("0.1", "1"),
        ('"mel", "nev"', '"nev", "mel"'),
        ("y=2", "y=3"),
        ("y=2", "y=2.0"),
        ("y=2", "y=True"),
        ('z="why"', 'z="who"'),
        ("@b\n", ""),
        ("@b\n", "@b()\n"),
        ("x > y", "x >= y"),
        ("x > y", "y > x"),
        (":.2f", ":.3f"),
        ("import b", "import b as c"),
        ("class C(b)", "class C"),
        ("field: int", "field: float"),
        ("a string that is no docstring", "another string"),
        ("Of a field.", "Of another field."),
    ],
)
def test_what_python_computes_with_counts(then: str, now: str) -> None:
    assert then in CODE
    assert as_read(CODE.replace(then, now)) != as_read(CODE)


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("A module.", "Another."),
        ("What f does.", "What f does not."),
        ("A class.", "Another."),
        ('"""A class."""\n    ', ""),
        ("RATE = 0.1", "RATE = (0.1)  # of learning"),
        ('"mel", "nev"', "u'mel',\n    'n' 'ev',"),
        ("x > y", "(x\n        > y)"),
    ],
)
def test_what_python_does_not_compute_with_does_not_count(then: str, now: str) -> None:
    assert then in CODE
    assert as_read(CODE.replace(then, now)) == as_read(CODE)


# Docstrings, and a file's own text, are no data: they do not count, or not as they stand.
READS_DOCSTRINGS = re.compile(
    r"__doc__(?! = )|\bgetdoc\b|\bgetsource\b"
    r"|\bgetcomments\b|\bco_consts\b|use_attribute_docstrings"
)


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").rglob("*.py")), ids=lambda path: path.stem)
def test_no_docstring_is_read_as_data(path: Path) -> None:
    assert READS_DOCSTRINGS.search(path.read_text()) is None


@pytest.mark.parametrize("line", ["print(f.__doc__)", "inspect.getdoc(f)", "getsource(f)"])
def test_a_docstring_that_is_read_would_be_found(line: str) -> None:
    assert READS_DOCSTRINGS.search(line)
    assert not READS_DOCSTRINGS.search('f.__doc__ = "for a library that reads it"')


# What counts in the whole -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def hash_of_train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """`code_hash` of ``train``, over a copy of ``tasks/`` in which one text is replaced."""
    tmp_path = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("*.pyc"))

    @cache
    def code_hash(module: str = "", then: str = "", now: str = "") -> str:
        path = tmp_path / "tasks" / f"{module.replace('.', '/')}.py"
        source = path.read_text() if module else ""
        if module:
            assert then in source
            path.write_text(source.replace(then, now, 1))
        copied = importlib.util.spec_from_file_location(
            "copied", tmp_path / "tasks/engine/sources.py"
        )
        assert copied
        assert copied.loader
        sources = importlib.util.module_from_spec(copied)
        copied.loader.exec_module(sources)
        found = str(sources.code_hash("training.train"))
        if module:
            path.write_text(source)
        return found

    return code_hash


@pytest.mark.parametrize(
    ("module", "then", "now"),
    [
        ("training.train", '"""', '"""Otherwise. '),
        ("lesions", '"""', '# A comment.\n"""'),
        ("release.card", "def ", "X = 1\n\n\ndef "),
        ("evaluation.gate", "def ", "X = 1\n\n\ndef "),
        ("records.verdict", "    leaks: int", "    another: int = 0\n    leaks: int"),
        ("records.trained", 'description="', 'description="In other words: '),
        ("config", 'description="', 'description="In other words: '),
        ("pipeline", "memory_mb=8192", "memory_mb=4096"),
        ("engine.store", "PARALLEL_REQUESTS = ", "PARALLEL_REQUESTS = 1 + "),
        ("registry.tracking", "SECONDS_BETWEEN_TRIES = 60", "SECONDS_BETWEEN_TRIES = 30"),
    ],
)
def test_what_changes_nothing_in_training_discards_no_model(
    hash_of_train: Callable[..., str], module: str, then: str, now: str
) -> None:
    assert hash_of_train(module, then, now) == hash_of_train()


@pytest.mark.parametrize("module", ["curve", "lesions", "model_file", "training.fitting"])
def test_code_that_training_computes_with_discards_its_models(
    hash_of_train: Callable[..., str], module: str
) -> None:
    assert hash_of_train(module, "\n\n\n", "\n\n\nCHANGED = 1\n\n\n") != hash_of_train()


def test_a_raised_format_of_the_engine_discards_all_work(
    hash_of_train: Callable[..., str],
) -> None:
    assert hash_of_train("engine.sources", "FORMAT = 1", "FORMAT = 2") != hash_of_train()


# The formats of records -------------------------------------------------------------------------

# The format of each record, and the first digits of a hash: of its fields, and of those that are no
# content. Where the hash is another one, raise `FORMAT` of that record, and write both down here.
# Words do not count.
FORMATS = {
    "Ingested": (3, "c715c13bb387"),
    "Validated": (6, "f2141e747c0f"),
    "Split": (1, "8520a6525793"),
    "Balance": (1, "67a9d048700c"),
    "Oversampled": (1, "d8d94e996885"),
    "Trained": (4, "fd63aab4279b"),
    "Evaluated": (6, "583940e35b7c"),
    "Verdict": (2, "461defff4d9c"),
    "Registered": (3, "50a1e2e6adc6"),
    "IngestedPart": (1, "6479611a4696"),
    "ValidatedPart": (1, "115251f909e7"),
    "TrainedPart": (4, "3e8de81cb797"),
}


def without_words(schema: Any) -> Any:
    if isinstance(schema, dict):
        named = {"title", "description"}
        words = {key for key in named & schema.keys() if isinstance(schema[key], str)}
        return {key: without_words(part) for key, part in schema.items() if key not in words}
    return [without_words(part) for part in schema] if isinstance(schema, list) else schema


def shape_of(record: type[Record]) -> str:
    """Of all its fields but the provenance, whose configuration counts by its values."""
    schema = record.model_json_schema(mode="serialization")
    del schema["properties"]["provenance"]
    schema["$defs"] = {
        name: part
        for name, part in schema.get("$defs", {}).items()
        if name not in ("Provenance", "Retraining")
    }
    text = json.dumps([without_words(schema), record.NOT_CONTENT], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


RECORDS = [
    *(step.gives for step in PIPELINE),
    *(step.division.gives for step in PIPELINE if step.division),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record.__name__))
def test_a_record_with_other_fields_has_another_format(record: type[Record]) -> None:
    assert (record.FORMAT, shape_of(record)) == FORMATS[record.__name__]


def test_another_field_is_another_shape_and_other_words_are_not() -> None:
    class Same(step_named("split").gives):  # type: ignore[misc]  # a base that mypy cannot know
        pass

    class More(Same):
        more: int

    assert shape_of(Same) == shape_of(step_named("split").gives)
    assert shape_of(More) != shape_of(Same)
