"""Inputs that went wrong before: what ingest makes of each. Drawn lesions, two views of each."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.intake.deliver import deliver
from tasks.intake.manifest import read_parquet
from tasks.records.ingested import Ingested
from tests.support.deliveries import do, run_of
from tests.support.missing import need_cases
from tests.support.paths import CASES

PLAIN = CASES / "plain/set"
KNOWS_LESIONS = (
    *(f"F03_tables_not_read/{name}" for name in ("camel_case_id", "img_id", "sep_line", "tsv")),
    *("F03_tables_not_read/title_row", "F04_columns_not_read", "F05_rows_not_matched"),
    *("F05b_dotted_ids", "F07b_1_and_1.0"),
    *(f"F08_placeholder/{word}" for word in ("-1", "0", "na")),
)


@pytest.fixture(autouse=True)
def _cases() -> None:
    need_cases()


def manifest_of(
    to: Path, images: Path, metadata: Path | None = None, *, accept: bool = False, **config: Any
) -> tuple[pd.DataFrame, Ingested]:
    store = open_store(str(to / "store"))
    deliver(store, images, metadata, accept_unread=accept)
    run = run_of(store, **config)
    record = do(run, "ingest")
    return read_parquet(run, record.manifest), record


def lesion_of(image_id: str) -> str:
    """The true lesion: what stands before the letter of the view."""
    return re.sub(r"\.?[ab]$", "", image_id)


def ways_apart(manifest: pd.DataFrame) -> int:
    """How many true lesions have views of different, or of no, lesion ids."""
    true = manifest["image_id"].map(lesion_of)
    return int((manifest.groupby(true)["lesion_id"].nunique(dropna=False) > 1).sum())


@pytest.mark.parametrize("case", KNOWS_LESIONS)
def test_lesions_keep_their_identity(case: str, tmp_path: Path) -> None:
    folder = CASES / case
    images = folder / "set" if (folder / "set").exists() else PLAIN
    accept = case == "F08_placeholder/0"  # told: a nought that stands everywhere is unknown
    manifest, record = manifest_of(tmp_path, images, folder / "metadata", accept=accept)
    assert (manifest["lesion_id"].nunique(), ways_apart(manifest)) == (28, 0)
    assert manifest["patient_id"].nunique() in (0, 14)
    if case.startswith("F08"):
        assert manifest["patient_id"].isna().all()
    assert record.reading
    assert record.reading.unread == {}


def test_a_ragged_row_is_refused_with_its_line_and_told_if_accepted(tmp_path: Path) -> None:
    metadata = CASES / "F03_tables_not_read/ragged/metadata"
    with pytest.raises(BadInput, match="line 6 with 5"):
        manifest_of(tmp_path, PLAIN, metadata)
    manifest, record = manifest_of(tmp_path, PLAIN, metadata, accept=True)
    assert ways_apart(manifest) == 1
    assert record.reading
    assert "line 6 with 5" in record.reading.tables[0].problems[0]


@pytest.mark.parametrize(
    "name", ["control_bcc", "decimal_comma", "isic2018_akiec", "lower_case", "true_false"]
)
def test_codes_are_understood_in_each_spelling(name: str, tmp_path: Path) -> None:
    """14 of 56 images stand in a folder that the table contradicts."""
    from tasks.terms import archive_says

    manifest, record = manifest_of(
        tmp_path, PLAIN, CASES / "F10_codes_not_read" / name / "metadata"
    )
    said = manifest["archive_diagnosis"].map(archive_says)
    wrong = [label not in (of or ()) for label, of in zip(manifest["label"], said, strict=True)]
    assert sum(wrong) == 14
    assert record.reading
    assert record.reading.tables[0].codes == {}


def test_a_folder_of_what_is_no_melanoma_gives_no_label(tmp_path: Path) -> None:
    manifest, record = manifest_of(tmp_path, CASES / "F01_parent_folder/melanoma")
    not_melanoma = manifest["key"].str.contains("NotMelanoma")
    assert not_melanoma.sum() == 14
    assert manifest.loc[not_melanoma, "label"].isna().all()
    assert (manifest.loc[~not_melanoma, "label"].value_counts() == 14).all()
    assert record.reading
    assert record.reading.folders[0].name == "NotMelanoma"


def test_names_that_count_within_their_folder_are_kept_apart(tmp_path: Path) -> None:
    manifest, record = manifest_of(tmp_path, CASES / "F06b_names_in_scope/set")
    assert manifest["image_id"].nunique() == len(manifest) == 56
    assert record.reading
    assert "count within their folder" in record.reading.notes[0]


def test_a_coarse_code_holds_for_a_folder(tmp_path: Path) -> None:
    codes = {"bkl": "pigmented benign keratosis"}
    manifest, _ = manifest_of(tmp_path, CASES / "F12_coarse_folder/set", coarse_codes=codes)
    assert (manifest["label"] == "pigmented benign keratosis").sum() == 28


def test_two_tables_of_one_name_are_both_delivered(tmp_path: Path) -> None:
    case = CASES / "F14_same_table_name"
    for part in ("a", "b"):
        images = next(each for each in (case / part).iterdir() if "clinic" in each.name)
        metadata = next(each for each in (case / part).iterdir() if "clinic" not in each.name)
        store = open_store(str(tmp_path / "store"))
        deliver(store, images, metadata)
    assert len([e for e in store.list("raw/metadata/") if e.key.endswith("metadata.csv")]) == 2


def test_damaged_jpegs_are_undecodable_and_others_are_not(tmp_path: Path) -> None:
    manifest, _ = manifest_of(tmp_path, CASES / "F15_damaged_jpeg/set")
    refused = manifest[manifest["law"] == "undecodable"]
    assert {key.rpartition("/")[2] for key in refused["key"]} == {
        "cut_and_closed.jpg", "hole_of_4096_zeros.jpg", "zeros_to_the_end.jpg",
    }  # fmt: skip


def test_an_image_is_one_whatever_its_name(tmp_path: Path) -> None:
    manifest, _ = manifest_of(tmp_path, CASES / "F16_suffixes/set")
    odd = manifest[manifest["image_id"].str.startswith("x")]
    files = [
        each for each in (CASES / "F16_suffixes/set/melanoma").iterdir() if each.name[0] == "x"
    ]
    assert len(odd) == len(files) > 0
    assert odd["law"].isna().all()


def test_a_delivery_may_be_a_hidden_folder(tmp_path: Path) -> None:
    manifest, _ = manifest_of(tmp_path, CASES / "F17_hidden_root/.isic9")
    assert manifest["label"].notna().all()
    assert len(manifest) > 0
