"""Withdrawing and replacing what was delivered: nothing is overwritten, and later runs notice."""

from pathlib import Path
from typing import Any

import pytest

from tasks.__main__ import main
from tasks.engine.deliveries import Delivery, Withdrawal, facts_in
from tasks.engine.person import VARIABLE, Person
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.engine.withdrawals import withdrawals_in
from tasks.errors import BadInput, Corrupt, Momentary
from tasks.intake.deliver import deliver
from tests.support.deliveries import delivering, do, folder_of, picture, run_of, table_of
from tests.support.keys import pair_in, use

FIRST = "image_id,diagnosis,lesion_id\n0,melanoma,L0\n1,nevus,L1\n2,melanoma,L2\n3,nevus,L3\n"
CORRECTED = FIRST.replace("3,nevus,L3", "3,nevus,L1")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "t.csv").write_text(FIRST)
    return folder


@pytest.fixture
def at(tmp_path: Path, images: Path, tables: Path) -> Path:
    """A store with a delivery of four images and a table."""
    argv = delivering(tmp_path / "store", images, "--metadata", str(tables))
    assert main(argv) == 0
    return tmp_path / "store"


def withdrawing(at: Path, *more: str) -> list[str]:
    return ["withdraw", "--store", str(at), "--reason", "consent withdrawn", *more]


def manifest_of(at: Path, name: str) -> tuple[Any, Any]:
    run = run_of(open_store(str(at)), name)
    record = do(run, "ingest")
    return table_of(run, record.manifest), record


# Withdrawing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["raw/clinic/nevus/1.png", "clinic/nevus/1.png"])
def test_a_withdrawn_file_is_left_out_by_later_runs_and_its_bytes_stay(key: str, at: Path) -> None:
    before, first = manifest_of(at, "first")
    files = folder_of(at / "raw")
    assert main(withdrawing(at, "--file", key)) == 0
    again, _ = manifest_of(at, "first")  # a run that wrote its list down keeps it
    after, record = manifest_of(at, "second")
    assert (len(before), len(again), len(after)) == (4, 4, 3)
    assert folder_of(at / "raw") == files
    assert first.reading.withdrawn == ()
    (left_out,) = record.reading.withdrawn
    assert (left_out.files, left_out.entry, left_out.reason) == (1, 2, "consent withdrawn")
    assert left_out.examples == ("raw/clinic/nevus/1.png",)


