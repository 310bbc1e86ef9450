"""What an earlier version of the program wrote still serves."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.intake.contradictions import Contradiction
from tasks.intake.manifest import parquet_of, read_parquet, to_parquet
from tasks.lesions import Code
from tasks.records.evaluated import Comparison
from tasks.records.ingested import Ingested
from tasks.records.validated import Finding, Validated
from tasks.release.verify import verify
from tasks.reporting.report import report
from tasks.statistics.proportions import proportion
from tasks.statistics.ranking import auc
from tasks.validation.changes import read_quarantine
from tests.support.deliveries import do, run_of
from tests.support.records import record_of

pytestmark = pytest.mark.slow


@pytest.fixture
def old(store_of_format_1: Path) -> Run:
    return run_of(open_store(str(store_of_format_1)), "first")


def test_a_bundle_of_the_first_version_still_verifies(store_of_format_1: Path) -> None:
    verified = verify(str(store_of_format_1 / "runs" / "first" / "evidence"))

    assert verified.run == "first"
    assert verified.decision == "pass"


# Values that the first version joined into one text -----------------------------------------------


def test_codes_of_an_old_manifest_are_read_apart(old: Run) -> None:
    ingested = old.record("ingest")
    assert isinstance(ingested, Ingested)
    text = pd.read_parquet(io.BytesIO(old.fetch(ingested.manifest)))["archive_diagnosis"]
    assert text.str.startswith("labels=").any()  # as the fixture has it

    for then, now in zip(
        text, read_parquet(old, ingested.manifest)["archive_diagnosis"], strict=True
    ):
        assert now == (None if pd.isna(then) else (Code("labels", (then[len("labels=") :],)),))


@pytest.mark.parametrize(
    ("column", "text", "values"),
    [
        (
            "archive_diagnosis",
            "HAM10000=akiec|ISIC 2019=AK",
            (Code("HAM10000", ("akiec",)), Code("ISIC 2019", ("AK",))),
        ),
        (
            "archive_diagnosis",
            "ISIC Archive=Benign:Nevus, Spitz",
            (Code("ISIC Archive", ("Benign", "Nevus, Spitz")),),
        ),
        ("archive_diagnosis", "labels=a=b", (Code("labels", ("a=b",)),)),
        (
            "contradiction",
            "age 50 or 51; sex male or female",
            (Contradiction("age_years", "50", "51"), Contradiction("sex", "male", "female")),
        ),
    ],
)
def test_what_was_joined_in_a_table_is_told_apart(
    column: str, text: str, values: tuple[object, ...]
) -> None:
    buffer = io.BytesIO()
    pd.DataFrame({"key": ["a", "b"], column: [text, None]}).to_parquet(buffer, index=False)
    then = parquet_of(buffer.getvalue())

    assert list(then[column]) == [values, None]
    assert list(parquet_of(to_parquet(then))[column]) == [values, None]


def test_pairs_of_an_old_finding_are_told_apart_and_other_examples_are_not() -> None:
    told = {"description": "", "count": 1, "severity": "warning", "consequence": "", "remark": ""}
    pairs = Finding(law="near_duplicate", examples=["raw/a b.jpg ~ raw/c.jpg"], **told)
    alone = Finding(law="undecodable", examples=["raw/a ~ b.jpg"], **told)

    assert pairs.examples == (("raw/a b.jpg", "raw/c.jpg"),)
    assert pairs.told == ("raw/a b.jpg ~ raw/c.jpg",)
    assert alone.examples == alone.told == ("raw/a ~ b.jpg",)
    for each in (pairs, alone):
        assert Finding.model_validate_json(each.model_dump_json()) == each


def comparison(lost: list[object]) -> str:
    scores = np.array([0.1, 0.9])
    figure = json.loads(auc(scores, scores).model_dump_json())
    share = json.loads(proportion(1, 2).model_dump_json())
    counts = dict.fromkeys(("both_found", "champion_only", "challenger_only", "neither_found"), 1)
    told = {"threshold": 0.5, "sensitivity": share, "specificity": share, "auc": figure}
    return json.dumps(told | counts | {"auc_difference": figure, "lost": lost})


def test_lost_lesions_of_an_old_record_are_read_and_its_hash_stays() -> None:
    """Else the record after it would follow from another one, and an old bundle would not hold."""
    text = comparison(["ISIC_1 ISIC_2", "ISIC_3"])
    read = Comparison.model_validate_json(text)

    assert read.lost == (("ISIC_1", "ISIC_2"), ("ISIC_3",))
    for each in (read, read.model_copy(), Comparison.model_validate(read)):
        assert json.loads(each.model_dump_json()) == json.loads(text)
        assert each.model_dump(mode="json") == json.loads(text)


def test_lost_lesions_of_a_new_record_keep_their_blanks() -> None:
    text = comparison([["X left arm", "Y"], ["Z"]])
    read = Comparison.model_validate_json(text)

    assert read.lost == (("X left arm", "Y"), ("Z",))
    assert json.loads(read.model_dump_json()) == json.loads(text)


def test_of_an_old_quarantine_the_first_counterpart_is_read(old: Run) -> None:
    heading = "key,image_id,label,law,reason,counterpart"
    line = "raw/a.jpg,'=a,nevus,contradictory_label,why,raw/b.jpg; raw/c.jpg"
    run = Run(old.store, "second", old.config, "validate")
    table = read_quarantine(run, run.keep("quarantine.csv", f"{heading}\n{line}\n".encode()))

    assert table["counterpart"].tolist() == ["raw/b.jpg"]
    assert table["image_id"].tolist() == ["'=a"]


# An old store goes on -----------------------------------------------------------------------------


def test_the_report_of_an_old_run_can_be_made_again(old: Run) -> None:
    page = old.store.read(report(old)).decode()
    validated = old.record("validate")
    assert isinstance(validated, Validated)

    assert validated.quarantined
    assert f"<b>{validated.quarantined} files are quarantined</b>" in page
    assert "cannot be shown" not in page


def test_an_old_run_goes_on_where_it_stood_and_the_next_compares_itself_with_it(old: Run) -> None:
    """The manifest is of the first version, and what is made of it is of this one."""
    before = old.record("validate")
    assert isinstance(before, Validated)
    for step in ("validate", "split"):
        shutil.rmtree(Path(old.store.uri) / "runs/first" / step)
    old.store.delete("shared/latest/validate.json")
    provenance = record_of(old, Ingested).provenance
    assert provenance
    again = do(Run(old.store, "first", provenance.config), "validate", "split")
    assert sum(sum(side.values()) for side in again.counts.values()) + again.bridging
    made = old.record("validate")
    assert isinstance(made, Validated)
    assert (made.classes, made.quarantined) == (before.classes, before.quarantined)

    following = do(Run(old.store, "second", provenance.config), "ingest", "validate")
    assert following.changes
    assert following.changes.since == "first"
    assert (following.changes.new_files, following.changes.gone_files) == (0, 0)
