"""The pages of the drift test."""

import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.monitoring.history import History, enter, history_in
from tasks.monitoring.reference import Reference
from tasks.monitoring.watch import lesions_of, watched
from tasks.monitoring.watch_page import MOST_TESTS, history_page, page
from tasks.monitoring.watched import in_words
from tests.support.asked import NOON, USUAL, Clinic, asked, reference, traces

REFERENCE = reference()
DRIFTED = USUAL.but(format="<script>alert(1)</script>", moved=0.4)


class Tags(HTMLParser):
    """All tags of a page, and whether each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "line", "rect", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pages(
    store: DirectoryStore, *clinics: Clinic, against: Reference = REFERENCE
) -> tuple[str, str]:
    """The pages after tests of so many days, and that of the history."""
    for day, clinic in enumerate(clinics):
        now = NOON + timedelta(days=day)
        rows = asked(traces(200, 50 + day, clinic, now))
        last = enter(store, watched(against, rows, since=now - timedelta(days=7), until=now))
    history = history_in(store)
    return page(last, lesions_of(against, rows)[0], against, history), history_page(history)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def test_a_drift_is_shown_with_its_figures_plots_hours_and_history(store: DirectoryStore) -> None:
    shown, told = pages(store, USUAL, DRIFTED)

    for text in (shown, told):
        assert Tags(text).open == []
        assert "http" not in text.replace("http-equiv", "")  # nothing from outside
        assert "script" not in Tags(text).seen  # a name of a file's format is text of others
        assert "none</span>" in text
        assert "drift" in text
    assert "&lt;script&gt;" in shown
    assert "<h2>Drift" in shown
    assert shown.count("<figure") == 14 + 1  # all figures but the descriptor; and the history
    assert shown.count('class="chart moved"') == 1
    assert re.search(r"<th>2026-1[12]-\d\dT\d\d</th><td class=\"n\">\d+</td>", shown)
    assert "1 of 2 tests found drift" in told


def test_where_nothing_was_asked_there_are_no_plots_and_no_page_fails(
    store: DirectoryStore,
) -> None:
    found = watched(REFERENCE, asked(), since=NOON - timedelta(days=7), until=NOON)
    shown = page(found, lesions_of(REFERENCE, asked())[0], REFERENCE, history_in(store))

    assert Tags(shown).open == []
    assert "<h2>Insufficient evidence" in shown
    assert "<figure" not in shown
    assert "No test was made yet" in history_page(history_in(store))
    assert "Label first" not in shown


def test_a_long_history_names_how_many_tests_it_leaves_out(store: DirectoryStore) -> None:
    pages(store, USUAL)
    one = history_in(store)
    many = MOST_TESTS + 5
    text = history_page(History(type(one.chain)(one.chain.entries * many), one.tests * many))

    assert "5 earlier tests stand in the ledger" in text
    assert text.count("<tr class=") == MOST_TESTS


def test_the_history_shows_which_test_started_a_retraining(store: DirectoryStore) -> None:
    pages(store, USUAL, DRIFTED)
    before = history_in(store)
    assert "Started a retraining" not in history_page(before)

    last = before.tests[-1].model_copy(update={"starts": True, "new_labelled": 61})
    text = history_page(History(before.chain, (*before.tests[:-1], last)))
    assert text.count("Started a retraining, with 61 new labelled lesions.") == 1


def test_a_model_of_drawn_lesions_is_marked_wherever_a_test_shows(store: DirectoryStore) -> None:
    shown, told = pages(store, USUAL, against=reference(synthetic=True))

    for text in (shown, told):
        assert Tags(text).open == []
        assert '<div class="synthetic" role="note"><b>SYNTHETIC</b>' in text
        assert text.count('<b class="stamp">SYNTHETIC</b>') == 1
    assert "<title>SYNTHETIC: Drift" in shown
    assert "1 of 1 test watched a model that learned from drawn lesions" in told
    assert "SYNTHETIC" in in_words(history_in(store).tests[-1])[1]


@pytest.mark.parametrize("known", [False, None], ids=["real", "not known"])
def test_a_model_of_real_lesions_is_not_marked(store: DirectoryStore, known: bool | None) -> None:
    for text in pages(store, USUAL, against=reference(synthetic=known)):
        assert "SYNTHETIC" not in text
    assert "SYNTHETIC" not in "\n".join(in_words(history_in(store).tests[-1]))
