"""The ledger: one chain, of which nothing is changed, cut off, replaced or forgotten unseen."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.__main__ import main
from tasks.engine.ledger import (
    FOLDER,
    Chain,
    append,
    chain_of,
    entry_key,
    next_entry,
    parse_chain,
    recorded_heads,
)
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt
from tasks.records.record import LedgerHead, sha256
from tasks.records.split import Split
from tasks.splitting.looks import enter_look, looks_of
from tasks.splitting.sides import register_of
from tests.support.deliveries import do, put_lesions, run_of

pytestmark = pytest.mark.slow

contents = st.lists(
    st.dictionaries(st.text(max_size=5), st.text(max_size=8) | st.integers(), max_size=3),
    min_size=1,
    max_size=5,
)


def chained(said: list[dict[str, Any]]) -> dict[str, bytes]:
    """The files of a chain with these contents."""
    chain = Chain()
    for content in said:
        chain = Chain((*chain.entries, next_entry(chain, "note", "run", content)))
    return {entry_key(entry.number): entry.data for entry in chain.entries}


@given(contents)
def test_a_chain_is_read_as_it_was_written(said: list[dict[str, Any]]) -> None:
    chain = parse_chain(chained(said))
    assert [entry.content for entry in chain.entries] == said
    assert chain.head == chain.entries[-1].head


@settings(max_examples=300)
@given(contents, st.data())
def test_any_flip_of_a_bit_is_seen(said: list[dict[str, Any]], data: st.DataObject) -> None:
    files = chained(said)
    key = data.draw(st.sampled_from(sorted(files)))
    changed = bytearray(files[key])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Corrupt, match="ledger is damaged"):
        parse_chain(files | {key: bytes(changed)})


@given(contents, st.data())
def test_any_entry_that_is_missing_or_foreign_is_seen(
    said: list[dict[str, Any]], data: st.DataObject
) -> None:
    files = chained([*said, {"last": 1}])
    key = data.draw(st.sampled_from(sorted(files)[:-1]))
    with pytest.raises(Corrupt, match="ledger is damaged"):
        parse_chain({name: each for name, each in files.items() if name != key})
    with pytest.raises(Corrupt, match="ledger is damaged"):
        parse_chain(files | {f"{FOLDER}notes.txt": b""})


@given(contents, st.data())
def test_an_entry_that_was_written_anew_with_its_own_seal_is_seen(
    said: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Only the entry after it knows what stood there."""
    files = chained([*said, {"last": 1}])
    chain = parse_chain(files)
    entry = data.draw(st.sampled_from(chain.entries[:-1]))
    forged = entry.model_copy(update={"content": {"forged": True}}).sealed()
    with pytest.raises(Corrupt, match="ledger is damaged"):
        parse_chain(files | {entry_key(entry.number): forged.data})


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 5000, b"\xff", b"null"])
def test_what_is_no_entry_is_told_and_not_a_traceback(data: bytes) -> None:
    with pytest.raises(Corrupt, match=r"000001\.json as it was written"):
        parse_chain({entry_key(1): data})


def test_of_writers_that_race_each_entry_is_kept_once_and_in_order(store: Store) -> None:
    def write(number: int) -> None:
        append(run_of(store, f"run-{number}"), "note", lambda chain: {"number": number})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(8)))
    chain = chain_of(store)
    assert sorted(entry.content["number"] for entry in chain.entries) == list(range(8))
    assert [entry.number for entry in chain.entries] == list(range(1, 9))


# Heads ------------------------------------------------------------------------------------------


@pytest.fixture
def split_store(tmp_path: Path) -> Run:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 140))
    put_lesions(store, "nevus", range(200, 240))
    run = run_of(store, "first")
    do(run, "ingest", "validate", "split")
    return run


def damage(run: Run, how: str) -> None:
    folder = Path(run.store.uri, "ledger")
    chain = folder / "chain"
    if how == "gone":
        shutil.rmtree(folder)
    elif how == "cut short":
        sorted(chain.glob("*.json"))[-1].unlink()
    elif how == "another":
        files = chained([{"made": "up"}] * len(list(chain.glob("*.json"))))
        for key, data in files.items():
            Path(run.store.uri, key).write_bytes(data)
    elif how == "last byte":
        last = sorted(chain.glob("*.json"))[-1]
        last.write_bytes(last.read_bytes()[:-1])


