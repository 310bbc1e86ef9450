"""Anybody can check a split from its record: its proof, and how classes lie over its sides."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.intake.manifest import read_parquet
from tasks.records.split import Split
from tasks.splitting.groups import groups_of
from tasks.splitting.sides import flaw_in, strata_of
from tasks.splitting.split import _settle
from tests.support.deliveries import do, put_lesions, run_of, table_of
from tests.support.splits import frame_of, images, read_proof, split_in_turn


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anybody_can_recompute_the_split_and_any_row_put_elsewhere_is_seen(
    whole_split: tuple[Run, Split], data: st.DataObject
) -> None:
    run, record = whole_split
    proof = read_proof(run, record)
    shares = run.config.test_share, run.config.validation_share
    assert flaw_in(proof, shares) is None
    assert len(proof) == len(read_parquet(run, record.parts))
    row = data.draw(st.sampled_from(range(len(proof))))
    old = proof.at[row, "side"]
    proof.at[row, "side"] = data.draw(
        st.sampled_from([side for side in ("train", "validation", "test") if side != old])
    )
    told = str(flaw_in(proof, shares))
    assert str(proof.at[row, "key"]) in told or str(proof.at[row, "group"]) in told


def test_a_group_on_two_sides_is_seen_also_where_no_hash_decided(
    whole_split: tuple[Run, Split],
) -> None:
    run, record = whole_split
    proof = read_proof(run, record)
    assert flaw_in(proof, None) is None
    lesion = proof[proof["lesion_id"] == "L20"].index
    proof.loc[lesion, "side"] = ["train", "test", *["train"] * (len(lesion) - 2)]
    assert "stands on several sides" in str(flaw_in(proof, None))
    proof.at[lesion[0], "group"] = "another"
    assert "stands in several groups" in str(flaw_in(proof, None))


@given(images, st.integers(0, 30))
def test_the_proof_of_a_split_holds_also_after_images_have_left(
    rows: list[dict[str, Any]], first: int
) -> None:
    """A group whose image of the smallest id has left keeps the name that this image gave it."""
    frame = frame_of(rows)
    early = frame.iloc[:first].assign(lesion_id=None, patient_id=None)
    for settled in split_in_turn([early, frame]):
        proof = settled.drop(columns="label").assign(group=settled["group"].astype("str"))
        assert flaw_in(proof, (0.3, 0.3)) is None


def test_a_group_that_was_named_after_an_image_that_left_is_whole() -> None:
    rows: list[dict[str, str | None]] = []
    rows += [{"image_id": "I0", "near_duplicate": "n", "lesion_id": "L", "side": "train"}]
    rows += [{"image_id": "I1", "near_duplicate": "n", "lesion_id": None, "side": "test"}]
    rows += [{"image_id": "I2", "near_duplicate": None, "lesion_id": "L", "side": "test"}]
    frame = pd.DataFrame(rows).assign(key=["k0", "k1", "k2"], label="nevus").astype("str")
    settled, left = _settle(frame.assign(group=groups_of(frame)))
    assert list(left["image_id"]) == ["I0"]
    assert set(settled["group"]) == {"I0"}
    assert flaw_in(settled, None) is None


@pytest.fixture(scope="module")
def whole_split(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Split]:
    store = open_store(str(tmp_path_factory.mktemp("split") / "store"))
    put_lesions(store, "melanoma", range(100, 160))
    put_lesions(store, "nevus", range(200, 260))
    rows = "".join(f"ISIC_{number:07d},L{number // 5}\n" for number in range(100, 160))
    store.create("raw/m/labels.csv", f"image_id,lesion_id\n{rows}".encode())
    run = run_of(store)
    return run, do(run, "ingest", "validate", "split")


def test_how_each_class_and_source_lies_over_the_sides_is_on_record(
    whole_split: tuple[Run, Split],
) -> None:
    run, record = whole_split
    parts = table_of(run, record.parts)
    by_class = {each.name: each for each in record.strata if each.by == "class"}
    assert sum(by_class["melanoma"].groups.values()) == 12
    for side, count in by_class["nevus"].groups.items():
        of_side = parts[(parts["side"] == side) & (parts["label"] == "nevus")]
        assert count == of_side["group"].nunique()
    assert [each.name for each in record.strata if each.by == "source"] == ["ISIC, not HAM10000"]
    chances = [each.chance for each in record.strata if each.chance is not None]
    assert len(chances) == len(record.strata) > 0
    assert all(0 < chance <= 1 for chance in chances)


def test_a_stratum_that_no_hash_would_give_is_told() -> None:
    rows = [(f"G{number}", "nevus", "unknown", "train") for number in range(100)]
    frame = pd.DataFrame(rows, columns=["group", "label", "source", "side"])
    uneven = strata_of(frame, (0.2, 0.15))
    assert all(each.chance is not None and each.chance < 1e-6 for each in uneven)
    assert [each.chance for each in strata_of(frame, None)] == [None, None]
