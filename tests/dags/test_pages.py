"""The pages of runs: who gets them, what they are, and that nothing else of the store is served."""

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.store import Store
from tests.support.page_paths import ASKED, NAME, QUOTED, SECRET, SERVED
from tests.support.stores import on_a_directory

pytestmark = pytest.mark.slow

on_both_stores = pytest.mark.parametrize("store_uri", ["directory", "moto"], indirect=True)

# Who gets them -----------------------------------------------------------------------------------


@on_both_stores
def test_who_may_read_the_runs_of_the_dag_gets_what_lies_in_the_store(
    pages: Any, address: str, run: str
) -> None:
    for path, content in SERVED.items():
        answer = pages.get(address, f"{run}/{path}")
        assert (answer.status_code, answer.content) == (200, content)
    bearer = {"Authorization": f"Bearer {pages.token(pages.READER)}"}
    assert pages.get(address, f"{run}/report.html", None, bearer).content == b"<p>report"


@on_a_directory
def test_who_may_not_read_them_gets_nothing(pages: Any, address: str, run: str) -> None:
    for path in ASKED:
        answer = pages.get(address, f"{run}/{path}", pages.OUTSIDER)
        assert answer.status_code == 403
        assert "may not read" in answer.text
        assert NAME not in answer.text
        assert not [content for content in SERVED.values() if content in answer.content]


@on_a_directory
def test_who_has_not_logged_in_comes_back_after_the_login(
    pages: Any, address: str, run: str
) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    back = f"%2Fmelanoma%2Fruns%2F{QUOTED.replace('%', '%25')}%2F"
    for path in ASKED:
        page = pages.get(address, f"{run}/{path}", None, browser)
        assert (page.status_code, page.content) == (303, b"")
        assert page.headers["location"].startswith(f"/api/v2/auth/login?next={back}")

        frame = pages.get(address, f"{run}/{path}", None, browser | {"Sec-Fetch-Dest": "iframe"})
        program = pages.get(address, f"{run}/{path}", None)
        stale = pages.get(address, f"{run}/{path}", None, {"Cookie": "_token=not.a.token"})
        assert [frame.status_code, program.status_code, stale.status_code] == [401, 401, 403]
        for answer in (frame, program, stale):
            assert not [content for content in SERVED.values() if content in answer.content]


# How they are locked -----------------------------------------------------------------------------


