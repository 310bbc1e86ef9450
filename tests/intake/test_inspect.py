"""inspect and deliver: what is not understood is said before anything is copied."""

import json
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.errors import BadInput
from tasks.intake.guide import parse_guide
from tests.support.deliveries import picture


@pytest.mark.parametrize("text", ["columns: 3", "codes: {a: b}", "x: 1", "folders: [a", "- 1"])
def test_a_guide_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        parse_guide(text.encode(), "reading.yaml")


@pytest.fixture
def clinic(tmp_path: Path) -> tuple[Path, Path]:
    """Images in two folders, and an empty folder of tables."""
    for n, folder in enumerate(["melanoma", "nevus"] * 3):
        (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / folder / f"i{n}.png").write_bytes(picture(n))
    (tmp_path / "tables").mkdir()
    return tmp_path / "set", tmp_path / "tables"


def folders(clinic: tuple[Path, Path]) -> list[str]:
    return ["--images", str(clinic[0]), "--metadata", str(clinic[1])]


def test_inspect_ends_with_64_where_going_on_would_be_guessing(
    clinic: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (clinic[1] / "a.csv").write_text("image_id,diagnosis,lesion_id\ni0,melanoma,L1\n")
    assert main(["inspect", *folders(clinic), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["labels"] == {"melanoma": 3, "nevus": 3}
    assert said["tables"][0]["columns"]["lesion_id"] == "lesion_id"
    assert any("5 of 6 images have no lesion id" in each for each in said["told"])
    (clinic[1] / "b.csv").write_text("a,b\n1,2\n")
    assert main(["inspect", *folders(clinic)]) == 64
    assert "no column of image ids" in " ".join(capsys.readouterr().err.split())
    assert main(["inspect", *folders(clinic), "--accept-unread"]) == 0


def test_what_is_not_understood_is_not_delivered_unless_a_person_says_so(
    clinic: tuple[Path, Path], tmp_path: Path
) -> None:
    (clinic[1] / "a.csv").write_text("image_id,diagnosis\nother1,melanoma\n")
    argv = ["deliver", "--store", str(tmp_path / "store"), *folders(clinic)]
    assert main(argv) == 64
    assert not (tmp_path / "store").exists()
    assert main([*argv, "--accept-unread"]) == 0
    assert (tmp_path / "store/raw/metadata/a.csv").exists()


def test_a_draft_of_the_guide_is_valid_and_never_overwrites(clinic: tuple[Path, Path]) -> None:
    (clinic[0] / "auffaellig").mkdir()
    (clinic[0] / "auffaellig/x.png").write_bytes(picture(99))
    (clinic[1] / "a.csv").write_text("image_id,diagnosis\ni0,zebra\n")
    assert main(["inspect", *folders(clinic), "--write", "--accept-unread"]) == 0
    drafted = clinic[1] / "reading.yaml"
    guide = parse_guide(drafted.read_bytes(), "reading.yaml")
    assert (guide.folders, guide.codes) == ({"auffaellig": "none"}, {"zebra": "none"})
    assert main(["inspect", *folders(clinic), "--write", "--accept-unread"]) == 64
    drafted.write_text("codes: {zebra: melanoma}\nfolders: {auffaellig: nevus}\n")
    assert main(["inspect", *folders(clinic)]) == 0


def test_two_tables_of_one_name_from_two_clinics_are_both_delivered(
    clinic: tuple[Path, Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    (clinic[1] / "metadata.csv").write_text("image_id,lesion_id\ni0,L1\n")
    assert main(["deliver", "--store", str(store), *folders(clinic)]) == 0
    second = tmp_path / "second"
    second.mkdir()
    (second / "metadata.csv").write_text("image_id,lesion_id\ni2,L2\n")
    argv = ["deliver", "--store", str(store), "--images", str(clinic[0]), "--metadata", str(second)]
    assert main(argv) == 0
    assert main(argv) == 0  # again, as after a kill
    assert {p.relative_to(store).as_posix() for p in store.glob("raw/metadata/**/*.csv")} == {
        "raw/metadata/metadata.csv", "raw/metadata/second/metadata.csv",
    }  # fmt: skip
