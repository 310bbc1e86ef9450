"""The page over the true app: answers, examples, reports, and what reviewers alone are shown."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tasks.engine.directory import DirectoryStore
from tasks.serving.settings import Settings
from tasks.serving.website import DRAWN, drawn_image
from tests.serving.conftest import ANNA, BERTA, USERS, client_of, png, sent
from tests.support.browser import chromium
from tests.support.dicoms import native, photograph

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def clinic(store: DirectoryStore) -> Iterator[TestClient]:
    """Anna is a clinician, Berta reviews."""
    settings = Settings(users=USERS, reviewers=("berta",), root_path="/melanoma")
    with client_of(store, settings) as client:
        yield client


def test_the_page_asks_for_nothing_that_the_app_does_not_have(app: TestClient) -> None:
    shown = app.get("/").text
    addresses = set(re.findall(r'(?:src|href)="(/[^"#]*)"', shown))
    assert any("app.css" in each for each in addresses)
    assert any("examples" in each for each in addresses)
    for address in (each for each in addresses if "/report/" not in each):
        assert app.get(address.replace("&amp;", "&")).status_code == 200, address
    assert not re.search(r'(?:src|href)="(?:https?:)?//', shown)


def test_the_page_answers_as_the_api_with_and_without_scripts(
    app: TestClient, lesions: list[Array]
) -> None:
    file = png(lesions[1])
    answer = app.post("/predict", **sent(file)).json()
    shown = f"{100 * answer['probabilities']['melanoma']:.0f} %"
    for path in ("/page/answer", "/"):
        found = app.post(path, data={"language": "en"}, **sent(file))
        assert found.status_code == 200
        assert shown in found.text.replace("\u00a0", " ")
    assert "<!doctype html>" in found.text.lower()


def test_a_dicom_is_answered_and_shown_as_pixels_alone(app: TestClient) -> None:
    found = app.post("/page/answer", **sent(native(photograph(2), PatientName="Doe^Jane")))
    assert found.status_code == 200
    assert "data:image/png" in found.text
    assert "Jane" not in found.text


@pytest.mark.parametrize("name", [name for name, _, _ in DRAWN])
def test_an_example_is_answered_and_marked(app: TestClient, name: str) -> None:
    found = app.post("/page/answer", data={"example": name, "language": "en"})
    assert found.status_code == 200
    assert "SYNTHETIC" in found.text
    assert app.get(f"/page/examples/{name}.png").content == drawn_image(name)


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        ("/page/answer", {"example": "zzz"}, 422),
        ("/page/answer", {}, 422),
        ("/", {"example": "../a"}, 422),
    ],
)
def test_a_question_about_nothing_is_told(
    app: TestClient, path: str, data: dict[str, str], status: int
) -> None:
    found = app.post(path, data=data)
    assert found.status_code == status
    assert "example" in found.text or "number of files" in found.text


def test_a_file_that_is_no_image_is_told_on_the_page(app: TestClient) -> None:
    for path in ("/page/answer", "/"):
        found = app.post(path, **sent(b"<script>alert(1)</script>"))
        assert found.status_code == 422
        assert "File 1 cannot be read" in found.text
        assert "<script>alert" not in found.text


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ({"params": {"language": "fr"}}, "fr"),
        ({"headers": {"Accept-Language": "de-CH, fr;q=0.5"}}, "de"),
        ({"params": {"language": "xx"}, "headers": {"Accept-Language": "de"}}, "de"),
        ({"headers": {"Accept-Language": "it"}}, "en"),
    ],
)
def test_the_page_speaks_the_readers_language(
    app: TestClient, asked: dict[str, dict[str, str]], language: str
) -> None:
    assert f'<html lang="{language}">' in app.get("/", **asked).text


def test_only_reviewers_are_shown_the_challenger(clinic: TestClient) -> None:
    file = sent(png(photograph(1)))
    for person, sees in ((ANNA, False), (BERTA, True)):
        assert ('name="beside"' in clinic.get("/", auth=person).text) == sees
        found = clinic.post("/page/answer", data={"beside": "true"}, auth=person, **file)
        assert found.status_code == (200 if sees else 403)
        assert ("Version 2" in found.text) == sees
        assert clinic.get("/page/report/2", auth=person).status_code in (404, 200 if sees else 404)


def test_the_report_of_the_model_in_use_is_shown_and_may_run_nothing(
    store: DirectoryStore, app: TestClient
) -> None:
    report = Path(store.root, "runs/first/report.html")
    kept = report.read_bytes() if report.exists() else None
    report.write_text("<h1>The report</h1><script>alert(1)</script>")
    try:
        found = app.get("/page/report/1")
        assert "The report" in found.text
        assert "sandbox" in found.headers["content-security-policy"]
        assert "script" not in found.headers["content-security-policy"]
        for other in ("3", "2%2F..", "first"):
            assert app.get(f"/page/report/{other}").status_code in (404, 422)
    finally:
        report.write_bytes(kept) if kept is not None else report.unlink()


def test_under_a_sub_path_every_address_of_the_page_begins_with_the_path(
    clinic: TestClient,
) -> None:
    shown = clinic.get("/", auth=ANNA).text
    for address in re.findall(r'(?:src|href|action|data-answer)="(/[^"]*)"', shown):
        assert address.startswith("/melanoma/"), address


def test_what_is_no_skin_is_refused_on_the_page(app: TestClient) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (180, 180, 3), np.uint8)
    found = app.post("/page/answer", data={"language": "en"}, **sent(png(noise)))
    assert found.status_code == 200
    assert "cannot judge this image" in found.text


def test_a_clinician_asks_with_a_browser(
    switchable: DirectoryStore, tmp_path: Path, lesions: list[Array]
) -> None:
    """Upload, answer, keyboard alone, at phone width, in the dark."""
    from tests.serving.conftest import running

    image = tmp_path / "lesion.png"
    image.write_bytes(png(lesions[1]))
    with running(switchable) as address, chromium() as browser:
        context = browser.new_context(
            viewport={"width": 390, "height": 844}, color_scheme="dark", locale="en-US"
        )
        page = context.new_page()
        asked, problems, consoled = list[str](), list[str](), list[tuple[str, str]]()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda told: consoled.append((told.type, told.text)))
        page.goto(address)
        page.locator("#choose").set_input_files(str(image))
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "send":
                break
        page.keyboard.press("Enter")
        page.locator("#result h2").first.wait_for()
        told = page.locator("#result").inner_text()
        wide = page.evaluate("document.documentElement.scrollWidth")
        context.close()
    assert "Version 1" in told
    assert re.search(r"\d+\s%", told)
    assert wide <= 390
    assert problems == []
    assert [text for kind, text in consoled if kind == "error"] == []
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)
