"""Training images that the device has no room for: from a file, and nothing else changes."""

import resource
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.errors import BadInput
from tasks.intake.manifest import pixels_of
from tasks.lesions import DIAGNOSES
from tasks.model_file import to_bytes
from tasks.records.ingested import Ingested
from tasks.training import memory
from tasks.training.batches import Shown, Streamed
from tasks.training.fitting import fit
from tasks.training.learner import Learner, examples, learner_of
from tasks.training.network import shrink
from tasks.training.state import DATA
from tests.support.deaths import Deadly, Killed
from tests.support.deliveries import do, put_lesions, run_of, table_of
from tests.support.noise import CLASSES, TRAINING, VALIDATION

pytestmark = pytest.mark.slow

STEPS = 2  # of an epoch: 40 images in batches of 16, of which 8 are left out


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SHARE_FOR_IMAGES", 0.0)


@pytest.fixture
def place(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def trained(store: DirectoryStore, lives: int = 10**6) -> bytes:
    """The bytes of a model of ``residual``; its training dies with its `lives`-th checkpoint."""
    learner = learner_of(
        run_of(store, residual_epochs=2, residual_batch_size=16), "residual", TRAINING, CLASSES
    )
    kept = Deadly(store, "runs/a/train/checkpoints/x", minutes=0, lives=lives)
    fit(learner.model, learner.examples, VALIDATION, learner.plan, checkpoints=kept)
    return to_bytes(learner.finish())


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return trained(DirectoryStore(tmp_path_factory.mktemp("resident")))


# The same model ---------------------------------------------------------------------------------


def test_streamed_images_make_the_same_model_to_the_byte(
    place: DirectoryStore, resident: bytes, no_room: None
) -> None:
    assert trained(place) == resident


def test_other_pixels_make_another_model(
    place: DirectoryStore, resident: bytes, no_room: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = TRAINING
    monkeypatch.setattr(f"{__name__}.TRAINING", (images ^ np.uint8(1), labels))
    assert trained(place) != resident


def test_a_kill_of_streamed_training_changes_no_byte(
    place: DirectoryStore, resident: bytes, no_room: None
) -> None:
    """In an epoch, before the next one's validation, and at the end."""
    for lives in (1, STEPS + 1, STEPS):
        with pytest.raises(Killed):
            trained(place, lives)
    assert trained(place) == resident


def test_a_machine_with_less_memory_goes_on_with_what_one_with_more_began(
    place: DirectoryStore, resident: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        trained(place, lives=1)
    monkeypatch.setattr(memory, "SHARE_FOR_IMAGES", 0.0)
    assert trained(place) == resident


# Where the images lie ---------------------------------------------------------------------------


def data_of(learner: Learner) -> list[str]:
    assert isinstance(learner.model, Shown)
    return [each.path for each in learner.model.variables if each.path.startswith(DATA)]


def test_images_lie_on_the_device_where_there_is_room(place: DirectoryStore) -> None:
    learner = learner_of(run_of(place), "residual", TRAINING, CLASSES)
    assert len(data_of(learner)) == 2
    assert isinstance(learner.examples[0], np.ndarray)


def test_no_image_lies_on_the_device_where_there_is_none(
    place: DirectoryStore, no_room: None
) -> None:
    learner = learner_of(run_of(place), "residual", TRAINING, CLASSES)
    assert data_of(learner) == []
    assert isinstance(learner.examples[0], Streamed)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Forty images in several shards."""
    store = DirectoryStore(tmp_path_factory.mktemp("ingested"))
    put_lesions(store, "melanoma", range(1, 21))
    put_lesions(store, "nevus", range(101, 121))
    run = run_of(store, parts=4)
    do(run, *(f"ingest/{number}-of-4" for number in range(1, 5)), "ingest")
    return run


def test_a_file_holds_the_same_pixels_and_nothing_is_left_of_it(
    ingested: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ingested.record("ingest")
    assert isinstance(record, Ingested)
    rows = table_of(ingested, record.manifest).sample(frac=1, random_state=3)
    assert rows["shard"].nunique() > 1
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    in_memory, labels = examples(ingested, rows, DIAGNOSES)
    monkeypatch.setattr(memory, "SHARE_FOR_IMAGES", 0.0)
    in_a_file, same = examples(ingested, rows, DIAGNOSES)

    assert isinstance(in_a_file, np.memmap)
    assert not isinstance(in_memory, np.memmap)
    assert (in_a_file == in_memory).all()
    assert (in_memory == shrink(pixels_of(ingested, rows), 32)).all()
    assert (labels == same).all()
    assert list(tmp_path.iterdir()) == []  # while it is still mapped


def test_a_disk_without_room_is_told_before_anything_is_written(no_room: None) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(BadInput, match="There is no room for the training images") as caught:
            memory.space_for_images(10, 32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "TMPDIR" in str(caught.value)
    assert memory.space_for_images(10, 32).shape == (10, 32, 32, 3)


@pytest.mark.parametrize(("told", "fits"), [("max", True), ("4000000", True), ("3999999", False)])
def test_a_containers_limit_counts_as_its_memory(
    told: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{told}\n")
    monkeypatch.setattr(memory, "LIMITS", (limit, tmp_path / "none"))
    assert memory.is_room_for(1_000_000) == fits
