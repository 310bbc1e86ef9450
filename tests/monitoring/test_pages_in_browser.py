"""The pages of monitoring in Chromium: on a phone, in the dark, for a screen reader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # no types
from playwright.sync_api import Browser

from tasks.engine.directory import DirectoryStore
from tasks.monitoring.counting import of_version
from tasks.monitoring.outcomes_page import page as outcomes_page
from tests.monitoring.test_outcomes_page import BROKEN, EMPTY, KEPT, followed
from tests.monitoring.test_watch_page import pages as drift_pages
from tests.support.asked import USUAL, reference
from tests.support.browser import chromium
from tests.support.released import MODEL, melanomas

pytestmark = pytest.mark.slow

EARLIER = of_version(
    MODEL.model_copy(update={"version": 2}), melanomas([True]), None, no_promise="no evidence"
)
PAGES = {
    "broken": followed(BROKEN, EARLIER, never_in_use=2, synthetic=True),
    "kept": followed(KEPT),
    "empty": EMPTY,
}
DRAWN = reference(synthetic=True)
DRIFTED = USUAL.but(format="PNG", moved=0.4)


def html_of(name: str, folder: Path) -> str:
    """The page of a state of the outcomes, of a drift, or of its history."""
    if name in PAGES:
        return outcomes_page(PAGES[name])
    drift, history = drift_pages(DirectoryStore(folder / "store"), USUAL, DRIFTED, against=DRAWN)
    return drift if name == "drift" else history


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def seen(
    browser: Browser, html: str, folder: Path, width: int, scheme: Literal["light", "dark"]
) -> tuple[int, list[str]]:
    """The width of a page, and what axe finds on the page."""
    file = folder / "page.html"
    file.write_text(html)
    # The page's own policy lets no script in, not even that of a tester.
    with browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    ) as context:
        shown = context.new_page()
        shown.goto(file.as_uri())
        shown.evaluate(Axe().axe_script)
        found = shown.evaluate("async () => (await axe.run()).violations")
        wide = shown.evaluate("document.documentElement.scrollWidth")
    return wide, [f"{each['id']}: {each['nodes'][0]['html'][:120]}" for each in found]


@pytest.mark.parametrize("name", [*PAGES, "drift", "history"])
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1280, "light")])
def test_axe_finds_no_violation_and_the_page_is_no_wider_than_its_screen(
    browser: Browser, tmp_path: Path, name: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    html = html_of(name, tmp_path)
    wide, violations = seen(browser, html, tmp_path, width, scheme)

    assert ("SYNTHETIC" in html) == (name in ("broken", "drift", "history"))

    assert violations == []
    assert wide == width


def test_what_must_not_be_would_be_found(browser: Browser, tmp_path: Path) -> None:
    bad = outcomes_page(PAGES["kept"]).replace("<main>", "<main style='width: 900px; color: #ddd'>")
    wide, violations = seen(browser, bad.replace(' lang="en"', ""), tmp_path, 390, "light")

    assert wide > 390
    assert {each.partition(":")[0] for each in violations} >= {"color-contrast", "html-has-lang"}
