"""What is wrong with a set is told before anything heavy is loaded, and nothing piles up."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.intake.guide import Guide
from tasks.monitoring import pictures
from tasks.monitoring.labelled import labelled
from tasks.monitoring.pictures import looked_at, pixels_in_turn
from tasks.monitoring.scored import LeftOut
from tests.support.deliveries import picture
from tests.support.paths import ROOT

SAYS = """
import sys
from tasks.__main__ import main
code = main(sys.argv[1:])
print(code, *sorted({"keras", "tensorflow", "mlflow", "sklearn"} & set(sys.modules)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(10):
        (folder / f"m{number:02}a.png").write_bytes(picture(number))
    return folder


def test_bad_labels_are_told_before_tensorflow_loads(folder: Path) -> None:
    labels = folder.parent / "labels.csv"
    labels.write_text("image_id,diagnosis\nm00a,nevus\nm00a,melanoma\n")
    argv = ["score", "--model", "m.keras", "--images", str(folder), "--labels", str(labels)]
    made = subprocess.run(
        [sys.executable, "-c", SAYS, *argv], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert made.stdout.split() == ["64"]
    assert "contradict each other" in made.stderr
    assert "Traceback" not in made.stderr


def test_only_a_few_images_have_their_pixels_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = folder.parent / "labels.csv"
    names = [path.stem for path in sorted(folder.iterdir())]
    labels.write_text("\n".join(["image_id,diagnosis", *(f"{name},nevus" for name in names)]))
    monkeypatch.setattr(pictures, "AT_ONCE", 4)
    frame = looked_at(labelled(folder, labels).rows, 48, Guide(), [])
    assert list(frame["image_id"]) == names
    assert "pixels" not in frame
    assert frame["pixel_hash"].nunique() == 10
    assert [len(each) for each in pixels_in_turn(list(frame["file"]), 48)] == [4, 4, 2]


def test_where_no_image_can_be_decoded_each_is_left_out_with_a_reason(folder: Path) -> None:
    labels = folder.parent / "labels.csv"
    for path in folder.iterdir():
        path.write_bytes(b"none")
    labels.write_text("image_id,diagnosis\nm00a,nevus\nm01a,melanoma\n")
    left: list[LeftOut] = []
    assert looked_at(labelled(folder, labels).rows, 48, Guide(), left).empty
    assert [(each.image_id, each.file) for each in left] == [
        ("m00a", "m00a.png"), ("m01a", "m01a.png"),
    ]  # fmt: skip
    assert all("not that of an image" in each.reason for each in left)
