"""People decide by clicks in Airflow's pages, and see the champion change in MLflow's.

It follows test_promotion.py: version 1 is in use, and version 2 was rejected once.
"""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.airflow_api import ENGINEER, PHYSICIAN, PROMOTION, RETRAINING, ROLLBACK
from demo.settings import passwords_file
from tasks.registry.promotions import Rollback, promotions_in
from tasks.registry.versions import MODEL
from tests.support.browser import MILLISECONDS, ZONE, Visitor, chromium, visitor
from tests.support.demo import Demo


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=MILLISECONDS)
    with chromium() as found:
        yield found


def logged_in(browser: Browser, demo: Demo, user: str) -> Visitor:
    return visitor(browser, demo.airflow.address, passwords_file(demo.home), user)


def expect_champion(page: Page, demo: Demo, version: int) -> None:
    """MLflow's page of a version names the alias."""
    page.goto(f"{demo.mlflow}/#/models/{MODEL}/versions/{version}")
    expect(page.get_by_text("@ champion", exact=True)).to_be_visible()


def test_the_trainer_is_refused_another_person_approves_and_the_champion_comes_back(
    demo: Demo, browser: Browser
) -> None:
    before = demo.champion
    engineer = logged_in(browser, demo, ENGINEER)
    # A run for a day of the past is not offered: it would be a run of today.
    expect(engineer.form(RETRAINING).locator("input[value=backfill]")).to_be_disabled()
    engineer.trigger(PROMOTION, run=f"{demo.home}/store/runs/another-seed")
    promotion = demo.waiting_promotion()
    path = f"dags/{PROMOTION}/dagRuns/{promotion}/taskInstances/decide/-1/hitlDetails"
    asked = datetime.fromisoformat(demo.airflow.request("GET", path)["created_at"])
    engineer.page.goto(f"{demo.airflow.address}/required_actions")
    there = asked.astimezone(ZoneInfo(ZONE))
    expect(engineer.page.get_by_text(f"{there:%Y-%m-%d %H:%M:%S}").first).to_be_visible()

    engineer.open_question("Shall version 2", promotion)
    engineer.answer("Approve", "I made it.")
    engineer.page.get_by_text("Task Tries").wait_for()  # asked again
    with engineer.page.expect_popup() as opened:
        engineer.page.get_by_role("link", name="Answers so far").click()
    told = opened.value.locator("main")
    expect(told).to_contain_text("does not count: engineer started the training")
    expect(told).to_contain_text(" UTC")
    assert demo.champion == before

    demo.waiting_promotion()
    physician = logged_in(browser, demo, PHYSICIAN)
    physician.open_question("Shall version 2", promotion)
    physician.answer("Approve", "It finds more.")
    assert demo.ended(PROMOTION, promotion) == "success"
    expect_champion(physician.page, demo, 2)

    physician.trigger(ROLLBACK, version="1", reason="It called a ruler melanoma.")
    demo.wait(lambda: demo.champion == before)
    expect_champion(physician.page, demo, 1)
    last = promotions_in(demo.store).facts[-1]
    assert isinstance(last, Rollback)
    assert (last.by.in_words, last.reason) == (
        "physician (Airflow)",
        "It called a ruler melanoma.",
    )