def test_a_whole_delivery_is_withdrawn_and_the_error_says_so(
    at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(withdrawing(at, "--delivery", "clinic")) == 0
    capsys.readouterr()
    assert main(["ingest", "--run", f"{at}/runs/first"]) == 64
    said = " ".join(capsys.readouterr().err.split())
    assert "withdrawn are 4 files by entry 2 of the ledger of deliveries" in said
    assert "consent withdrawn" in said
    assert main(withdrawing(at, "--delivery", "clinic")) == 0  # again: told, and no second entry
    assert "4 files withdrawn already" in capsys.readouterr().err
    assert len(facts_in(open_store(str(at)))) == 2


@pytest.mark.parametrize(
    ("argv", "near"),
    [
        (["--delivery", "clinik"], "such as clinic"),
        (["--file", "nevus/1.png"], "raw/clinic/nevus/1.png"),
        ([], "neither"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(
    argv: list[str], near: str, at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(withdrawing(at, *argv)) == 64
    assert near in " ".join(capsys.readouterr().err.split())
    assert len(facts_in(open_store(str(at)))) == 1


def test_a_withdrawal_needs_a_named_person_and_a_reason(
    at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["withdraw", "--store", str(at), "--delivery", "clinic", "--reason", " "]
    assert main(argv) == 64
    nobody = Person(name="", how="schedule", authenticated=False)
    monkeypatch.setenv(VARIABLE, nobody.model_dump_json())
    assert main(withdrawing(at, "--delivery", "clinic")) == 64
    assert len(facts_in(open_store(str(at)))) == 1


def test_files_that_came_past_deliver_can_be_withdrawn(at: Path) -> None:
    store = open_store(str(at))
    store.create("raw/by-hand/nevus/9.png", picture(9))
    assert main(withdrawing(at, "--delivery", "by-hand")) == 0
    manifest, _ = manifest_of(at, "first")
    assert len(manifest) == 4


def test_what_was_withdrawn_comes_back_only_if_a_person_says_so(
    at: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(withdrawing(at, "--file", "raw/clinic/nevus/1.png")) == 0
    assert main(delivering(at, images)) == 0
    assert "withdrawn they stay" in capsys.readouterr().err
    assert len(manifest_of(at, "first")[0]) == 3
    assert main(delivering(at, images, "--restore")) == 0
    manifest, record = manifest_of(at, "second")
    assert (len(manifest), record.reading.withdrawn) == (4, ())
    last = facts_in(open_store(str(at)))[-1]
    assert isinstance(last, Delivery)
    assert last.keys == ("raw/clinic/nevus/1.png",)


def test_a_step_is_not_reused_where_another_file_is_withdrawn(at: Path) -> None:
    store = open_store(str(at))
    _, first = manifest_of(at, "first")
    store.create("raw/clinic/nevus/9.png", picture(9))
    assert main(withdrawing(at, "--file", "raw/clinic/nevus/9.png")) == 0
    _, second = manifest_of(at, "second")  # the files are as before, what is told is not
    _, third = manifest_of(at, "third")
    assert first.provenance.reused_from is None
    assert second.provenance.reused_from is None
    assert third.provenance.reused_from == "second"
    assert second.reading.withdrawn[0].files == 1


def test_parts_of_a_step_that_begin_before_and_after_a_withdrawal_see_one_list(at: Path) -> None:
    store = open_store(str(at))
    early, late = run_of(store, "first"), run_of(store, "first")
    assert len(early.delivered()) == 5
    assert main(withdrawing(at, "--file", "raw/clinic/nevus/1.png")) == 0
    assert early.delivered() == late.delivered()
    assert late.withdrawn() == []
    other = run_of(store, "second")
    assert len(other.delivered()) == 4
    assert main(withdrawing(at, "--file", "raw/clinic/nevus/3.png")) == 0
    assert [each.key for each in other.withdrawn()] == ["raw/clinic/nevus/1.png"]
    assert len(other.delivered()) == 4


# Replacing ---------------------------------------------------------------------------------------


def test_a_corrected_table_replaces_the_one_that_it_corrects(
    at: Path, images: Path, tables: Path
) -> None:
    (tables / "t.csv").write_text(CORRECTED)
    argv = delivering(at, images, "--metadata", str(tables))
    assert main([*argv, "--replace"]) == 0
    assert (at / "raw/metadata/t.csv").read_text() == FIRST
    assert (at / "raw/metadata@2/t.csv").read_text() == CORRECTED
    manifest, record = manifest_of(at, "first")
    assert manifest["lesion_id"].nunique() == 3
    assert manifest["contradiction"].isna().all()
    assert record.reading.withdrawn[0].reason == "replaced by a later delivery"
    before = folder_of(at)
    assert main(argv) == main([*argv, "--replace"]) == 0  # again: nothing is new
    assert folder_of(at) == before
    (tables / "t.csv").write_text(FIRST)
    assert main([*argv, "--replace"]) == 0  # the first bytes count again
    manifest, _ = manifest_of(at, "second")
    assert manifest["lesion_id"].nunique() == 4
    assert folder_of(at / "raw") == {name[4:] for name in before if name.startswith("raw/")}
    (tables / "t.csv").write_text(CORRECTED.replace("L2", "L0"))
    assert main([*argv, "--replace"]) == 0
    assert (at / "raw/metadata@3/t.csv").exists()
    assert manifest_of(at, "third")[0]["lesion_id"].nunique() == 2


def test_a_correction_that_was_delivered_beside_can_still_replace(
    at: Path, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tables / "t.csv").write_text(CORRECTED)
    argv = ["deliver", "--store", str(at), "--metadata", str(tables)]
    assert main(argv) == 0
    assert "delivered beside it, as raw/metadata/tables/t.csv" in capsys.readouterr().err
    assert main(withdrawing(at, "--file", "raw/metadata/tables/t.csv")) == 0
    assert main([*argv, "--replace"]) == 0
    assert (at / "raw/metadata@2/t.csv").read_text() == CORRECTED
    manifest, record = manifest_of(at, "first")
    assert manifest["lesion_id"].nunique() == 3
    assert sum(each.files for each in record.reading.withdrawn) == 2


def test_tables_alone_can_be_delivered(at: Path, tables: Path) -> None:
    (tables / "t.csv").write_text(CORRECTED)
    argv = ["deliver", "--store", str(at), "--metadata", str(tables)]
    assert main([*argv, "--replace"]) == 0
    assert (at / "raw/metadata@2/t.csv").exists()
    assert main(["deliver", "--store", str(at)]) == 64


def test_a_corrected_image_keeps_the_folder_that_names_its_label(at: Path, images: Path) -> None:
    (images / "nevus/1.png").write_bytes(picture(77))
    assert main(delivering(at, images)) == 64
    assert main(delivering(at, images, "--replace")) == 0
    manifest, _ = manifest_of(at, "first")
    assert "raw/clinic@2/nevus/1.png" in set(manifest["key"])
    assert set(manifest["label"]) == {"melanoma", "nevus"}
    assert len(manifest) == 4
    assert main(withdrawing(at, "--delivery", "clinic")) == 0  # the one that replaced, too
    with pytest.raises(BadInput):
        manifest_of(at, "second")


def test_a_replacement_that_was_killed_is_finished_by_the_same_command(
    at: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(at))
    (images / "nevus/1.png").write_bytes(picture(77))
    write = store.create

    def dies(key: str, data: bytes) -> None:
        if key.startswith("raw/"):
            raise Momentary("killed")
        write(key, data)

    monkeypatch.setattr(store, "create", dies)
    with pytest.raises(Momentary):
        deliver(store, images, replace=True)
    assert len(Run(store, "between", run_of(store).config).delivered()) == 4  # neither version
    assert main(delivering(at, images, "--replace")) == 0
    assert (at / "raw/clinic@2/nevus/1.png").read_bytes() == picture(77)
    assert not (at / "raw/clinic@3").exists()


# The ledger --------------------------------------------------------------------------------------


def test_a_withdrawal_without_a_signature_after_signed_entries_is_refused(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pair_in(tmp_path / "keys")
    at = tmp_path / "store"
    assert main(delivering(at, images)) == 0  # before there was a key
    assert main(withdrawing(at, "--file", "raw/clinic/nevus/1.png")) == 0
    use(monkeypatch, pair.private)
    store = open_store(str(at))
    assert len(withdrawals_in(store).now) == 1
    assert main(withdrawing(at, "--file", "raw/clinic/nevus/3.png")) == 0
    assert len(withdrawals_in(store).now) == 2
    forge(store, pair.private, monkeypatch)
    with pytest.raises(Corrupt, match="not signed"):
        withdrawals_in(store)


def forge(store: Store, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add an entry that withdraws all melanomas, and is sealed by somebody without the key."""
    from tasks.engine import deliveries
    from tasks.engine.ledger import Entry, entry_files, entry_key, parse_chain

    chain = parse_chain(entry_files(store, deliveries.FOLDER), deliveries.FOLDER)
    by = Person(name="mallory", how="command line", authenticated=False)
    fact = Withdrawal(by=by, keys=("raw/clinic/melanoma/0.png",), reason="none")
    entry = Entry(
        number=len(chain.entries) + 1,
        kind="withdrawal",
        previous=chain.entries[-1].head.sha256,
        at="2026-01-01T00:00:00+00:00",
        run="",
        content=fact.model_dump(mode="json"),
    ).sealed()
    store.create(entry_key(entry.number, deliveries.FOLDER), entry.data)
