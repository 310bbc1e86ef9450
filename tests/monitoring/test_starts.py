"""When a drift test starts a retraining, test after test."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import pytest

from tasks.engine.store import Store
from tasks.evaluation.traces import Trace
from tasks.monitoring.history import enter, history_in
from tasks.monitoring.watch import told_after, watched
from tasks.monitoring.watched import Watched, in_words
from tests.support.asked import NOON, SHA, USUAL, Clinic, asked, reference, traces
from tests.support.stores import on_a_directory

pytestmark = on_a_directory

DRIFT = USUAL.but(format="PNG")
OTHER = "b" * 64
Day = Callable[..., Watched]


@cache
def found_on(day: int, clinic: Clinic = DRIFT, model: str = SHA) -> Watched:
    """What the test of a day finds."""
    now = NOON + timedelta(days=day)
    rows: list[Trace] = traces(150, 5 + day, clinic, now)
    against = reference(model_sha256=model)
    return watched(against, asked(rows), since=now - timedelta(days=7), until=now)


@pytest.fixture
def day(store: Store) -> Day:
    """Enters the test of a day, in a store with so many new labelled lesions."""

    def of(number: int, new: int | None, *which: Any, starts: bool = True) -> Watched:
        found = found_on(number, *which)
        return enter(store, told_after(history_in(store), found, new, enough=50, starts=starts))

    return of


def test_labels_that_come_after_the_first_day_of_a_drift_start_one_retraining(day: Day) -> None:
    labels = [10, 30, 50, 50, 60]
    found = [day(number, new) for number, new in enumerate(labels)]

    assert [each.verdict for each in found] == ["drift"] * 5
    assert [each.news for each in found] == [True, False, False, False, False]
    assert [each.retrain for each in found] == [False, False, True, False, False]


def test_the_next_one_starts_after_as_many_more(day: Day) -> None:
    found = [day(number, new) for number, new in enumerate([70, 100, 119, 120, 169, 170])]

    assert [each.retrain for each in found] == [True, False, False, True, False, True]
    assert [each.labelled_then for each in found] == [None, 70, 70, 70, 120, 120]
    assert any(
        "from 120 on, as a drift test started one at 70" in line for line in in_words(found[1])
    )
    assert any(line.endswith("worth it from 50 on.") for line in in_words(found[0]))


def test_another_model_in_use_counts_anew(day: Day) -> None:
    assert day(0, 70).retrain
    assert not day(1, 60).retrain
    assert day(2, 60, DRIFT.but(model=OTHER), OTHER).retrain


def test_drift_that_goes_and_comes_back_starts_nothing_on_the_same_labels(day: Day) -> None:
    assert day(0, 70).retrain
    gone = day(1, 500, USUAL)
    assert (gone.verdict, gone.retrain, gone.new_labelled) == ("none", False, None)
    back = day(2, 70)
    assert (back.news, back.retrain) == (True, False)


def test_a_test_by_hand_starts_nothing_and_takes_nothing_from_the_next(day: Day) -> None:
    by_hand = day(0, 70, starts=False)
    assert (by_hand.worth_it, by_hand.retrain) == (True, False)
    within_the_hour, next_day = day(0, 70), day(1, 70)

    assert within_the_hour.retrain
    assert not next_day.retrain


def test_a_test_that_is_repeated_within_its_hour_says_the_same(day: Day, store: Store) -> None:
    assert day(0, 70) == day(0, 75)  # after a kill, with more labels
    assert len(history_in(store).tests) == 1


def test_unknown_labels_start_nothing(day: Day) -> None:
    assert not day(0, None).retrain


def test_entries_of_an_earlier_version_are_read_as_they_were_meant(day: Day, store: Store) -> None:
    """Those on new drift started a retraining, others did not, however many labels there were."""
    old = []
    for number, (news, new) in enumerate([(True, 60), (False, 80)]):
        said = {"news": news, "new_labelled": new, "enough": 50}
        content = found_on(number).model_copy(update=said).model_dump(mode="json")
        for name in ("starts", "labelled_then"):
            del content[name]
        old.append(Watched.model_validate_json(json.dumps(content)))
        enter(store, old[-1])

    assert [each.retrain for each in old] == [True, False]
    assert (day(2, 109).retrain, day(3, 110).retrain) == (False, True)
