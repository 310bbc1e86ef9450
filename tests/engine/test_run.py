"""What counts as done, and when the work of an earlier run stands for a new one."""

import importlib.util
import json
import logging
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tasks.engine.sources
from tasks.config import Retraining
from tasks.engine.execute import execute
from tasks.engine.run import Run, open_run
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt, Halt, NotFound
from tasks.pipeline import Step, steps_until
from tasks.records.record import Artifact, Record, artifacts_of

on_a_directory = pytest.mark.parametrize("store_uri", ["directory"], indirect=True)
on_real_stores = pytest.mark.parametrize("store_uri", ["directory", "radosgw"], indirect=True)


class Drawn(Record):
    """Record of ``draw``: some bytes of its own and some that are shared."""

    own: Artifact
    shared: tuple[Artifact, ...]


class Counted(Record):
    """Record of ``count``."""

    bytes_counted: int
    table: Artifact

    @property
    def reason_to_stop(self) -> str | None:
        return "there is nothing to count" if self.bytes_counted == 0 else None


DRAW = Step(
    "draw", "", module="draw", needs=(), gives=Drawn, config=("seed",), libraries=("paint",)
)
COUNT = Step("count", "", module="count", needs=("draw",), gives=Counted, config=("epochs",))
ASK = Step("ask", "", module="ask", needs=("draw",), gives=Counted, reusable=False)


@dataclass
class World:
    """A pipeline of two small steps, with all that their results depend on within reach."""

    store: Store
    code: dict[str, str] = field(default_factory=lambda: {"draw": "1", "count": "1", "ask": "1"})
    libraries: dict[str, str] = field(default_factory=lambda: {"paint": "1.0"})
    calls: list[str] = field(default_factory=list)
    picture: bytes = b"a picture"
    during: Callable[[Run], None] = lambda run: None

    def run(self, name: str, **config: Any) -> Run:
        return open_run(f"{self.store.uri}/runs/{name}", Retraining(**config))

    def draw(self, run: Run) -> Drawn:
        self.calls.append("draw")
        own = run.keep("own.bin", self.picture)
        shared = run.share("pictures", b"shared " + self.picture, ".bin")
        self.during(run)
        return Drawn(own=own, shared=(shared,))

    def count(self, run: Run, drawn: Drawn) -> Counted:
        self.calls.append("count")
        n = len(run.fetch(drawn.own))
        return Counted(bytes_counted=n, table=run.keep("table.csv", b"n\n%d\n" % n))

    def ask(self, run: Run, drawn: Drawn) -> Counted:
        self.calls.append("ask")
        return Counted(bytes_counted=1, table=run.keep("answer", b"yes"))


def do(step: Step, run: Run) -> Any:
    """As the command line does it: a `Run` for each step."""
    return execute(step, replace(run, step=step.name, attempt=secrets.token_hex(4)))


