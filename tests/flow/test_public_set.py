"""The public nine-class set: its known defects are found, with no hint of them in the program."""

import contextlib
from pathlib import Path

import pytest

from tasks.config import Retraining
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.errors import Halt
from tasks.intake.deliver import deliver
from tasks.records.ingested import Ingested
from tasks.records.split import Split
from tasks.records.validated import Validated
from tasks.release.evidence import FOLDER
from tasks.release.verify import verify
from tests.support.deliveries import BEFORE_REGISTER, do, table_of
from tests.support.missing import need_public_sets
from tests.support.paths import DATA

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    need_public_sets("isic9", "metadata")
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
        ("duplicate_pixels", 159, "18 pairs of them in both Train and Test"),
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


@pytest.fixture(scope="module")
def second(run: Run) -> Run:
    """The same store after the delivery of ISIC 2017."""
    need_public_sets("isic2017")
    deliver(run.store, DATA / "isic2017")
    again = Run(run.store, "second", Retraining())
    do(again, "ingest", "validate", "split")
    return again


def test_a_second_delivery_is_ingested_incrementally_and_what_it_changed_is_told(
    second: Run,
) -> None:
    ingested = second.record("ingest")
    assert isinstance(ingested, Ingested)
    assert (ingested.files, ingested.fetched) == (4509, 2150)
    changes = validated(second).changes
    assert changes is not None
    assert (changes.since, changes.new_files, changes.recognized) == ("public", 2150, 444)
    assert changes.learnable == ("seborrheic keratosis",)
    assert changes.now_quarantined.keys() == {"delivered_again"}


def test_a_second_delivery_moves_no_image_to_another_side(run: Run, second: Run) -> None:
    before, after = (
        table_of(each, record.parts).drop_duplicates("image_id").set_index("image_id")["side"]
        for each in (run, second)
        if isinstance(record := each.record("split"), Split)
    )
    both = before.index.intersection(after.index)
    assert len(both) > 1900
    assert (before[both] == after[both]).all()


def test_the_archive_gives_actinic_keratosis_its_images_back(run: Run) -> None:
    config = Retraining(laws_that_resolve=("contradictory_label",))
    resolved = Run(run.store, "resolved", config)
    do(resolved, "ingest", "validate")
    gained = validated(resolved).classes["actinic keratosis"]
    assert gained - validated(run).classes["actinic keratosis"] == 75


def test_a_second_archive_beside_the_nine_classes_leaves_evidence_that_verifies(
    tmp_path: Path,
) -> None:
    """Images of isic2017 bridge the sides that images of the nine classes stand on."""
    need_public_sets("isic9", "isic2017", "metadata")
    store = open_store(str(tmp_path / "store"))
    deliver(store, DATA / "isic9", DATA / "metadata")
    deliver(store, DATA / "isic2017")
    config = {"image_size": 32, "packed_size": 48, "epochs": 1, "recipes": ("baseline",)}
    run = Run(store, "both", Retraining(**config, balance_policy="none"))
    do(run, *BEFORE_REGISTER)
    with contextlib.suppress(Halt):  # after one epoch the gate need not let it pass
        do(run, "register")
    split = run.record("split")
    assert isinstance(split, Split)
    assert split.bridging
    assert verify(f"{run.uri}/{FOLDER}").run == "both"
