"""split: no group straddles, nothing ever moves, the order of arrival never matters."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from deliveries import do, put_lesions, run_of, table_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import BadInput
from tasks.groups import LINKS, groups_of
from tasks.split import _decided_by, _settle, side_of
from tasks.storage import Store, open_store

few = st.one_of(st.none(), st.integers(0, 8).map(str))
images = st.lists(
    st.fixed_dictionaries({"pixel_hash": few, "lesion_id": few, "patient_id": few}), max_size=30
)


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of a manifest; each image has an id of its own."""
    named = [row | {"image_id": f"I{number:03d}"} for number, row in enumerate(rows)]
    return pd.DataFrame(named, columns=list(LINKS)).astype("str")


def sides(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.assign(group=groups_of(frame))
    return frame.assign(side=[side_of(what, 0.3, 0.3) for what in _decided_by(frame)])


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
    assert len(gone) == left
    assert "test" not in set(gone["side"])


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
