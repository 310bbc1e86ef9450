"""The public nine-class set: its known defects are found, with no hint of them in the program."""

from pathlib import Path

import pytest
from deliveries import do, table_of

from tasks.config import Retraining
from tasks.contracts import Split, Validated
from tasks.deliver import deliver
from tasks.run import Run
from tasks.storage import open_store

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    if not (DATA / "isic9").is_dir():
        pytest.skip(
            "the public nine-class set is not in ../shared/data/isic9: it is not ours to ship"
        )
    store = open_store(str(tmp_path_factory.mktemp("public") / "store"))
    deliver(store, DATA / "isic9", DATA / "metadata")
    run = Run(store, "public", Retraining())
    do(run, "ingest", "validate", "split")
    return run


def validated(run: Run) -> Validated:
    record = run.record("validate")
    assert isinstance(record, Validated)
    return record


@pytest.mark.parametrize(
    ("law", "count", "remark"),
    [
        ("undecodable", 0, ""),
        ("contradictory_label", 155, ""),
        ("label_disagrees_with_archive", 102, ""),
        ("duplicate_pixels", 159, "18 pairs stand in both Train and Test"),
        ("delivered_split_leaks", 44, "of 118 test images"),
        ("source_confounded", 3, "sensitivity 100.0 %, specificity 79.5 %"),
        ("class_not_learnable", 1, "seborrheic keratosis"),
    ],
)
def test_a_known_defect_is_found_in_its_full_extent(
    run: Run, law: str, count: int, remark: str
) -> None:
    finding = next(each for each in validated(run).findings if each.law == law)
    assert finding.count == count
    assert remark in finding.remark.replace("\xa0", " ")


def test_nothing_that_is_left_is_contradictory_or_leaks(run: Run) -> None:
    split = run.record("split")
    assert isinstance(split, Split)
    parts = table_of(run, split.parts)
    for same in ("image_id", "pixel_hash", "lesion_id", "near_duplicate"):
        told = parts.dropna(subset=[same]).groupby(same)
        assert (told["side"].nunique() == 1).all()
    for same in ("image_id", "pixel_hash", "lesion_id"):
        assert (parts.dropna(subset=[same]).groupby(same)["label"].nunique() == 1).all()
    assert "seborrheic keratosis" not in set(parts["label"])


def test_every_delivered_file_is_accounted_for(run: Run) -> None:
    record = validated(run)
    assert sum(record.classes.values()) + record.quarantined == 2359
    quarantine = table_of(run, record.quarantine)
    assert quarantine["key"].is_unique
    assert quarantine["reason"].notna().all()
