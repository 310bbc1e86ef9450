"""The section of the report about what was understood of the delivery."""

from pathlib import Path
from typing import Any

import pytest

from tasks.records.ingested import FolderRead, Reading, TableRead, WithdrawnFiles
from tests.support.reported import HOSTILE, Page, make_records, make_run, page_of, text_of

SAID = Reading(
    tables=(
        TableRead(
            key="raw/metadata/labels.csv",
            rows=40,
            matched=38,
            columns={"Bild": "image_id", "Befund": "diagnosis", "dx": "diagnosis", "Notiz": ""},
            problems=("the column 'fall_nr' may name lesions or patients and is not used",),
            unmatched=("x1", "x2"),
            codes={"zebra": 3, "melanomaa": 5},
        ),
    ),
    unread={"raw/metadata/other.csv": "no column of image ids among 'a', 'b'"},
    folders=(
        FolderRead(name="melanomas", files=12, suggestion="melanoma"),
        FolderRead(name="images", files=2, suggestion=None),
    ),
    more_folders=4,
    notes=("2 lesions stand under several names, which count as one: 'Q1', 'q-1'",),
    withdrawn=(
        WithdrawnFiles(
            entry=7, by="anna (Airflow)", at="2026-02-03T04:05:06+00:00",
            reason="consent withdrawn", files=2, examples=("raw/clinic/nevus/1.png",),
        ),
    ),
    sources={"clinic A": 30, "unknown": 8},
)  # fmt: skip


def page_with(tmp_path: Path, reading: Reading | None) -> str:
    run = make_run(tmp_path)
    records = make_records(run)
    records["ingest"] = records["ingest"].model_copy(update={"reading": reading})
    return page_of(run, records)


def test_the_report_says_what_was_understood_and_what_was_not(tmp_path: Path) -> None:
    text = text_of(page_with(tmp_path, SAID))
    for said in (
        "What was understood of the delivery",
        "2 files withdrawn and left out: consent withdrawn. By anna (Airflow), 2026-02-03, entry 7",
        "image_id from 'Bild'; diagnosis from 'Befund', 'dx'; kept unchanged: 'Notiz'.",
        "No image for 2 rows, such as x1, x2.",
        "the column 'fall_nr' may name lesions or patients",
        "Diagnoses not understood: melanomaa (5), zebra (3).",
        "no column of image ids among 'a', 'b'",
        "melanomas (12 files; does it mean melanoma?), images (2 files) and 4 more.",
        "Sources: clinic A (30 images), unknown (8 images).",
        "2 lesions stand under several names",
    ):
        assert said in text, said


def test_a_record_without_a_reading_has_no_such_section(tmp_path: Path) -> None:
    assert "What was understood of the delivery" not in text_of(page_with(tmp_path, None))


def test_a_delivery_without_tables_says_so(tmp_path: Path) -> None:
    bare = Reading(tables=(), unread={}, folders=(), more_folders=0, notes=())
    text = text_of(page_with(tmp_path, bare))
    assert "No table was delivered: labels come from folders alone" in text
    assert "withdrawn" not in text


@pytest.mark.parametrize("place", ["key", "column", "code", "folder", "reason", "source"])
def test_hostile_text_of_a_delivery_is_shown_not_run(place: str, tmp_path: Path) -> None:
    table = SAID.tables[0]
    changes: dict[str, dict[str, Any]] = {
        "key": {"tables": (table.model_copy(update={"key": HOSTILE}),)},
        "column": {"tables": (table.model_copy(update={"columns": {HOSTILE: "image_id"}}),)},
        "code": {"tables": (table.model_copy(update={"codes": {HOSTILE: 1}}),)},
        "folder": {"folders": (FolderRead(name=HOSTILE, files=1, suggestion=None),)},
        "reason": {"unread": {"a.csv": HOSTILE}},
        "source": {"sources": {HOSTILE: 1}},
    }
    page = Page(page_with(tmp_path, SAID.model_copy(update=changes[place])))
    assert "script" not in page.tags
    assert "alert" in page.text