@on_a_directory
def test_every_answer_lets_a_page_run_fetch_and_send_nothing(
    pages: Any, address: str, run: str, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    store.replace(f"runs/{NAME}/evidence/plain", b"changed")
    answers = [pages.get(address, f"{run}/{path}") for path in ASKED]
    answers += [pages.get(address, path) for path in (f"{run}/evidence/plain", "", "x", "docs")]
    answers += [
        pages.get(address, f"{run}/report.html", None),
        pages.get(address, f"{run}/report.html", pages.OUTSIDER),
        pages.get(address, f"{run}/report.html", None, {"Accept": "text/html"}),
    ]
    monkeypatch.setenv("MELANOMA_STORE", "ftp://somewhere")
    answers.append(pages.get(address, f"{run}/report.html"))

    assert {answer.status_code for answer in answers} == {
        200,
        303,
        307,
        401,
        403,
        404,
        409,
        500,
    } - (
        {307}  # without a record of `validate`, nothing is redirected
    )
    for answer in answers:
        policy = dict(
            each.strip().partition(" ")[::2]
            for each in answer.headers["content-security-policy"].split(";")
        )
        assert "allow-scripts" not in policy["sandbox"]
        assert "allow-forms" not in policy["sandbox"]
        assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["img-src"] == "data:"
        assert policy.keys() == {
            *("sandbox", "default-src", "base-uri", "form-action"),
            *("img-src", "style-src", "frame-ancestors"),
        }
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "private, no-store"
        assert len(answer.headers.get_list("content-security-policy")) == 1


@on_a_directory
def test_a_browser_shows_what_is_on_a_short_list_and_keeps_the_rest(
    pages: Any, address: str, run: str
) -> None:
    shown = {
        "report.html": "text/html; charset=utf-8",
        "evidence/manifest.json": "application/json",
        "evidence/model_card.md": "text/plain; charset=utf-8",
        "evidence/policy.yaml": "text/plain; charset=utf-8",
        "evidence/evaluate/saliency/d2.png": "image/png",
    }
    for path, kind in shown.items():
        headers = pages.get(address, f"{run}/{path}").headers
        assert (headers["content-type"], headers.get("content-disposition")) == (kind, None)
    for path in ("split/proof.csv", "validate/drawing.svg", "validate/page.xhtml", "plain"):
        headers = pages.get(address, f"{run}/evidence/{path}").headers
        kept = f"attachment; filename*=UTF-8''{path.rpartition('/')[2]}"
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"] == kept


# What is served ----------------------------------------------------------------------------------


ELSEWHERE = [
    "raw.json",
    "validate/record.json",
    "validate/a1b2c3d4/quarantine.csv",
    "train/a1b2c3d4/model.keras",
    "train/a1b2c3d4/data_docs/x.html",
    "report.html.bak",
    "report.html/",
    "../report.html",
    "..%2freport.html",
    "..%2f..%2freport.html",
    "..%2f..%2fraw%2freport.html",
    "%2e%2e%2f%2e%2e%2fledger%2f000001.json",
    "evidence/../raw.json",
    "evidence/..%2fraw.json",
    "evidence/%2e%2e/validate/record.json",
    "evidence/split/..%2f..%2f..%2f..%2freport.html",
    "evidence/..%5c..%5craw.json",
    "evidence//manifest.json",
    "evidence/./manifest.json",
    "evidence/.",
    "evidence/manifest.json%00.html",
    "evidence/manifest.json%0a",
    "evidence/%2e%2e%2f%2e%2e%2fevidence/x.html",
    "validate/../data_docs/x.html",
    "validate/..%2ftrain/a1b2c3d4/data_docs/x.html",
    "validate/a1b2c3d4/data_docs/..%2f..%2f..%2fraw.json",
    f"evidence/{'x' * 5000}",
    "evidence/%ff%fe",
    "%2fetc%2fpasswd",
]


@on_both_stores
def test_no_path_leads_to_anything_else(pages: Any, address: str, run: str) -> None:
    for path in ELSEWHERE:
        answer = pages.get(address, f"{run}/{path}")
        assert answer.status_code == 404, path
        assert SECRET not in answer.content, path
        assert "<h1>" in answer.text


@on_both_stores
def test_no_id_leads_out_of_the_folder_of_runs(pages: Any, address: str, run: str) -> None:
    for run_id in (".", "..", "%2e%2e", "..%2f..", "%2f", "%2e%2e%2fraw", "", "%00", "a%2fb", "*"):
        for path in ("report.html", "evidence/x.html", ""):
            answer = pages.get(address, f"runs/{run_id}/{path}")
            assert answer.status_code == 404, run_id
            assert SECRET not in answer.content, run_id


@on_a_directory
def test_the_store_comes_from_the_environment_and_never_from_the_request(
    pages: Any, address: str, run: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / "runs" / NAME).mkdir(parents=True)
    (other / "runs" / NAME / "report.html").write_bytes(SECRET)
    assert pages.get(address, f"{run}/report.html").content == b"<p>report"
    asked = f"{run}/report.html?run={other}/runs/{NAME}&store={other}&file=raw.json"
    assert pages.get(address, asked).content == b"<p>report"


@on_a_directory
def test_a_link_or_a_pipe_in_the_folder_of_a_run_is_not_followed(
    pages: Any, address: str, run: str, store_uri: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.html").write_bytes(SECRET)
    evidence = Path(store_uri) / "runs" / NAME / "evidence"
    (evidence / "link.html").symlink_to(outside / "x.html")
    (evidence / "folder").symlink_to(outside)
    os.mkfifo(evidence / "pipe.html")
    (evidence.parent / "report.html").unlink()
    (evidence.parent / "report.html").symlink_to(outside / "x.html")
    for path in ("report.html", *(f"evidence/{n}" for n in ("link.html", "folder/x.html"))):
        answer = pages.get(address, f"{run}/{path}")
        assert (answer.status_code, SECRET in answer.content) == (404, False)
    assert pages.get(address, f"{run}/evidence/pipe.html").status_code == 404
    assert pages.get(address, f"{run}/evidence/policy.yaml").status_code == 200
    # Nor is told what lies behind a link.
    for path in ("evidence.zip", "evidence/", ""):
        answer = pages.get(address, f"{run}/{path}")
        assert answer.status_code == (409 if path else 200)
        assert "folder/x.html" not in answer.text
    for planted in ("link.html", "folder", "pipe.html"):
        (evidence / planted).unlink()
    for path in ("evidence.zip", "evidence/"):
        assert pages.get(address, f"{run}/{path}").status_code == 200
