"""Consent, number, diagnosis and release in Chromium, over the true app."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tasks.engine.directory import DirectoryStore
from tasks.feedback.decided import decided_in
from tasks.feedback.kept import waiting, waiting_in
from tests.serving.conftest import ANNA, BERTA, USERS, png, running
from tests.support.browser import chromium
from tests.support.feedback import diagnosed, kept
from tests.support.looks import MILLISECONDS, PHONES, troubles_of, violations

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, Any]
OUTLINE = "getComputedStyle(document.activeElement).outlineWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(reviewed: DirectoryStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app with logins: Anna asks, Berta reviews."""
    users = tmp_path_factory.mktemp("users") / "users"
    users.write_text("".join(f"{name}:{password}\n" for name, password in USERS.items()))
    users.chmod(0o600)
    options = ("--feedback", "--users", str(users), "--reviewer", "berta")
    with running(reviewed, *options) as found:
        yield found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, lesions: list[Array]) -> Path:
    path = tmp_path_factory.mktemp("image") / "lesion.png"
    path.write_bytes(png(lesions[1]))
    return path


@contextmanager
def opened(
    browser: Browser, address: str, person: tuple[str, str] = ANNA, **options: Any
) -> Iterator[Page]:
    """A page of a person who is logged in, on which nothing goes wrong unseen."""
    login: Any = {"username": person[0], "password": person[1]}
    size = options.pop("viewport", {"width": 1280, "height": 900})
    with browser.new_context(
        http_credentials=login, viewport=size, locale="en-US", **options
    ) as context:
        context.set_default_timeout(MILLISECONDS)
        page = context.new_page()
        troubles = troubles_of(page, address)
        yield page
        assert troubles == []


def ask(page: Page, address: str, image: Path, *, consent: bool) -> None:
    page.goto(address)
    page.locator("#choose").set_input_files(image)
    assert not page.locator("#consent").is_checked()
    if consent:
        page.locator("#consent").check()
    page.locator("#send").click()
    page.locator("[data-fragment=answer]").wait_for()


def test_from_consent_to_release(
    browser: Browser, address: str, reviewed: DirectoryStore, image: Path
) -> None:
    with opened(browser, address) as page:
        ask(page, address, image, consent=True)
        shown = page.locator("#result .number").inner_text()
        number = re.sub(r"\s", "", shown)
        assert waiting(reviewed, number).kept.by == "anna"
        page.get_by_role("link", name="Enter the diagnosis").click()
        page.get_by_label("Diagnosis").select_option("melanoma")
        page.get_by_label("serial imaging").check()
        page.get_by_role("button", name="Save the diagnosis").click()
        expect(page.get_by_role("alert")).to_contain_text("This does not prove a melanoma.")
        page.get_by_label("histopathology", exact=True).check()
        page.get_by_role("button", name="Save the diagnosis").click()
        expect(page.get_by_role("status")).to_have_text("The diagnosis is saved.")
        assert page.get_by_role("button", name="Release").count() == 0
    with opened(browser, address, BERTA) as page:
        page.goto(address)
        page.get_by_role("link", name="Feedback").click()
        spaced = " ".join(number[at : at + 4] for at in range(0, 16, 4))
        page.get_by_label(f"Choose lesion {spaced}").check()
        page.get_by_role("button", name="Release into a delivery").click()
        expect(page.get_by_role("status")).to_have_text("The lesions are released.")
        expect(page.locator(".lesions.done")).to_contain_text("Melanoma, by histopathology")
    (_, fact) = decided_in(reviewed).released[-1]
    assert (fact.kept.lesion, fact.by.name) == (number, "berta")


def test_consent_is_asked_for_each_lesion_anew(
    browser: Browser, address: str, reviewed: DirectoryStore, image: Path
) -> None:
    """After an answer, where all images were taken away, and for an example."""
    with opened(browser, address) as page:
        ask(page, address, image, consent=True)
        assert not page.locator("#consent").is_checked()
        before = len(waiting_in(reviewed))
        page.locator("#choose").set_input_files(image)
        page.locator("#consent").check()
        page.get_by_role("button", name="Remove image 2").click()
        assert page.locator("#consent").is_checked()
        page.get_by_role("button", name="Remove image 1").click()
        assert not page.locator("#consent").is_checked()
        page.locator("#consent").check()
        page.get_by_role("button", name="Drawn as: Nevus").click()
        expect(page.locator("#result .drawn").last).to_contain_text("this lesion is drawn")
        assert not page.locator("#consent").is_checked()
        assert page.locator(".kept").count() == 0
        page.locator("#consent").check()
        page.reload()
        assert not page.locator("#consent").is_checked()
    assert len(waiting_in(reviewed)) == before


