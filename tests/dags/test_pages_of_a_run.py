"""What the pages of a run hold: sealed evidence, Data Docs, and what to do if a page is absent."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.release.verify import verify
from tests.support.page_paths import NAME, QUOTED
from tests.support.reported import HOSTILE, commit, make_records, make_run
from tests.support.stores import on_a_directory

pytestmark = pytest.mark.slow

on_both_stores = pytest.mark.parametrize("store_uri", ["directory", "moto"], indirect=True)

# Evidence ----------------------------------------------------------------------------------------


@on_both_stores
def test_a_file_that_is_not_the_sealed_one_is_not_shown(
    pages: Any, address: str, run: str, store: Store
) -> None:
    store.replace(f"runs/{NAME}/evidence/model_card.html", b"<p>better figures")
    store.create(f"runs/{NAME}/evidence/later.html", b"<p>added")
    for path in ("model_card.html", "later.html"):
        answer = pages.get(address, f"{run}/evidence/{path}")
        assert answer.status_code == 409
        assert "not the one that was sealed" in answer.text
        assert "better figures" not in answer.text
    assert pages.get(address, f"{run}/evidence/policy.yaml").status_code == 200


@on_a_directory
def test_the_signature_of_a_bundle_is_given_out_although_the_manifest_cannot_name_it(
    pages: Any, address: str, run: str, store: Store
) -> None:
    assert pages.get(address, f"{run}/evidence/evidence.sig").status_code == 404
    store.create(f"runs/{NAME}/evidence/evidence.sig", b"{}")
    assert pages.get(address, f"{run}/evidence/evidence.sig").content == b"{}"


@on_a_directory
def test_a_bundle_without_its_manifest_is_not_there_yet(
    pages: Any, address: str, run: str, store: Store
) -> None:
    store.delete(f"runs/{NAME}/evidence/manifest.json")
    for path in ("evidence/", "evidence", "evidence.zip", "evidence/policy.yaml"):
        answer = pages.get(address, f"{run}/{path}")
        assert answer.status_code == 404
        assert "<h1>Evidence: not there</h1>" in answer.text
    store.create(f"runs/{NAME}/evidence/manifest.json", b"[]")
    assert pages.get(address, f"{run}/evidence/policy.yaml").status_code == 409


@on_both_stores
def test_names_from_outside_are_text_in_the_lists(
    pages: Any, address: str, run: str, store: Store
) -> None:
    hostile = HOSTILE.replace("/", "|")
    store.create(f"runs/{NAME}/evidence/{hostile}.html", b"x")
    listed = pages.get(address, f"{run}/evidence/")
    assert listed.status_code == 200
    assert hostile not in listed.text
    assert hostile.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;") in listed.text
    for path in (f"{run}/evidence/%3Cscript%3Ex", "runs/%3Cscript%3E/", "%3Cscript%3E"):
        assert "<script>" not in pages.get(address, path).text


def test_the_packed_bundle_verifies_where_it_is_unpacked(
    pages: Any,
    address: str,
    store_of_format_1: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MELANOMA_STORE", str(store_of_format_1))
    answer = pages.get(address, "runs/first/evidence.zip")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].endswith("evidence-first.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "unpacked")
    verified = verify(str(tmp_path / "unpacked" / "evidence-first"))
    assert (verified.run, verified.decision) == ("first", "pass")
    assert pages.get(address, "runs/first/evidence.zip").content == answer.content
    # A real page of Data Docs, whose name holds a space.
    docs = pages.get(address, "runs/first/data_docs")
    assert docs.status_code == 307
    first = docs.headers["location"].removeprefix("/melanoma/")
    assert "Great Expectations" in pages.get(address, first).text


# Data Docs, and what is absent -------------------------------------------------------------------


def validated_by(run: Run) -> Any:
    """The record of `validate` of a run, whose Data Docs lie in the folder of another one."""
    return make_records(replace(run, step="validate"))["validate"]


def test_data_docs_that_were_reused_lie_in_the_folder_of_the_run_that_made_them(
    pages: Any, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELANOMA_STORE", str(tmp_path))
    made = validated_by(make_run(tmp_path, "earlier"))
    later = make_run(tmp_path, "later")
    commit(later, {"validate": made})
    answer = pages.get(address, "runs/later/data_docs")
    assert answer.headers["location"] == f"/melanoma/{made.data_docs[0].key}"
    assert pages.get(address, made.data_docs[0].key).content == b"<p>"

    forged = made.data_docs[0].model_copy(update={"key": "raw/report.html"})
    commit(later, {"validate": made.model_copy(update={"data_docs": (forged,)})})
    assert pages.get(address, "runs/later/data_docs").status_code == 404


@pytest.mark.parametrize(
    ("path", "title", "told"),
    [
        ("report.html", "Report", "python -m tasks report --run"),
        ("quarantine.html", "Quarantined images", "python -m tasks report --run"),
        ("data_docs", "Data Docs", "task validate"),
        ("validate/a/data_docs/index.html", "Data Docs", "task validate"),
        ("evidence/model_card.html", "Model card", "task register"),
        ("evidence", "Evidence", "task register"),
        ("evidence.zip", "Evidence", "task register"),
    ],
)
def test_a_page_that_is_absent_says_what_to_do(
    pages: Any,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    title: str,
    told: str,
) -> None:
    monkeypatch.setenv("MELANOMA_STORE", str(tmp_path))
    open_store(str(tmp_path)).create(f"runs/{NAME}/raw.json", b"[]")
    answer = pages.get(address, f"runs/{QUOTED}/{path}")
    assert answer.status_code == 404
    assert f"<h1>{title}: not there</h1>" in answer.text
    assert told in answer.text
    listed = pages.get(address, f"runs/{QUOTED}/")
    assert listed.status_code == 200
    assert listed.text.count("Not there yet.") == 6
    assert "<a " not in listed.text


def test_a_run_that_left_nothing_has_no_pages(
    pages: Any, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELANOMA_STORE", str(tmp_path))
    for path in ("", "report.html", "evidence/", "data_docs"):
        answer = pages.get(address, f"runs/nobody/{path}")
        assert answer.status_code == 404
        assert "Only runs of melanoma_retraining have pages" in answer.text


def test_an_api_server_without_the_store_says_what_to_set(
    pages: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MELANOMA_STORE", raising=False)
    answer = pages.get(address, "runs/first/report.html")
    assert answer.status_code == 500
    assert "Expected: MELANOMA_STORE=" in answer.text
