"""Debian's Chromium, driven as a person uses Airflow's pages."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.support.missing import lacking

ZONE = "America/New_York"  # of the person who looks; no test runs there
MILLISECONDS = 30_000  # longest wait for a page, on a machine that also runs steps


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """A browser without a window; ends the test where the machine has none.

    Args:
        options: More options of Chromium's command line.
    """
    program = shutil.which("chromium")
    if program is None:
        lacking("no Chromium", install="apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's own sandbox refuses root, whom CI runs as.
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", *options]
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Visitor:
    """A person who has logged in to Airflow by its page.

    Attributes:
        page: What the person sees.
        airflow: Airflow's address.
    """

    page: Page
    airflow: str

    def trigger(self, dag: str, **fields: str) -> None:
        """Start a run by the DAG's form.

        Args:
            dag: The DAG.
            fields: What is typed into each field, by its name.
        """
        form = self.form(dag)
        for name, text in fields.items():
            form.locator(f"[name=element_{name}]").fill(text)
        form.get_by_role("button", name="Trigger").click()
        form.wait_for(state="hidden")

    def form(self, dag: str) -> Locator:
        """Open the form that starts a run."""
        self.page.goto(f"{self.airflow}/dags/{dag}")
        self.page.get_by_role("button", name="Trigger Dag").click()
        form = self.page.locator("[role=dialog][data-state=open]", has_text="Trigger Dag - ")
        form.wait_for()
        return form

    def open_question(self, subject: str, run: str) -> None:
        """Open the question of a run under Required Actions, whose subject holds some words."""
        self.page.goto(f"{self.airflow}/required_actions")
        self.page.locator("tr", has_text=run).get_by_role("link", name=subject).click()
        self.page.locator("[name=element_reason]").wait_for()

    def answer(self, option: str, reason: str) -> None:
        """Answer the open question."""
        self.page.locator("[name=element_reason]").fill(reason)
        self.page.get_by_role("button", name=option, exact=True).click()


def visitor(browser: Browser, airflow: str, passwords: Path, user: str, **context: Any) -> Visitor:
    """Log in as a user, in a browser of the user's own.

    Args:
        browser: The browser.
        airflow: Airflow's address.
        passwords: File with the password of each user, in JSON.
        user: Login of the user.
        context: More of what the user's browser is set to, as Playwright's `new_context` takes it.
    """
    opened = browser.new_context(
        viewport={"width": 1280, "height": 900}, timezone_id=ZONE, locale="en-US", **context
    )
    opened.set_default_timeout(MILLISECONDS)
    page = opened.new_page()
    page.goto(airflow)
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", json.loads(passwords.read_text())[user])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{airflow}/")
    return Visitor(page, airflow)
