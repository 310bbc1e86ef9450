"""External sets share nothing with what is learned from; the later delivery gives way."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.intake.deliver import deliver
from tasks.intake.manifest import table
from tasks.splitting.groups import groups_of
from tasks.validation.apart import SHARED, STRAY, kept_apart, with_deliverers
from tests.support.deliveries import do, picture, run_of, table_of
from tests.support.validated import add_table, count, quarantined

NO_PAIRS = pd.DataFrame({"first": [], "second": []}, dtype="str")
LINKS = ("image_id", "pixel_hash", "lesion_id", "patient_id")


def rows(root: str, ids: list[str], **columns: Any) -> pd.DataFrame:
    """Rows of a manifest, each with noise of its own for a thumbnail."""
    made: list[dict[str, Any]] = []
    for number, name in enumerate(ids):
        noise = np.random.default_rng(abs(hash((root, name))) % 2**32)
        made.append(
            {
                "key": f"{root}/{name}.jpg",
                "size_bytes": 1,
                "image_id": name,
                "pixel_hash": f"{root}{name}",
                "thumbnail": noise.integers(0, 256, 1024, np.uint8).tobytes(),
                **{column: cells[number] for column, cells in columns.items()},
            }
        )
    return table(made)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("raw_first", [True, False])
def test_the_later_delivery_gives_way(link: str, raw_first: bool) -> None:
    raw = rows("raw/a/nevus", ["r1", "r2"], **{link: ["same", "r2"]})
    outside = rows("external/b/nevus", ["e1", "e2"], **{link: ["same", "e2"]})
    order = dict.fromkeys(raw["key"], 1 if raw_first else 2)
    order |= dict.fromkeys(outside["key"], 2 if raw_first else 1)
    apart = kept_apart(raw, {"b": outside}, NO_PAIRS, order)
    gone = list(apart.left["b"]["key"])
    assert gone == (["external/b/nevus/e1.jpg"] if raw_first else [])
    assert list(apart.belonging) == ([] if raw_first else ["raw/a/nevus/r1.jpg"])
    told = apart.left["b"]["reason"].iloc[0] if raw_first else next(iter(apart.belonging.values()))
    assert told.startswith(SHARED[link])
    assert len(apart.kept["b"]) == (1 if raw_first else 2)


@pytest.mark.parametrize("named", ["raw", "external", "neither"])
def test_where_the_order_is_not_known_nothing_is_judged_on_what_was_learned_from(
    named: str,
) -> None:
    raw = rows("raw/a/nevus", ["r1"], lesion_id=["L1"])
    outside = rows("external/b/nevus", ["e1"], lesion_id=["L1"])
    order = {key: 1 for key in (*raw["key"], *outside["key"]) if key.startswith(named)}
    apart = kept_apart(raw, {"b": outside}, NO_PAIRS, order)
    assert apart.kept["b"].empty
    assert apart.belonging == {}


def test_a_near_duplicate_leaves_and_another_picture_does_not() -> None:
    raw = rows("raw/a/nevus", ["r1"])
    outside = rows("external/b/nevus", ["e1", "e2"])
    pairs = pd.DataFrame({"first": [raw.at[0, "key"]], "second": [outside.at[0, "key"]]})
    apart = kept_apart(raw, {"b": outside}, pairs, {})
    assert list(apart.kept["b"]["image_id"]) == ["e2"]
    assert apart.left["b"]["reason"].iloc[0].startswith("a near duplicate of r1")


def test_what_is_of_one_group_through_others_leaves_too() -> None:
    raw = rows("raw/a/nevus", ["r1"], lesion_id=["L1"])
    outside = rows(
        "external/b/nevus", ["e1", "e2", "e3"], lesion_id=["L1", "L2", "L3"],
        patient_id=["P", "P", "Q"],
    )  # fmt: skip
    apart = kept_apart(raw, {"b": outside}, NO_PAIRS, {})
    assert list(apart.kept["b"]["image_id"]) == ["e3"]
    assert "through other images" in apart.left["b"]["reason"].iloc[1]


@pytest.mark.parametrize(
    ("link", "one", "other"),
    [
        ("lesion_id", "Q-001", "q001"), ("lesion_id", "007", "7"),
        ("patient_id", "PAT-7", "pat7"), ("image_id", "ISIC_0000123", "isic_0000123"),
    ],
)  # fmt: skip
def test_another_spelling_of_an_id_is_the_same_id(link: str, one: str, other: str) -> None:
    raw = rows("raw/a/nevus", ["r1"], **{link: [one]})
    outside = rows("external/b/nevus", ["e1"], **{link: [other]})
    assert kept_apart(raw, {"b": outside}, NO_PAIRS, {}).kept["b"].empty


def test_a_name_that_cameras_write_says_nothing_in_another_place() -> None:
    """Neither the external image leaves, nor is the other one quarantined."""
    raw = rows("raw/a/nevus", ["IMG_0001", "IMG_0002"])
    outside = rows("external/b/nevus", ["IMG_0001"])
    for order in ({}, dict.fromkeys(outside["key"], 1) | dict.fromkeys(raw["key"], 2)):
        apart = kept_apart(raw, {"b": outside}, NO_PAIRS, order)
        assert (len(apart.kept["b"]), apart.belonging) == (1, {})


def test_two_sets_share_nothing_and_the_later_one_gives_way() -> None:
    raw = rows("raw/a/nevus", ["r1"])
    one = rows("external/b/nevus", ["e1", "e2"], lesion_id=["L1", "L2"])
    two = rows("external/c/nevus", ["f1", "f2"], lesion_id=["l1", "L3"])
    order = dict.fromkeys(one["key"], 2) | dict.fromkeys(two["key"], 1)
    apart = kept_apart(raw, {"b": one, "c": two}, NO_PAIRS, order)
    assert list(apart.kept["b"]["image_id"]) == ["e2"]
    assert len(apart.kept["c"]) == 2
    assert apart.left["b"]["reason"].iloc[0] == "the same lesion as f1 in the external set c"


ids = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)
lesions = st.lists(st.sampled_from(["L1", "L2", "L3", "L4", None]), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(ids, ids, lesions, lesions, st.randoms(use_true_random=False))
def test_what_is_kept_shares_nothing_with_what_stays_under_raw(
    inside: list[str], outside: list[str], one: Any, other: Any, chance: Any
) -> None:
    raw = rows("raw/a/nevus", inside, lesion_id=one[: len(inside)])
    there = rows("external/b/nevus", outside, lesion_id=other[: len(outside)])
    order = {key: chance.randint(0, 3) for key in (*raw["key"], *there["key"])}
    apart = kept_apart(raw, {"b": there}, NO_PAIRS, order)
    stays = raw[~raw["key"].isin(list(apart.belonging))]
    for link in ("image_id", "pixel_hash", "lesion_id"):
        assert not set(apart.kept["b"][link].dropna()) & set(stays[link].dropna())
    assert len(apart.kept["b"]) + len(apart.left["b"]) == len(there)
    both = pd.concat([raw, there], ignore_index=True)
    alone = both.groupby(groups_of(both))["key"].transform(
        lambda keys: keys.str.startswith("external").all() or keys.str.startswith("raw").all()
    )
    untouched = set(both.loc[alone.astype(bool), "key"])
    assert not untouched & {*apart.belonging, *apart.left["b"]["key"]}


def test_what_came_past_deliver_leaves_the_set_and_is_told() -> None:
    raw = rows("raw/a/nevus", ["r1"])
    outside = rows("external/b/nevus", ["e1", "e2"])
    order = {"external/b/nevus/e1.jpg": 1}
    apart = with_deliverers(kept_apart(raw, {"b": outside}, NO_PAIRS, order), order)
    assert list(apart.kept["b"]["image_id"]) == ["e1"]
    assert list(apart.left["b"]["image_id"]) == ["e2"]
    assert list(apart.left["b"]["reason"]) == [STRAY]


# As delivered ------------------------------------------------------------------------------------


@pytest.fixture
def clinic(shelf: Store, tmp_path: Path) -> Store:
    """A store with an external set of a melanoma and a nevus, delivered before anything else that
    the ledger names."""
    folder = tmp_path / "clinic-b"
    for number, label in enumerate(("melanoma", "nevus", "nevus")):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"B_{number}.png").write_bytes(picture(900 + number))
    deliver(shelf, folder, external="clinic-b")
    return shelf


@pytest.mark.slow
def test_an_external_set_is_never_learned_from(clinic: Store) -> None:
    run = run_of(clinic)
    record = do(run, "ingest", "validate")
    (kept,) = record.external
    assert (kept.name, kept.images, kept.reasons) == ("clinic-b", 3, {})
    accepted = table_of(run, record.accepted)
    assert not accepted["key"].str.startswith("external").any()
    assert count(record, "belongs_to_external_set") == 0


@pytest.mark.slow
def test_what_comes_later_and_belongs_to_an_external_lesion_is_quarantined(
    clinic: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "later"
    (folder / "nevus").mkdir(parents=True)
    (folder / "nevus" / "again.png").write_bytes(picture(901))
    (folder / "nevus" / "new.png").write_bytes(picture(950))
    deliver(clinic, folder)
    run = run_of(clinic)
    record = do(run, "ingest", "validate")
    assert quarantined(run, record, "belongs_to_external_set") == ["again.png"]
    assert record.external[0].images == 3
    told = table_of(run, record.quarantine).set_index("key")
    assert told.loc["raw/later/nevus/again.png", "counterpart"] == "external/clinic-b/nevus/B_1.png"


@pytest.mark.slow
def test_what_was_delivered_before_leaves_the_external_set(shelf: Store, tmp_path: Path) -> None:
    folder = tmp_path / "clinic-b"
    (folder / "melanoma").mkdir(parents=True)
    (folder / "melanoma" / "same.png").write_bytes(picture(100))
    (folder / "melanoma" / "other.png").write_bytes(picture(970))
    deliver(shelf, folder, external="clinic-b")
    run = run_of(shelf)
    record = do(run, "ingest", "validate")
    assert record.external[0].reasons == {"the same pixels under raw/": 1}
    assert list(table_of(run, record.external[0].left)["key"]) == [
        "external/clinic-b/melanoma/same.png"
    ]
    assert count(record, "belongs_to_external_set") == 0
    assert open_store(shelf.uri).read("external/clinic-b/melanoma/same.png") == picture(100)


@pytest.mark.slow
def test_a_table_under_raw_may_name_the_lesion_of_an_external_image(clinic: Store) -> None:
    """A photograph of this lesion is learned from, so the other one cannot judge."""
    add_table(clinic, "image_id,lesion_id\nISIC_0000100,L1\nB_0,L1\nB_1,L2\n")
    run = run_of(clinic)
    record = do(run, "ingest", "validate")
    assert record.external[0].reasons == {"the same lesion under raw/": 1}
    assert list(table_of(run, record.external[0].left)["image_id"]) == ["B_0"]


@pytest.mark.slow
def test_an_image_for_which_nobody_answers_judges_nothing_until_it_is_delivered(
    clinic: Store, tmp_path: Path
) -> None:
    key = "external/clinic-b/melanoma/easy.png"
    clinic.create(key, picture(980))
    first = do(run_of(clinic, "first"), "ingest", "validate").external[0]
    assert (first.images, first.reasons) == (3, {STRAY: 1})
    folder = tmp_path / "again"
    (folder / "melanoma").mkdir(parents=True)
    (folder / "melanoma" / "easy.png").write_bytes(picture(980))
    deliver(clinic, folder, external="clinic-b")
    second = do(run_of(clinic, "second"), "ingest", "validate").external[0]
    assert (second.images, second.reasons) == (4, {})
