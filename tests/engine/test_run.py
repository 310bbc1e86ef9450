"""What counts as done: records, attempts side by side, artifacts."""

import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tasks.config import Retraining
from tasks.engine.execute import execute
from tasks.engine.run import Run, open_run
from tasks.errors import BadInput, Corrupt, Halt, NotFound
from tasks.pipeline import steps_until
from tasks.records.record import Artifact, artifacts_of
from tests.support.stores import on_a_directory, on_real_stores
from tests.support.world import COUNT, DRAW, Drawn, World, do, explained, flipped

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