def test_the_number_is_copied_without_its_gaps(browser: Browser, address: str, image: Path) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    with opened(browser, address, permissions=permissions) as page:
        ask(page, address, image, consent=True)
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        link = page.get_by_role("link", name="Enter the diagnosis").get_attribute("href")
        page.locator(".number").click()
        marked = page.evaluate("getSelection().toString()")
    assert re.fullmatch("[0-9a-f]{16}", copied)
    assert f"/feedback/{copied}?" in str(link)
    assert marked == copied


def test_keyboard_alone_enters_a_diagnosis(
    browser: Browser, address: str, reviewed: DirectoryStore
) -> None:
    number = kept(reviewed, 101, by="anna")
    with opened(browser, address) as page:
        page.goto(f"{address}/feedback")

        def tab_to(wanted: str) -> None:
            for _ in range(60):
                page.keyboard.press("Tab")
                if page.evaluate(f"document.activeElement.matches({wanted!r})"):
                    assert page.evaluate(OUTLINE) == "3px"
                    return
            raise AssertionError(f"{wanted} was not reached")

        tab_to("#find")
        page.keyboard.type(f"{number[:4].upper()} {number[4:]}")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/feedback/{number}**")
        tab_to("#diagnosis")
        page.keyboard.type("Nev")
        tab_to("[name=proof]")
        page.keyboard.press("Space")
        tab_to("#enter button")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("The diagnosis is saved.")
    said = waiting(reviewed, number).diagnosed
    assert said
    assert (said.diagnosis, said.proof, said.by) == ("nevus", "histopathology", "anna")


def test_without_javascript_a_reviewer_works_and_a_deletion_needs_its_reason(
    browser: Browser, address: str, reviewed: DirectoryStore, image: Path
) -> None:
    with opened(browser, address, BERTA, java_script_enabled=False) as page:
        page.goto(f"{address}/?language=de")
        page.locator("#choose").set_input_files(image)
        page.locator("#consent").check()
        page.locator("#send").click()
        page.get_by_role("link", name="Diagnose eintragen").click()
        number = page.locator("#lesion .number").inner_text()
        page.get_by_role("button", name="Bilder löschen").click()
        assert waiting(reviewed, number)  # the browser asks for the reason
        page.get_by_label("Grund der Löschung").fill("withdrawn")
        page.get_by_role("button", name="Bilder löschen").click()
        expect(page.get_by_role("status")).to_have_text("Die Bilder sind gelöscht.")
    assert number not in {each.kept.lesion for each in waiting_in(reviewed)}


# Looks --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paths(reviewed: DirectoryStore) -> dict[str, str]:
    """Pages of feedback in their states: a lesion with and without a diagnosis, the list, none."""
    open_, said = kept(reviewed, 102, images=3), kept(reviewed, 103, by="berta", synthetic=True)
    diagnosed(reviewed, said, "nevus")
    diagnosed(reviewed, said)
    return {
        "list": "/feedback",
        "open": f"/feedback/{open_}",
        "said": f"/feedback/{said}?done=entered",
        "none": "/feedback/0123456789abcdef",
    }


@pytest.mark.parametrize("width", PHONES)
def test_a_phone_shows_feedback_without_scrolling_sideways(
    browser: Browser, address: str, paths: dict[str, str], image: Path, width: int
) -> None:
    phone = {"viewport": {"width": width, "height": 780}, "is_mobile": True, "has_touch": True}
    with opened(browser, address, BERTA, **phone) as page:
        ask(page, address, image, consent=True)
        wide = {"answer": page.evaluate("document.documentElement.scrollWidth")}
        for name, path in paths.items():
            page.goto(f"{address}{path}{'&' if '?' in path else '?'}language=de")
            wide[name] = page.evaluate("document.documentElement.scrollWidth")
    assert {name: found for name, found in wide.items() if found > width} == {}
    assert len(wide) == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_on_the_pages_of_feedback(
    browser: Browser, address: str, paths: dict[str, str], image: Path, scheme: str
) -> None:
    found = {}
    with opened(browser, address, BERTA, color_scheme=scheme) as page:
        ask(page, address, image, consent=True)
        found["answer"] = violations(page)
        for name, path in paths.items():
            page.goto(f"{address}{path}")
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (colour == "rgb(255, 255, 255)") == (scheme == "light")
            found[name] = violations(page)
    assert {name: told for name, told in found.items() if told} == {}
    assert len(found) == 5
