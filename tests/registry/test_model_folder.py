"""Which files may lie in the folder that MLflow serves."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import Corrupt
from tasks.records.record import sha256
from tasks.registry.model_folder import MOST_DESCRIBED, USUAL, WEIGHTS, check_folder, described

MLMODEL = (
    "flavors:\n  keras:\n    data: data\n    save_exported_model: false\n"
    "  python_function:\n    loader_module: mlflow.keras\n"
)
NAMED = "model_name: melanoma_classifier\nmodel_version: '1'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for path in USUAL:
        (tmp_path / path).write_text("")
    (tmp_path / "MLmodel").write_text(MLMODEL)
    (tmp_path / "data" / "keras_module.txt").write_text("keras")
    return tmp_path


def checked(folder: Path) -> str:
    return check_folder(folder, "Version 1", sha256((folder / WEIGHTS).read_bytes()), {})


def test_the_name_that_mlflow_writes_beside_a_version_that_was_loaded_is_no_change(
    folder: Path,
) -> None:
    """MLflow writes the name into the folder itself where its artifacts are files."""
    before = checked(folder)
    (folder / "registered_model_meta").write_text(NAMED)
    assert checked(folder) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("registered_model_meta", "import evil"),
        ("registered_model_meta", NAMED + "more: 1\n"),
        ("registered_model_meta", NAMED.replace("melanoma", "other")),
        ("registered_model_meta", ""),
        ("data/registered_model_meta", NAMED),
        ("another", NAMED),
    ],
)
def test_any_other_file_is_noticed(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(Corrupt, match="is not the folder"):
        checked(folder)


# The description of a version -------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=6000), max_size=5))
def test_a_description_holds_whole_lines_of_its_page_and_says_where_the_rest_is(
    lines: list[str],
) -> None:
    page = "\n".join(lines)
    kept = described(page)
    assert len(kept) <= MOST_DESCRIBED
    if len(page) <= MOST_DESCRIBED:
        assert kept == page
        return
    begun, _, rest = kept.rpartition("\n\n**The page goes on**")
    assert page.startswith(begun)
    assert "release/model_card.md" in rest
    assert page[len(begun)] == "\n" or "\n" not in begun
