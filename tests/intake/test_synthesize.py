"""The synthetic set: deterministic, marked, imbalanced, with exactly the defects it says."""

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from PIL import Image

from tasks.errors import BadInput
from tasks.intake.columns import NAMES
from tasks.intake.drawn_lesions import KINDS, draw
from tasks.intake.scene import SIDE_PX
from tasks.intake.synthesize import synthesize
from tasks.lesions import DIAGNOSES, SYNTHETIC_PREFIX, Diagnosis

SCALE = 0.1
Drawn = tuple[Path, dict[str, int]]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    to = tmp_path_factory.mktemp("drawn") / "set"
    return to, synthesize(to, scale=SCALE)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata" / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_seed_gives_the_same_bytes(drawn: Drawn, tmp_path: Path) -> None:
    synthesize(tmp_path / "again", scale=SCALE)
    assert contents(tmp_path / "again") == contents(drawn[0])


def test_another_seed_gives_other_pictures(drawn: Drawn, tmp_path: Path) -> None:
    synthesize(tmp_path / "other", scale=0.03, seed=21)
    synthesize(tmp_path / "default", scale=0.03)
    here, there = (set(contents(tmp_path / name).values()) for name in ("other", "default"))
    assert not here & there


def test_every_class_has_a_folder_and_the_classes_are_uneven(drawn: Drawn) -> None:
    to, _ = drawn
    counts = {folder.name: len(list(folder.iterdir())) for folder in (to / "Train").iterdir()}
    assert set(counts) == set(DIAGNOSES)
    assert max(counts, key=counts.__getitem__) == "nevus"
    assert max(counts.values()) >= 3 * min(counts.values())


def test_a_full_set_holds_about_800_images_with_enough_melanomas_to_judge() -> None:
    assert 700 <= sum(kind.images for kind in KINDS.values()) <= 900
    assert KINDS["melanoma"].images >= 170


def test_every_picture_is_marked_in_its_name_and_in_its_comment(drawn: Drawn) -> None:
    assert len(contents(drawn[0] / "Train")) > 20
    for name, data in contents(drawn[0] / "Train").items():
        assert Path(name).name.startswith(SYNTHETIC_PREFIX)
        assert b"SYNTHETIC: drawn by the program" in data[:300]


def test_the_mark_in_the_pixels_is_the_same_for_every_class() -> None:
    marks = [draw(name, default_rng(1), default_rng([1, 2])) for name in DIAGNOSES]
    corners = [mark[-15:-3, 4:62].mean(axis=-1).ravel() for mark in marks]
    bare = [mark[3:15, 4:62].mean(axis=-1).ravel() for mark in marks]
    for corner, other in zip(corners[1:], bare[1:], strict=True):
        assert np.corrcoef(corners[0], corner)[0, 1] > 0.9
        assert np.corrcoef(corners[0], other)[0, 1] < 0.5


def test_the_planted_defects_are_those_that_are_counted(drawn: Drawn) -> None:
    to, said = drawn
    folders: dict[bytes, set[str]] = defaultdict(set)
    names: dict[bytes, set[str]] = defaultdict(set)
    truncated = 0
    for name, data in contents(to / "Train").items():
        folder, file = name.split("/")
        digest = hashlib.sha256(data).digest()
        folders[digest].add(folder)
        names[digest].add(file)
        try:
            with Image.open(to / "Train" / name) as image:
                image.load()
                assert image.size == (SIDE_PX, SIDE_PX)
        except OSError:
            truncated += 1
    assert sum(len(found) > 1 for found in folders.values()) == said["contradictory_labels"] >= 1
    assert sum(len(found) > 1 for found in names.values()) == said["exact_duplicates"] == 1
    assert truncated == said["truncated_files"] == 1
    assert said["files"] == sum(1 for _ in (to / "Train").rglob("*.jpg"))
    assert said["files"] == said["images"] + said["contradictory_labels"] + said["exact_duplicates"]


def test_the_table_names_each_image_once_and_its_columns_are_known_to_the_pipeline(
    drawn: Drawn,
) -> None:
    to, said = drawn
    table = rows(to)
    ids = [row["image_id"] for row in table]
    files = {path.stem for path in (to / "Train").rglob("*.jpg")}
    assert len(ids) == len(set(ids))
    assert set(ids) == files
    known = {name for names in NAMES.values() for name in names} | {"diagnosis"}
    assert set(table[0]) <= known
    assert len({row["lesion_id"] for row in table}) == said["lesions"]


def test_some_lesions_are_seen_more_than_once_and_always_as_the_same_class(drawn: Drawn) -> None:
    views = Counter(row["lesion_id"] for row in rows(drawn[0]))
    assert 0.05 <= sum(count > 1 for count in views.values()) / len(views) <= 0.30
    assert max(views.values()) <= 4  # three, and the planted duplicate
    classes = defaultdict(set)
    for row in rows(drawn[0]):
        classes[row["lesion_id"]].add(row["diagnosis"])
    assert all(len(found) == 1 for found in classes.values())


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(DIAGNOSES), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_any_lesion_from_any_side_is_a_picture_with_something_on_it(
    diagnosis: Diagnosis, lesion: int, view: int
) -> None:
    picture = draw(diagnosis, default_rng(lesion), default_rng(view))
    assert picture.shape == (SIDE_PX, SIDE_PX, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 5


def test_two_views_of_a_lesion_differ_in_more_than_a_few_pixels() -> None:
    first, second = (draw("nevus", default_rng(3), default_rng([3, view])) for view in (0, 1))
    assert np.mean(first != second) > 0.5


def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="mixed with other files"):
        synthesize(tmp_path, scale=0.01)
    assert contents(tmp_path) == {"mine.txt": b"mine"}


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert synthesize(tmp_path / "set", scale=0.01)["files"] == 39
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_place_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        synthesize(tmp_path / "file" / "set", scale=0.01)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"scale": 0}, {"scale": float("nan")}])
def test_a_seed_or_scale_out_of_range_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="seed of 0 or more"):
        synthesize(tmp_path / "set", **wrong)
