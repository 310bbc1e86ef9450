"""When the work of an earlier run stands for a new one, and the code that a step depends on."""

import importlib.util
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tasks.engine.sources
from tasks.engine.run import Run
from tasks.records.record import Artifact, artifacts_of
from tests.support.stores import on_a_directory
from tests.support.world import ASK, COUNT, DRAW, World, do, flipped

# Reuse ------------------------------------------------------------------------------------------


def both(run: Run) -> tuple[str | None, str | None]:
    """Execute both steps; which run did the work of each, if not this one."""
    drawn, counted = do(DRAW, run), do(COUNT, run)
    return drawn.provenance.reused_from, counted.provenance.reused_from


def test_unchanged_work_is_reused_and_the_record_says_from_where(world: World) -> None:
    assert both(world.run("first")) == (None, None)
    assert both(world.run("second")) == ("first", "first")
    assert both(world.run("third")) == ("first", "first")
    assert world.calls == ["draw", "count"]

    first, third = world.run("first").record("count"), world.run("third").record("count")
    assert first
    assert third
    assert first.content_hash == third.content_hash


def test_new_data_is_not_answered_with_old_work(world: World) -> None:
    both(world.run("first"))
    world.store.create("raw/nevus/1.jpg", b"new")
    world.picture = b"another picture"

    assert both(world.run("second")) == (None, None)


def test_a_file_replaced_under_raw_is_new_data(world: World) -> None:
    world.store.create("raw/nevus/1.jpg", b"old")
    both(world.run("first"))
    world.store.replace("raw/nevus/1.jpg", b"new")

    assert do(DRAW, world.run("second")).provenance.reused_from is None


def test_a_changed_record_upstream_is_a_change(world: World) -> None:
    both(world.run("first"))
    world.code["draw"] = "2"
    world.picture = b"another picture"

    assert both(world.run("second")) == (None, None)
    assert world.calls == ["draw", "count"] * 2


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"seed": 21}, (None, "first")),  # drawn anew; the same bytes came out, elsewhere
        ({"epochs": 21}, ("first", None)),
        ({"batch_size": 21}, ("first", "first")),
    ],
)
def test_a_step_depends_on_its_own_fields_of_the_configuration(
    world: World, config: dict[str, int], expected: tuple[str | None, str | None]
) -> None:
    both(world.run("first"))

    assert both(world.run("second", **config)) == expected


def test_changed_code_is_a_change_for_its_step(world: World) -> None:
    both(world.run("first"))
    world.code["count"] = "2"

    assert both(world.run("second")) == ("first", None)


def test_another_version_of_a_library_is_a_change_for_its_step(world: World) -> None:
    both(world.run("first"))
    world.libraries["paint"] = "1.1"

    assert do(DRAW, world.run("second")).provenance.reused_from is None


def test_a_step_that_must_be_asked_each_time_is_not_reused(world: World) -> None:
    for name in ("first", "second"):
        do(DRAW, world.run(name))
        assert do(ASK, world.run(name)).provenance.reused_from is None

    assert world.calls == ["draw", "ask", "ask"]


def test_work_that_was_not_committed_is_not_reused(world: World) -> None:
    def fail(running: Run) -> None:
        raise RuntimeError

    world.during = fail
    with pytest.raises(RuntimeError):
        do(DRAW, world.run("first"))
    world.during = lambda running: None

    assert do(DRAW, world.run("second")).provenance.reused_from is None


def place_of(world: World, artifact: Artifact) -> Path:
    return Path(world.store.uri, artifact.key)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "one bit flipped": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
}


