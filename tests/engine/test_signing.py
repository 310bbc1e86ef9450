"""With a key, whatever is unsigned or wrongly signed is refused; without one all goes on."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.person import VARIABLE, Person
from tasks.engine.signing import keys_here, signed_by
from tasks.engine.started import note_start, started_by
from tasks.engine.vouchers import vouch
from tasks.errors import BadInput, Corrupt
from tests.support.keys import Pair, pair_in, use
from tests.support.stores import on_a_directory
from tests.support.world import ASK, COUNT, DRAW, World, do, explained

pytestmark = on_a_directory


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """The key of this process."""
    pair = pair_in(tmp_path / "keys")
    use(monkeypatch, pair.private)
    return pair


@pytest.fixture
def other(tmp_path: Path) -> Pair:
    return pair_in(tmp_path / "other")


def path_of(world: World, run: str, step: str) -> Path:
    return Path(world.store.uri, "runs", run, step, "record.json")


# Records ------------------------------------------------------------------------------------------


def test_a_record_is_signed_with_a_key_and_has_its_old_bytes_without(
    world: World, key: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(DRAW, world.run("signed"))
    record = world.run("signed").record("draw")
    assert record
    assert record.provenance
    assert signed_by(record.provenance.signature) == key.fingerprint
    use(monkeypatch)
    do(DRAW, world.run("unsigned"))
    bare = json.loads(path_of(world, "unsigned", "draw").read_bytes())
    assert "signature" not in bare["provenance"]
    unsigned, again = world.run("unsigned").record("draw"), world.run("signed").record("draw")
    assert unsigned
    assert again == record
    assert unsigned.content_hash == record.content_hash


def test_no_byte_of_a_signed_record_may_be_another(world: World, key: Pair) -> None:
    do(DRAW, world.run("first"))
    path = path_of(world, "first", "draw")
    data = path.read_bytes()

    @given(st.integers(0, len(data) - 1), st.integers(1, 255))
    def law(place: int, change: int) -> None:
        path.write_bytes(data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
        with pytest.raises((BadInput, UnicodeDecodeError)):
            world.run("first").record("draw")

    law()
    path.write_bytes(data)
    assert world.run("first").record("draw")


@pytest.mark.parametrize("added", [b" ", b"\n", b"\0"])
def test_nothing_may_be_added_to_a_signed_record(world: World, key: Pair, added: bytes) -> None:
    do(DRAW, world.run("first"))
    path = path_of(world, "first", "draw")
    path.write_bytes(path.read_bytes() + added)
    with pytest.raises(BadInput):
        world.run("first").record("draw")


def test_a_signature_is_not_moved_to_another_place_of_the_record(world: World, key: Pair) -> None:
    do(DRAW, world.run("first"))
    path = path_of(world, "first", "draw")
    signature = json.loads(path.read_bytes())["provenance"]["signature"].encode()
    bare = path.read_bytes().replace(signature, b"")
    path.write_bytes(bare.replace(b'"image": null', b'"image": "' + signature + b'"'))
    with pytest.raises(Corrupt, match="not signed"):
        world.run("first").record("draw")


def test_a_record_of_another_run_or_step_is_refused(world: World, key: Pair) -> None:
    for run in ("first", "second"):
        do(DRAW, world.run(run))
    for step in (COUNT, ASK):  # both give the same kind of record
        do(step, world.run("first"))
    assert world.run("first").record("ask")
    data = path_of(world, "first", "count").read_bytes()
    for run, place in (("second", "count"), ("first", "ask")):
        path = path_of(world, run, place)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        with pytest.raises(Corrupt, match="not of these bytes at this place"):
            world.run(run).record(place)


def forged(path: Path, change: dict[str, Any], *, stripped: bool) -> None:
    content = json.loads(path.read_bytes()) | change
    if stripped:
        del content["provenance"]["signature"]
    path.write_text(json.dumps(content, indent=1))


@pytest.mark.parametrize("stripped", [True, False])
def test_a_changed_record_is_refused_with_a_key_and_stripping_the_signature_helps_nobody(
    world: World, key: Pair, monkeypatch: pytest.MonkeyPatch, stripped: bool
) -> None:
    do(DRAW, world.run("first"))
    do(COUNT, world.run("first"))
    forged(path_of(world, "first", "count"), {"bytes_counted": 7}, stripped=stripped)
    with pytest.raises(Corrupt) as refused:
        world.run("first").record("count")
    assert "python -m tasks sign" in explained(refused.value)
    use(monkeypatch)
    counted: Any = world.run("first").record("count")
    assert counted.bytes_counted == 7  # without a key nobody can know


def test_the_next_step_does_not_begin_on_an_unsigned_record(
    world: World, key: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch)
    do(DRAW, world.run("first"))
    use(monkeypatch, key.private)
    with pytest.raises(Corrupt, match="not signed"):
        do(COUNT, world.run("first"))
    assert world.calls == ["draw"]


def test_another_key_is_not_accepted_and_an_old_public_key_is(
    world: World, key: Pair, other: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(DRAW, world.run("first"))
    use(monkeypatch, other.private)
    with pytest.raises(Corrupt, match=f"another key, SHA-256 {key.fingerprint}"):
        world.run("first").record("draw")
    use(monkeypatch, other.private, key.public)
    assert do(COUNT, world.run("first")).bytes_counted
    both = key.public.with_name("both.pem")
    both.write_bytes(key.public.read_bytes() + other.public.read_bytes())
    use(monkeypatch, public=both)
    assert world.run("first").record("draw")
    assert world.run("first").record("count")


def test_who_only_verifies_reads_and_begins_no_work(
    world: World, key: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(DRAW, world.run("first"))
    use(monkeypatch, public=key.public)
    assert world.run("first").record("draw")
    with pytest.raises(BadInput, match="cannot sign"):
        do(COUNT, world.run("first"))
    assert world.calls == ["draw"]


def test_a_voucher_stands_for_one_record_at_one_place(
    world: World, key: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch)
    do(DRAW, world.run("first"))
    use(monkeypatch, key.private)
    path = path_of(world, "first", "draw")
    vouch(world.store, keys_here(), "runs/second/draw/record.json", path.read_bytes())
    with pytest.raises(Corrupt, match="not signed"):
        world.run("first").record("draw")
    vouch(world.store, keys_here(), "runs/first/draw/record.json", path.read_bytes())
    assert world.run("first").record("draw")
    forged(path, {"shared": []}, stripped=False)
    with pytest.raises(Corrupt, match="not signed"):
        world.run("first").record("draw")


# Reuse --------------------------------------------------------------------------------------------


def pointer_of(world: World) -> Path:
    (found,) = Path(world.store.uri, "shared/reuse/count").glob("*.json")
    return found


def test_signed_work_is_reused_and_signed_anew_for_the_run_that_reuses_it(
    world: World, key: Pair
) -> None:
    for run in ("first", "second"):
        do(DRAW, world.run(run))
        do(COUNT, world.run(run))
    record = world.run("second").record("count")
    assert record
    assert record.provenance
    assert record.provenance.reused_from == "first"
    assert signed_by(record.provenance.signature) == key.fingerprint
    assert world.calls == ["draw", "count"]


@pytest.mark.parametrize("stripped", [True, False])
def test_a_poisoned_pointer_is_told_and_the_work_is_done_anew(
    world: World, key: Pair, caplog: pytest.LogCaptureFixture, stripped: bool
) -> None:
    do(DRAW, world.run("first"))
    do(COUNT, world.run("first"))
    evil = path_of(world, "evil", "count")
    evil.parent.mkdir(parents=True)
    evil.write_bytes(path_of(world, "first", "count").read_bytes())
    forged(evil, {"bytes_counted": 1000}, stripped=stripped)
    note = json.loads(pointer_of(world).read_text())
    pointer_of(world).write_text(json.dumps(note | {"run": "evil"}))
    do(DRAW, world.run("second"))
    with caplog.at_level(logging.WARNING):
        counted = do(COUNT, world.run("second"))
    assert counted.bytes_counted == len(world.picture)
    assert counted.provenance.reused_from is None
    assert "an earlier result is not reused: The record runs/evil/count" in caplog.text


def test_without_a_key_a_poisoned_pointer_poisons(world: World) -> None:
    """What the key is for."""
    do(DRAW, world.run("first"))
    do(COUNT, world.run("first"))
    evil = path_of(world, "evil", "count")
    evil.parent.mkdir(parents=True)
    evil.write_bytes(path_of(world, "first", "count").read_bytes())
    content = json.loads(evil.read_bytes())
    evil.write_text(json.dumps(content | {"bytes_counted": 1000}))
    pointer_of(world).write_text(
        json.dumps(json.loads(pointer_of(world).read_text()) | {"run": "evil"})
    )
    do(DRAW, world.run("second"))
    assert do(COUNT, world.run("second")).bytes_counted == 1000


# Who started a run --------------------------------------------------------------------------------


def test_who_started_a_run_is_believed_only_if_it_is_signed_for_that_run(
    world: World, key: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    anna = Person(name="anna", how="Airflow", authenticated=True)
    monkeypatch.setenv(VARIABLE, anna.model_dump_json())
    note_start(world.store, "first")
    assert started_by(world.store, "first") == anna
    data = world.store.read("runs/first/started.json")
    world.store.create("runs/second/started.json", data)
    assert started_by(world.store, "second") is None
    world.store.replace("runs/first/started.json", data.replace(b"anna", b"eve1"))
    assert started_by(world.store, "first") is None
    assert "is not believed" in caplog.text
    use(monkeypatch)
    eve = started_by(world.store, "first")
    assert eve
    assert eve.name == "eve1"
