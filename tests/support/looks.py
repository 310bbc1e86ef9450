"""What is asked of every page of the app, in a browser."""

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # no types
from playwright.sync_api import Page

MILLISECONDS = 10_000  # longest wait for what happens on a page
PHONES = (360, 390)  # widths in CSS pixels


def violations(page: Page, **options: object) -> list[str]:
    """What axe finds, with the first element of each kind."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    asked = {"resultTypes": ["violations"], **options}
    found = page.evaluate("async (asked) => (await axe.run(asked)).violations", asked)
    return [f"{each['id']}: {each['nodes'][0]['html'][:120]}" for each in found]


def troubles_of(page: Page, address: str) -> list[str]:
    """Errors of scripts, what the policy of contents forbids, and requests that go elsewhere; grows
    while the page is used.

    Args:
        page: The page.
        address: Of the app, the only one that may be asked.
    """
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if "Policy" in said.text else None)
    page.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith((address, "data:", "blob:"))
            else troubles.append(asked.url)
        ),
    )
    return troubles
