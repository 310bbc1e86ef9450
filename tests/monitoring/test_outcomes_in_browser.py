"""The page about released diagnoses in Chromium: on a phone, in the dark, for a screen reader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # no types
from playwright.sync_api import Browser

from tasks.monitoring.counting import of_version
from tasks.monitoring.outcomes_page import page
from tests.monitoring.test_outcomes_page import BROKEN, EMPTY, KEPT, followed
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


@pytest.mark.parametrize("state", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1280, "light")])
def test_axe_finds_no_violation_and_the_page_is_no_wider_than_its_screen(
    browser: Browser, tmp_path: Path, state: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    wide, violations = seen(browser, page(PAGES[state]), tmp_path, width, scheme)

    assert violations == []
    assert wide == width


def test_what_must_not_be_would_be_found(browser: Browser, tmp_path: Path) -> None:
    bad = page(PAGES["kept"]).replace("<main>", "<main style='width: 900px; color: #ddd'>")
    wide, violations = seen(browser, bad.replace(' lang="en"', ""), tmp_path, 390, "light")

    assert wide > 390
    assert {each.partition(":")[0] for each in violations} >= {"color-contrast", "html-has-lang"}
