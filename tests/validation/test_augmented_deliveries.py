"""A delivery of augmented copies, made by Augmentor: inspect, deliver and validate tell of them."""

import random
import re
import shutil
from pathlib import Path

import Augmentor
import pytest

from tasks.__main__ import main
from tasks.engine.storage import open_store
from tests.support.deliveries import table_of
from tests.support.skin import lesion
from tests.support.validated import count, remark, validated

pytestmark = pytest.mark.slow

LESIONS, COPIES = 6, 12
MELANOMAS = range(50, 54)  # no delivery is accepted without
SAID = re.compile(r"(\d+) images? (?:is|are) named as (?:a copy|copies) that a program made")


def put(folder: Path, numbers: range) -> None:
    folder.mkdir(parents=True)
    for number in numbers:
        lesion(number).save(folder / f"ISIC_{7000 + number:07d}.png")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Lesions in Train, and copies of them, by Augmentor, in Train and in Test: half of each."""
    put(tmp_path / "set/Train/nevus", range(LESIONS))
    put(tmp_path / "set/Train/melanoma", MELANOMAS)
    pipeline = Augmentor.Pipeline(str(tmp_path / "set/Train/nevus"), str(tmp_path / "drawn"))
    pipeline.set_seed(1)
    pipeline.rotate(probability=0.7, max_left_rotation=10, max_right_rotation=10)
    pipeline.flip_left_right(probability=0.5)
    pipeline.zoom_random(probability=0.5, percentage_area=0.8)
    pipeline.sample(COPIES, multi_threaded=False)
    (tmp_path / "set/Test/nevus").mkdir(parents=True)
    for number, copy in enumerate(sorted((tmp_path / "drawn").iterdir())):
        shutil.move(copy, tmp_path / "set" / ("Train", "Test")[number % 2] / "nevus")
    return tmp_path / "set"


def said_by(argv: list[str], capsys: pytest.CaptureFixture[str]) -> int:
    """How many copies a command tells of."""
    capsys.readouterr()
    assert main(argv) == 0
    told = capsys.readouterr()
    found = SAID.search(" ".join((told.out + told.err).split()))
    return int(found[1]) if found else 0


def test_copies_by_augmentor_are_told_before_and_after_delivery(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = str(tmp_path / "store")
    assert said_by(["inspect", "--images", str(images)], capsys) == COPIES
    assert said_by(["deliver", "--store", uri, "--images", str(images)], capsys) == COPIES
    run, record = validated(open_store(uri), packed_size=180)
    assert count(record, "derived_copy") == COPIES
    assert "deliver the originals only" in remark(record, "derived_copy")
    assert count(record, "delivered_split_leaks") == COPIES / 2
    rows = table_of(run, record.accepted)
    rows = rows[rows["label"] == "nevus"]
    original = rows["image_id"].str.rpartition("_original_")[2]
    # Two copies that Augmentor drew of one image have one id, so one of them is enough.
    assert len(rows) == LESIONS + COPIES - count(record, "delivered_again")
    copied = rows[original.isin(original[original.duplicated()])]
    assert (copied.groupby(original)["near_duplicate"].nunique(dropna=False) == 1).all()


def test_where_names_tell_nothing_the_pictures_do(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = sorted(images.rglob("*_original_*"))
    random.Random(1).shuffle(copies)
    for number, each in enumerate(copies):
        each.rename(each.with_name(f"b{number:02d}.png"))
    uri = str(tmp_path / "store")
    assert said_by(["deliver", "--store", uri, "--images", str(images)], capsys) == 0
    _, record = validated(open_store(uri), packed_size=180)
    assert count(record, "derived_copy") == 0
    assert count(record, "delivered_split_leaks") == COPIES / 2
    assert count(record, "near_duplicate") >= COPIES


def test_other_lesions_in_the_test_folder_are_no_copies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "set/Train/nevus", range(LESIONS))
    put(tmp_path / "set/Train/melanoma", MELANOMAS)
    put(tmp_path / "set/Test/nevus", range(LESIONS, 2 * LESIONS))
    uri = str(tmp_path / "store")
    assert said_by(["inspect", "--images", str(tmp_path / "set")], capsys) == 0
    assert said_by(["deliver", "--store", uri, "--images", str(tmp_path / "set")], capsys) == 0
    _, record = validated(open_store(uri), packed_size=180)
    for law in ("derived_copy", "delivered_split_leaks", "near_duplicate", "same_lesion_by_look"):
        assert count(record, law) == 0