@pytest.mark.parametrize("how", ["gone", "cut short", "another", "last byte"])
def test_a_ledger_that_does_not_reach_a_recorded_head_stops_the_next_run(
    split_store: Run, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """`rm -r ledger` must not reset the count of looks."""
    damage(split_store, how)
    put_lesions(split_store.store, "nevus", range(300, 303))
    argv = ["run", "--store", split_store.store.uri, "--name", "second", "--until", "split"]
    code = main([*argv, "--config", split_store.config.model_dump_json()])
    said = capfd.readouterr().err
    assert code == BadInput.exit_code
    assert "The ledger is damaged, or was cut short or replaced" in said
    assert "Traceback" not in said


def test_a_ledger_that_goes_on_is_no_damage(split_store: Run) -> None:
    append(split_store, "note", lambda chain: {"more": 1})
    assert do(run_of(split_store.store, "second"), "ingest", "validate", "split")


def test_heads_that_are_recorded_elsewhere_count_too(split_store: Run) -> None:
    chain = chain_of(split_store.store)
    assert chain.head
    assert chain_of(split_store.store, [chain.head]).head == chain.head
    with pytest.raises(Corrupt, match="entry 7"):
        chain_of(split_store.store, [LedgerHead(number=7, sha256="0" * 64)])
    with pytest.raises(Corrupt, match="another entry of this number"):
        chain_of(split_store.store, [LedgerHead(number=1, sha256="0" * 64)])


def test_the_records_of_a_run_name_the_head(split_store: Run) -> None:
    split = split_store.record("split")
    assert isinstance(split, Split)
    assert recorded_heads(split_store.store) == [split.ledger]


# Adoption ---------------------------------------------------------------------------------------


def test_loose_entries_of_the_first_version_are_adopted_once_and_named(
    store_of_format_1: Path,
) -> None:
    store = open_store(str(store_of_format_1))
    loose = {
        entry.key: sha256(store.read(entry.key))
        for folder in ("ledger/sides/", "ledger/evaluations/")
        for entry in store.list(folder)
    }
    before = chain_of(store)
    assert not before.adopted
    assert not list(store.list(FOLDER))
    chain = append(run_of(store, "second"), "note", lambda chain: {"more": 1})
    assert [entry.kind for entry in chain.entries] == ["adoption", "note"]
    assert chain.entries[0].content["found"] == loose
    assert len(register_of(chain)) == 89
    looks = list(looks_of(chain))
    assert len(looks) == 1
    assert {image.label for image in looks[0].images} >= {"melanoma", "nevus"}
    again = append(run_of(store, "third"), "note", lambda chain: {"more": 2})
    assert [entry.kind for entry in again.entries] == ["adoption", "note", "note"]


def test_a_store_of_the_first_version_goes_on_and_its_earlier_look_counts(
    store_of_format_1: Path,
) -> None:
    store = open_store(str(store_of_format_1))
    config = {"epochs": 1, "minimum_groups": 3, "policy": "synthetic", "packed_size": 32}
    run = run_of(store, "second", recipes=("baseline",), seed=7, **config)
    do(run, "ingest", "validate", "split", "check_balance", "oversample", "train", "evaluate")
    before, after = (
        pd.read_parquet(Path(store.uri, str(record.parts.key))).set_index("key")["side"]
        for record in (Run(store, "first", run.config).record("split"), run.record("split"))
        if isinstance(record, Split)
    )
    assert (before == after).all()
    verdict = do(run, "gate")
    assert verdict.looks.look == 2
    assert verdict.departed == ()


def test_a_register_that_no_split_bears_out_is_not_believed(tmp_path: Path) -> None:
    """Whoever writes it before the first split would choose the test part."""
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 140))
    put_lesions(store, "nevus", range(200, 240))
    names = [f"ISIC_{number:07d}" for number in range(100, 140)]
    forged = pd.DataFrame({"image_id": names, "decided_by": "harmless"})
    store.create("ledger/sides/000001.parquet", forged.to_parquet())
    run = run_of(store, "first")
    do(run, "ingest", "validate", "split")
    chain = chain_of(store)
    assert chain.entries[0].content["not_believed"] == 40
    assert register_of(chain)[names[0]] == names[0]


@pytest.mark.parametrize(
    "key", ["sides/000001.parquet", "sides/000002.parquet", "evaluations/a.json"]
)
def test_a_damaged_loose_entry_is_told_and_not_a_traceback(tmp_path: Path, key: str) -> None:
    store = open_store(str(tmp_path))
    store.create(f"ledger/{key}", b"PAR1")
    with pytest.raises(Corrupt, match="first version is damaged"):
        chain_of(store)


def test_loose_entries_that_come_after_the_chain_are_not_believed_and_told(
    split_store: Run, caplog: pytest.LogCaptureFixture
) -> None:
    store = split_store.store
    store.create("ledger/evaluations/late.json", json.dumps({"run": "x"}).encode())
    assert list(looks_of(chain_of(store))) == []
    assert "ledger/evaluations/late.json is not part of the ledger" in caplog.text


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bit_of_a_ledger_on_disk_that_flips_stops_the_gate(
    split_store: Run, data: st.DataObject
) -> None:
    parts = pd.DataFrame({"image_id": ["A"], "pixel_hash": ["a" * 64], "label": "nevus"})
    enter_look(split_store, parts, "f" * 64, threshold=0.5)
    path = data.draw(st.sampled_from(sorted(Path(split_store.store.uri, FOLDER).glob("*.json"))))
    sound = path.read_bytes()
    changed = bytearray(sound)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(changed)
    try:
        with pytest.raises(Corrupt, match="ledger is damaged"):
            chain_of(split_store.store)
    finally:
        path.write_bytes(sound)
    assert chain_of(split_store.store).entries
