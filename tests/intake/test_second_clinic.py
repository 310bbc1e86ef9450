"""The second drawn clinic: deterministic, marked, and by another device than the first."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.errors import BadInput
from tasks.intake.second_clinic import FIRST, HEIGHT, WIDTH, second_clinic
from tasks.intake.synthesize import COMMENT, synthesize
from tasks.lesions import SYNTHETIC_PREFIX


def pictures(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


def test_it_is_the_same_for_the_same_seed_and_marked(tmp_path: Path) -> None:
    count = second_clinic(tmp_path / "one", scale=0.1)
    second_clinic(tmp_path / "same", scale=0.1)
    second_clinic(tmp_path / "other", scale=0.1, seed=3)
    one, same, other = (
        [path.read_bytes() for path in pictures(tmp_path / name)]
        for name in ("one", "same", "other")
    )
    assert len(one) == count
    assert one == same
    assert one != other
    for path in pictures(tmp_path / "one"):
        assert path.name.startswith(SYNTHETIC_PREFIX)
        assert int(path.stem.removeprefix(SYNTHETIC_PREFIX)) >= FIRST
        with Image.open(path) as image:
            assert image.info["comment"] == COMMENT
            assert image.size == (WIDTH, HEIGHT)


def test_no_name_or_lesion_is_of_the_first_clinic(tmp_path: Path) -> None:
    synthesize(tmp_path / "first", scale=0.1)
    second_clinic(tmp_path / "second", scale=0.1)
    names = [{path.stem for path in pictures(tmp_path / each)} for each in ("first", "second")]
    assert not names[0] & names[1]
    lesions = [
        {line.split(",")[2] for line in path.read_text().splitlines()[1:]}
        for path in (tmp_path / "first/metadata/labels.csv", tmp_path / "second/labels.csv")
    ]
    assert not lesions[0] & lesions[1]


def test_its_device_differs_in_corners_and_colour(tmp_path: Path) -> None:
    synthesize(tmp_path / "first", scale=0.1)
    second_clinic(tmp_path / "second", scale=0.1)

    for path in (tmp_path / "first").rglob("*.jpg"):  # one of them is planted to be cut
        with contextlib.suppress(OSError), Image.open(path) as image:
            image.load()
            continue
        path.unlink()

    def mean(folder: str, part: slice) -> list[float]:
        shown = [np.asarray(Image.open(path))[part, part] for path in pictures(tmp_path / folder)]
        means = np.array([each.reshape(-1, 3).mean(axis=0) for each in shown])
        return [float(each) for each in means.mean(axis=0)]

    corner, middle = slice(0, 6), slice(60, 120)
    assert max(mean("second", corner)) < 30 < min(mean("first", corner))
    one, other = mean("first", middle), mean("second", middle)
    assert other[2] / other[0] > 1.05 * one[2] / one[0]  # bluer


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("here")
    with pytest.raises(BadInput, match="mixed with other files"):
        second_clinic(tmp_path)