@on_a_directory
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("which", [0, 1], ids=["own", "shared"])
def test_damaged_work_is_done_again_and_the_new_work_is_reused(
    world: World, damage: str, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    first = do(DRAW, world.run("first"))
    DAMAGE[damage](place_of(world, list(artifacts_of(first))[which]))

    with caplog.at_level(logging.WARNING):
        second = do(DRAW, world.run("second"))

    assert second.provenance.reused_from is None
    assert "an earlier result is not reused" in caplog.text
    for artifact in artifacts_of(second):
        world.run("second").fetch(artifact)
    assert do(DRAW, world.run("third")).provenance.reused_from == "second"


def test_unchanged_artifacts_are_reused_without_reading_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = do(DRAW, world.run("first"))
    read: list[str] = []
    second = world.run("second")
    inner = type(second.store).read

    def noted(store: Any, key: str) -> bytes:
        read.append(key)
        return inner(store, key)

    monkeypatch.setattr(type(second.store), "read", noted)

    assert do(DRAW, second).provenance.reused_from == "first"
    assert not set(read) & {artifact.key for artifact in artifacts_of(first)}


def test_an_artifact_that_was_only_written_again_is_read_and_believed(world: World) -> None:
    first = do(DRAW, world.run("first"))
    for artifact in artifacts_of(first):
        world.store.replace(artifact.key, world.store.read(artifact.key))

    assert do(DRAW, world.run("second")).provenance.reused_from == "first"


@pytest.mark.parametrize(
    "pointer",
    [b"", b"[]", b"{}", b'{"run": "absent"}', b'{"run": "../../etc"}', b"null", b"\xff"],
)
def test_a_damaged_note_of_earlier_work_is_not_believed(world: World, pointer: bytes) -> None:
    do(DRAW, world.run("first"))
    (note,) = world.store.list("shared/reuse/draw/")
    world.store.replace(note.key, pointer)

    assert do(DRAW, world.run("second")).provenance.reused_from is None
    assert do(DRAW, world.run("third")).provenance.reused_from == "second"


def test_a_note_that_names_a_run_with_other_work_is_not_believed(world: World) -> None:
    do(DRAW, world.run("first", seed=1))
    (note,) = world.store.list("shared/reuse/draw/")
    do(DRAW, world.run("second", seed=2))
    world.store.replace(note.key, json.dumps({"run": "second"}).encode())

    assert do(DRAW, world.run("third", seed=1)).provenance.reused_from is None


# The code a step depends on ---------------------------------------------------------------------


@pytest.fixture
def code_hash_of(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """`code_hash` over a copy of ``tasks/`` in which files can be changed."""
    folder = tmp_path / "tasks"
    for package in ("engine", "stage"):
        (folder / package).mkdir(parents=True)
    shutil.copy(str(tasks.engine.sources.__file__), folder / "engine")
    for name, source in {
        "stage/step": "from tasks.stage.noun import x\nfrom tasks.stage import beside\n"
        "from tasks import other\n",
        "stage/noun": "def f():\n    import tasks.deep\n",
        "stage/beside": "",
        "other": "",
        "deep": "from tasks.stage.step import y\n",
        "unrelated": "",
    }.items():
        (folder / f"{name}.py").write_text(source)

    def code_hash(changed: dict[str, str] | None = None) -> str:
        for name, source in (changed or {}).items():
            (folder / f"{name}.py").write_text(source)
        spec = importlib.util.spec_from_file_location("copied", folder / "engine/sources.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["copied"] = module
        spec.loader.exec_module(module)
        return str(module.code_hash("stage.step"))

    yield code_hash
    sys.modules.pop("copied", None)


@pytest.mark.parametrize("module", ["stage/step", "stage/noun", "stage/beside", "other", "deep"])
def test_a_change_in_anything_a_step_imports_changes_its_code(
    code_hash_of: Callable[..., str], tmp_path: Path, module: str
) -> None:
    before = code_hash_of()
    source = (tmp_path / "tasks" / f"{module}.py").read_text()

    assert code_hash_of({module: source + "changed = 1\n"}) != before
    assert code_hash_of({module: source}) == before


def test_a_change_in_what_a_step_does_not_import_leaves_its_code_as_it_was(
    code_hash_of: Callable[..., str],
) -> None:
    assert code_hash_of() == code_hash_of({"unrelated": "changed = 1\n"})
