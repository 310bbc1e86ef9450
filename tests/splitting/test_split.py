"""split: a group never straddles, and nothing that comes later moves an image."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from tasks.engine.ledger import append, chain_of
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt
from tasks.records.split import Split
from tasks.splitting.groups import LINKS, groups_of
from tasks.splitting.looks import enter_look, settled_of
from tasks.splitting.sides import flaw_in, register_of, side_of
from tasks.splitting.split import _settle
from tests.support.deliveries import do, put_lesions, run_of, table_of
from tests.support.splits import frame_of, images, read_proof, sides, split_in_turn

pytestmark = pytest.mark.slow


@given(images)
def test_images_that_share_anything_are_in_one_group(rows: list[dict[str, Any]]) -> None:
    frame = frame_of(rows)
    frame["group"] = groups_of(frame)
    for link in LINKS:
        shared = frame.dropna(subset=[link]).groupby(link)["group"].nunique()
        assert (shared == 1).all()


@given(images)
def test_images_that_share_nothing_by_any_chain_are_in_two(rows: list[dict[str, Any]]) -> None:
    frame = frame_of(rows)
    groups = groups_of(frame)
    for name in groups.unique():
        inside, outside = frame[groups == name], frame[groups != name]
        for link in LINKS:
            assert not set(inside[link].dropna()) & set(outside[link].dropna())


@given(images)
def test_a_group_never_straddles_the_split(rows: list[dict[str, Any]]) -> None:
    settled, _ = _settle(sides(frame_of(rows)))
    assert (settled.groupby("group")["side"].nunique() <= 1).all()


@given(images, st.integers(0, 30))
def test_adding_images_never_moves_one(rows: list[dict[str, Any]], first: int) -> None:
    before, _ = _settle(sides(frame_of(rows[:first])))
    after, _ = _settle(sides(frame_of(rows)))
    both = before.merge(after, on="image_id", suffixes=("_before", "_after"))
    assert (both["side_before"] == both["side_after"]).all()


@given(images)
def test_what_leaves_because_of_a_bridge_is_never_a_test_image(rows: list[dict[str, Any]]) -> None:
    frame = sides(frame_of(rows))
    settled, left = _settle(frame)
    gone = frame[~frame["image_id"].isin(settled["image_id"])]
    assert sorted(gone["image_id"]) == sorted(left["image_id"])
    assert "test" not in set(gone["side"])
    counterparts = left.merge(settled, left_on="counterpart", right_on="key")
    assert len(counterparts) == len(left)  # each of them names an image that stays
    assert left["reason"].str.endswith(" side").all()


@settings(max_examples=30)
@given(images, st.data())
def test_a_table_that_comes_later_than_its_images_moves_none(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    """What an image shows becomes known bit by bit: its lesion, its patient, both or neither."""
    whole = frame_of(rows)
    known_at = {
        link: data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
        for link in ("lesion_id", "patient_id")
    }
    arrives_at = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    deliveries = []
    for turn in range(4):
        frame = whole.copy()
        for link, when in known_at.items():
            frame[link] = frame[link].where(pd.Series(when, dtype=int) <= turn)
        deliveries.append(frame[pd.Series(arrives_at, dtype=int) <= turn].astype("str"))
    seen: dict[str, str] = {}
    for settled in split_in_turn(deliveries):
        now = dict(zip(settled["image_id"], settled["side"], strict=True))
        assert all(now[image] == seen[image] for image in now.keys() & seen.keys())
        assert (settled.groupby("group")["side"].nunique() <= 1).all()
        seen |= now


@settings(max_examples=30)
@given(images, st.data())
def test_where_tables_come_with_their_images_the_register_changes_nothing(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    """So the order of arrival never matters, also to a store that remembers."""
    whole = frame_of(rows)
    order = data.draw(st.permutations(range(len(rows))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    turns = [whole.loc[sorted(order[:cut])] for cut in (*cuts, len(rows))]
    assert split_in_turn(turns)[-1].equals(_settle(sides(whole))[0])


def test_without_the_register_a_late_table_would_move_images() -> None:
    """The law above can fail: this is what it guards against."""
    before = frame_of([{}] * 40)
    after = frame_of([{"lesion_id": f"L{number}"} for number in range(40)])
    moved = sides(before)["side"] != sides(after)["side"]
    assert moved.any()
    register = dict(zip(before["image_id"], before["image_id"], strict=True))
    assert (sides(after, register)["side"] == sides(before)["side"]).all()


@given(images, st.randoms())
def test_the_order_of_arrival_never_matters(rows: list[dict[str, Any]], chance: Any) -> None:
    frame = sides(frame_of(rows))
    order = list(frame.index)
    chance.shuffle(order)
    again = sides(frame_of(rows).loc[order])
    assert again["side"].sort_index().equals(frame["side"])
    assert again["group"].sort_index().equals(frame["group"])


@settings(max_examples=30)
@given(st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.text(min_size=1, max_size=4))
def test_shares_are_met_and_a_larger_test_share_only_adds(
    small: float, more: float, prefix: str
) -> None:
    names = [f"{prefix}{number}" for number in range(2000)]
    first = [side_of(name, small, 0.2) for name in names]
    assert first.count("test") / 2000 == pytest.approx(small, abs=0.05)  # 4.5 standard errors
    assert first.count("validation") / 2000 == pytest.approx(0.2, abs=0.05)
    wider = [side_of(name, max(small, more), 0.2) for name in names]
    assert all(w == "test" for w, f in zip(wider, first, strict=True) if f == "test")


def test_the_side_of_a_lesion_is_the_one_it_had_when_this_was_written() -> None:
    """A change of the hash or its key would put images that models learned from into test."""
    sides_then = "train validation validation test validation train train test test validation"
    sides_now = [side_of(f"ISIC_{number:07d}", 0.2, 0.15) for number in range(10)]
    assert sides_now == sides_then.split()


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([100, 300, 1000]), st.floats(0.1, 0.4))
def test_each_class_and_source_has_its_share_within_what_chance_allows(
    prefix: int, groups: int, share: float
) -> None:
    """Exact binomial bounds, passed by chance once in a million: plus or minus 19 points for 100
    groups and 6 for 1,000 at a test share of 20 %."""
    for stratum in ("melanoma", "HAM10000"):
        names = [f"{prefix} {stratum} {number}" for number in range(groups)]
        found = sum(side_of(name, share, 0.15) == "test" for name in names)
        low, high = binom.interval(1 - 1e-6, groups, share)
        assert low <= found <= high


@pytest.fixture
def shelf(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 160))
    put_lesions(store, "nevus", range(200, 260))
    return store


def test_all_images_of_a_lesion_land_on_one_side(shelf: Store) -> None:
    rows = "".join(f"ISIC_{number:07d},L{number // 5}\n" for number in range(100, 160))
    shelf.create("raw/m/labels.csv", f"image_id,lesion_id\n{rows}".encode())
    run = run_of(shelf)
    record = do(run, "ingest", "validate", "split")
    parts = table_of(run, record.parts)
    assert (parts.dropna(subset=["lesion_id"]).groupby("lesion_id")["side"].nunique() == 1).all()
    assert len(parts) == 120 == sum(sum(part.values()) for part in record.counts.values())
    assert record.bridging == 0


def test_a_second_delivery_moves_nothing(shelf: Store) -> None:
    first_run = run_of(shelf, "first")
    before = table_of(first_run, do(first_run, "ingest", "validate", "split").parts)
    put_lesions(shelf, "melanoma", range(500, 540))
    second_run = run_of(shelf, "second")
    after = table_of(second_run, do(second_run, "ingest", "validate", "split").parts)
    both = before.merge(after, on="key")
    assert len(both) == len(before) == 120
    assert (both["side_x"] == both["side_y"]).all()


def test_parts_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 102))
    put_lesions(store, "nevus", range(200, 240))
    with pytest.raises(BadInput, match="cannot serve") as told:
        do(run_of(store), "ingest", "validate", "split")
    assert "melanoma" in told.value.received
    assert run_of(store).record("split") is None


def late_table(shelf: Store) -> tuple[pd.DataFrame, Run, Split]:
    """Sides before, and the run and record after a table says that pairs of melanomas are one."""
    first = run_of(shelf, "first")
    before = table_of(first, do(first, "ingest", "validate", "split").parts)
    rows = "".join(f"ISIC_{number:07d},L{number // 2}\n" for number in range(100, 160))
    shelf.create("raw/m/labels.csv", f"image_id,lesion_id\n{rows}".encode())
    second = run_of(shelf, "second")
    return before, second, do(second, "ingest", "validate", "split")


def test_a_lesion_that_becomes_known_late_moves_no_image_and_leaves_no_lesion_on_two_sides(
    shelf: Store,
) -> None:
    before, run, record = late_table(shelf)
    after = table_of(run, record.parts)
    both = before.merge(after, on="key")
    assert (both["side_x"] == both["side_y"]).all()
    assert (after.dropna(subset=["lesion_id"]).groupby("lesion_id")["side"].nunique() == 1).all()
    left = table_of(run, record.left_out)
    assert len(left) == record.bridging == 120 - len(after) > 0
    assert "test" not in set(left["side"])
    assert left["reason"].str.contains("it shows the same lesion as ISIC_").all()
    assert left["counterpart"].isin(after["key"]).all()


def test_the_ledger_says_by_which_ids_each_image_was_first_decided(shelf: Store) -> None:
    before, _, record = late_table(shelf)
    chain = chain_of(shelf)
    assert len(chain.entries) == 1  # the second run had nothing new to note
    assert record.ledger == chain.head
    assert register_of(chain) == {name: name for name in before["image_id"]}


def test_an_image_keeps_its_side_when_a_table_names_another_lesion_later(shelf: Store) -> None:
    rows = "".join(f"ISIC_{number:07d},L{number}\n" for number in range(100, 160))
    shelf.create("raw/m/labels.csv", f"image_id,lesion_id\n{rows}".encode())
    first = run_of(shelf, "first")
    before = table_of(first, do(first, "ingest", "validate", "split").parts)
    shelf.replace("raw/m/labels.csv", f"image_id,lesion_id\n{rows.replace('L', 'M')}".encode())
    second = run_of(shelf, "second")
    record = do(second, "ingest", "validate", "split")
    after = table_of(second, record.parts)
    assert (before.merge(after, on="key")[["side_x", "side_y"]].nunique(axis=1) == 1).all()
    assert record.renamed == 60
    proof = read_proof(second, record)
    shares = second.config.test_share, second.config.validation_share
    assert flaw_in(proof, shares, register_of(chain_of(shelf))) is None


def test_whoever_writes_the_ledger_before_the_first_split_chooses_nothing(shelf: Store) -> None:
    """Every melanoma is named by a lesion whose hash puts it into training."""
    harmless = next(f"L{n}" for n in range(99) if side_of(f"L{n}", 0.2, 0.15) == "train")
    run = run_of(shelf, "first")
    images = [[f"ISIC_{number:07d}", harmless, None] for number in range(100, 160)]
    forged = {"images": images, "validated": "0" * 64}
    append(run, "sides", lambda chain: forged)
    do(run, "ingest", "validate")
    with pytest.raises(Corrupt, match="images that its run did not accept"):
        do(run, "split")


def test_whoever_makes_up_an_evaluation_before_the_first_split_chooses_nothing(
    shelf: Store,
) -> None:
    run = run_of(shelf, "first")
    rows = pd.DataFrame({"image_id": ["ISIC_0000100"], "pixel_hash": ["a" * 64], "label": "nevus"})
    enter_look(run, rows, "f" * 64, threshold=0.5)
    do(run, "ingest", "validate")
    with pytest.raises(Corrupt, match="evaluation that its run did not make"):
        do(run, "split")


def test_what_a_killed_split_noted_stands(shelf: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(shelf, "first")
    do(run, "ingest", "validate")
    monkeypatch.setattr("tasks.splitting.split.strata_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        do(run, "split")
    noted = chain_of(shelf)
    assert len(noted.unvouched) == 1
    monkeypatch.undo()
    assert do(run, "split").ledger == noted.head
    assert chain_of(shelf).unvouched == ()


def test_an_image_that_a_model_was_judged_on_is_never_learned_from(shelf: Store) -> None:
    """A smaller test share moves other images out of the test part."""
    first = run_of(shelf, "first", test_share=0.3, validation_share=0.15)
    record = do(first, "ingest", "validate", "split")
    parts = table_of(first, record.parts)
    judged = parts[parts["side"] == "test"].iloc[:20]
    split_of = parts[parts["side"] == "test"]
    enter_look(first, split_of, "f" * 64, threshold=0.5)
    chain = chain_of(shelf)
    second = run_of(shelf, "second", test_share=0.2, validation_share=0.35)
    later = do(second, "ingest", "validate", "split")
    after = table_of(second, later.parts).set_index("image_id")["side"]
    assert (after[judged["image_id"]] == "test").all()
    settled = set(settled_of(chain, "hashed").images)
    assert settled == set(split_of["image_id"])
    proof = read_proof(second, later)
    assert flaw_in(proof, (0.2, 0.35), register_of(chain), settled) is None
    assert flaw_in(proof, (0.2, 0.35), register_of(chain)) is not None