@pytest.fixture
def world(store: Store, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(store)
    for step in (DRAW, COUNT, ASK):
        module = ModuleType(f"tasks.{step.name}")
        setattr(module, step.name, getattr(world, step.name))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("tasks.pipeline.PIPELINE", (DRAW, COUNT, ASK))
    monkeypatch.setattr("tasks.engine.sources.code_hash", lambda name: world.code[name])
    monkeypatch.setattr("tasks.engine.reuse.metadata.version", lambda name: world.libraries[name])
    return world


def explained(error: BadInput) -> str:
    text = str(error)
    assert error.exit_code == 64
    for word in ("Expected:", "Received:", "Do:"):
        assert word in text
    return text


# A record is committed last, and once -----------------------------------------------------------


def test_a_record_is_committed_after_everything_it_vouches_for(world: World) -> None:
    run = world.run("first")
    seen: list[Any] = []
    world.during = lambda running: seen.append(running.record("draw"))

    record = do(DRAW, run)

    assert seen == [None]
    assert run.record("draw") == record
    assert [run.fetch(artifact) for artifact in artifacts_of(record)] == [
        b"a picture",
        b"shared a picture",
    ]


def test_a_record_says_how_it_came_to_be(world: World) -> None:
    run = world.run("first", seed=7)
    drawn = do(DRAW, run)

    provenance = do(COUNT, run).provenance

    assert (provenance.step, provenance.run, provenance.config.seed) == ("count", "first", 7)
    assert provenance.inputs == {"draw": drawn.content_hash}
    assert provenance.reused_from is None
    assert provenance.peak_memory_bytes > 1_000_000


def test_the_content_of_a_record_is_all_but_its_provenance(world: World) -> None:
    drawn = do(DRAW, world.run("first"))

    assert drawn.model_copy(update={"provenance": None}).content_hash == drawn.content_hash
    assert drawn.model_copy(update={"shared": ()}).content_hash != drawn.content_hash


def test_a_step_that_fails_has_no_record_and_can_be_run_again(world: World) -> None:
    run = world.run("first")

    def fail(running: Run) -> None:
        raise RuntimeError("the machine is on fire")

    world.during = fail
    with pytest.raises(RuntimeError):
        do(DRAW, run)
    assert run.record("draw") is None
    with pytest.raises(BadInput):
        do(COUNT, run)

    world.during = lambda running: None
    do(DRAW, run)
    assert do(COUNT, run).bytes_counted == len(b"a picture")


def test_a_committed_step_is_not_done_again(world: World) -> None:
    run = world.run("first")
    first = do(DRAW, run)
    written = run.store.read("runs/first/draw/record.json")

    assert do(DRAW, run) == first
    assert world.calls == ["draw"]
    assert run.store.read("runs/first/draw/record.json") == written


def test_a_step_without_the_record_it_needs_says_which_command_makes_it(world: World) -> None:
    with pytest.raises(BadInput) as caught:
        do(COUNT, world.run("first"))

    assert f"python -m tasks draw --run {world.store.uri}/runs/first" in explained(caught.value)
    assert world.calls == []


def test_a_record_with_a_reason_to_stop_stands_and_halts_each_time(world: World) -> None:
    run = world.run("first")
    world.picture = b""
    do(DRAW, run)

    for _ in range(2):
        with pytest.raises(Halt, match="nothing to count") as caught:
            do(COUNT, run)
        assert caught.value.exit_code == 99
    assert run.record("count") is not None
    assert world.calls == ["draw", "count"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"own": 1}', b"\xff"])
def test_a_record_that_cannot_be_read_is_bad_input(world: World, data: bytes) -> None:
    world.store.create("runs/first/draw/record.json", data)

    with pytest.raises(BadInput) as caught:
        do(COUNT, world.run("first"))

    assert "runs/first/draw/record.json" in explained(caught.value)


# Two attempts at one step -----------------------------------------------------------------------


def race(world: World, runs: list[Run]) -> list[Any]:
    """Execute ``draw`` in all runs at once; all have written before any commits."""
    meeting = threading.Barrier(len(runs))

    def meet(run: Run) -> None:
        meeting.wait(30)

    world.during = meet

    def attempt(run: Run) -> Any:
        try:
            return do(DRAW, run)
        except BadInput as error:
            return error

    with ThreadPoolExecutor(len(runs)) as threads:
        return list(threads.map(attempt, runs))


@on_real_stores
def test_of_two_attempts_at_one_step_one_record_stands_and_both_succeed(world: World) -> None:
    one, other = race(world, [world.run("first"), world.run("first")])

    assert world.calls == ["draw", "draw"]
    assert one == other == world.run("first").record("draw")


@on_real_stores
def test_an_overlapping_attempt_does_not_touch_what_the_standing_record_vouches_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.run("first")
    monkeypatch.setattr(World, "picture", property(lambda world: secrets.token_bytes(16)))

    record, _ = race(world, [run, run])

    for artifact in artifacts_of(record):
        run.fetch(artifact)


@on_a_directory
def test_two_attempts_in_one_folder_would_destroy_each_others_artifacts(world: World) -> None:
    """The opposite case, and why `Run.attempt` is there."""
    run = replace(world.run("first"), step="draw", attempt="the same")
    record = execute(DRAW, run)
    assert isinstance(record, Drawn)

    run.keep("own.bin", b"of a slower attempt")

    with pytest.raises(Corrupt):
        run.fetch(record.own)


def test_of_two_attempts_under_different_configurations_one_is_refused(world: World) -> None:
    results = race(world, [world.run("first", seed=1), world.run("first", seed=2)])

    (refused,) = [result for result in results if isinstance(result, BadInput)]
    (record,) = [result for result in results if isinstance(result, Drawn)]
    assert "seed" in explained(refused)
    assert world.run("first").record("draw") == record


def test_a_run_that_holds_a_step_under_another_configuration_is_refused(world: World) -> None:
    do(DRAW, world.run("first", seed=1))

    with pytest.raises(BadInput) as caught:
        do(DRAW, world.run("first", seed=2))

    assert "seed" in explained(caught.value)
    assert "new run" in str(caught.value)


def test_a_field_that_a_step_does_not_depend_on_may_change(world: World) -> None:
    first = do(DRAW, world.run("first", epochs=1))

    assert do(DRAW, world.run("first", epochs=2)) == first


def test_a_run_that_holds_a_step_of_other_code_is_refused(world: World) -> None:
    do(DRAW, world.run("first"))
    world.code["draw"] = "2"

    with pytest.raises(BadInput) as caught:
        do(DRAW, world.run("first"))

    assert "code" in explained(caught.value)


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


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


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


# Artifacts --------------------------------------------------------------------------------------


def test_a_flipped_byte_is_corrupt(world: World) -> None:
    run = world.run("first")
    drawn = do(DRAW, run)
    run.store.replace(drawn.own.key, flipped(b"a picture"))

    for fetch in (lambda: run.fetch(drawn.own), lambda: list(run.fetch_many((drawn.own,)))):
        with pytest.raises(Corrupt) as caught:
            fetch()
        assert drawn.own.key in explained(caught.value)
        assert drawn.own.sha256 in str(caught.value)
    with pytest.raises(Corrupt):
        do(COUNT, run)
    assert run.record("count") is None


def test_a_missing_artifact_is_not_found(world: World) -> None:
    run = world.run("first")
    gone = Artifact(key="runs/first/draw/gone", sha256="0" * 64, size_bytes=1)

    for fetch in (lambda: run.fetch(gone), lambda: list(run.fetch_many((gone,)))):
        with pytest.raises(NotFound) as caught:
            fetch()
        assert gone.key in explained(caught.value)


def test_what_is_shared_is_written_once_and_mended_if_it_was_damaged(world: World) -> None:
    run = world.run("first")
    shared = run.share("pictures", b"1234", ".bin")
    (before,) = world.store.list("shared/pictures/")

    assert run.share("pictures", b"1234", ".bin") == shared
    assert list(world.store.list("shared/pictures/")) == [before]

    world.store.replace(shared.key, b"123")
    assert run.share("pictures", b"1234", ".bin") == shared
    assert run.fetch(shared) == b"1234"


def test_progress_is_seen_here_and_from_afar(world: World) -> None:
    seen: list[Any] = []
    run = replace(world.run("first"), step="draw", watch=seen.append)

    run.progress(1, 3, "epoch 1/3, loss 1.21")

    assert (seen[0].done, seen[0].total) == (1, 3)
    assert json.loads(world.store.read("runs/first/draw/progress.json")) == {
        "step": "draw",
        "done": 1,
        "total": 3,
        "text": "epoch 1/3, loss 1.21",
    }


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "store",
        "store/runs/",
        "runs/first",
        "store/runs/a b",
        "store/runs/../x",
        "store/runs/.x",
    ],
)
def test_an_address_that_is_no_runs_is_refused(uri: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_run(uri, Retraining())

    assert repr(uri) in explained(caught.value)


def test_an_address_of_a_run_leads_back_to_it(store_uri: str) -> None:
    run = open_run(f"{store_uri}/runs/2026-01-02T03-04-05Z/", Retraining())

    assert open_run(run.uri, Retraining()).uri == run.uri == f"{store_uri}/runs/{run.name}"


def test_an_unknown_step_is_refused_and_a_known_one_ends_the_list() -> None:
    assert [step.name for step in steps_until("split")] == ["ingest", "validate", "split"]
    assert len(steps_until(None)) == 9
    with pytest.raises(BadInput) as caught:
        steps_until("trian")
    assert "'trian'" in explained(caught.value)


# The format of a record -------------------------------------------------------------------------


@on_a_directory
def test_a_record_says_its_format_and_one_of_before_is_of_the_first(world: World) -> None:
    record = do(DRAW, world.run("first"))
    key = "runs/first/draw/record.json"
    told = json.loads(world.store.read(key))
    assert told["provenance"].pop("format") == Drawn.FORMAT == record.provenance.format == 1
    world.store.replace(key, json.dumps(told).encode())

    again = world.run("first").record("draw")
    assert again is not None
    assert again == record


@on_a_directory
@pytest.mark.parametrize("more", [{}, {"field_of_a_later_version": 1}])
def test_a_record_of_a_later_format_is_refused_with_what_to_do(
    world: World, more: dict[str, Any]
) -> None:
    do(DRAW, world.run("first"))
    key = "runs/first/draw/record.json"
    told = json.loads(world.store.read(key)) | more
    told["provenance"]["format"] = 2
    world.store.replace(key, json.dumps(told).encode())

    with pytest.raises(BadInput) as caught:
        world.run("first").record("draw")
    text = explained(caught.value)
    assert f"{key} was written by a later version of the program" in text
    assert "Drawn in format 1 or an earlier one" in text
    assert "format 2" in text


@on_a_directory
def test_a_raised_format_has_the_step_done_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(DRAW, world.run("first"))
    monkeypatch.setattr(Drawn, "FORMAT", 2)

    assert do(DRAW, world.run("second")).provenance.reused_from is None


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
