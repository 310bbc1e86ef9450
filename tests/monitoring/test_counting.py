"""Which released lesions count, and what is said of the promise."""

from typing import Any

import pytest

from tasks.monitoring.counting import CONTRADICTORY, KNOWN, TWICE, counted, of_version
from tasks.monitoring.outcomes import Alarm, OfVersion, in_words
from tests.support.released import (
    FOUND,
    MISSED,
    MODEL,
    REFUSED,
    melanomas,
    outcomes_of,
    released,
    sealed,
)

KEPT_ONE, BROKEN_ONE = [True] * 28 + [False] * 2, [False] * 5 + [True] * 25


def said_of(own: OfVersion) -> str:
    return "\n".join(in_words(outcomes_of(own)))


def version(found: list[bool], **said: Any) -> OfVersion:
    return of_version(MODEL, melanomas(found), sealed(), **said)


# What counts ------------------------------------------------------------------------------------


def test_melanomas_are_found_or_missed_others_cleared_and_refusals_are_no_answer() -> None:
    lesions = [
        released(1, FOUND),
        released(2, MISSED),
        released(3, REFUSED),
        released(4, MISSED, "nevus"),
        released(5, FOUND, "nevus"),
        released(6, FOUND, "basal cell carcinoma"),
        released(7, REFUSED, "nevus"),
    ]
    own = of_version(MODEL, lesions, sealed())

    assert (own.found.successes, own.found.n, own.melanomas_refused) == (1, 2, 1)
    assert (own.cleared.successes, own.cleared.n, own.others_refused) == (1, 3, 1)
    assert "Of 3 melanomas it would not judge 1, of 4 other lesions 1." in said_of(own)
    assert "would not judge" not in said_of(version([True]))


def test_the_same_pixels_count_once_by_the_first_release() -> None:
    lesions = [
        released(1, MISSED, pixels=("x",)),
        released(2, FOUND, pixels=("y",)),
        released(3, FOUND, pixels=("x", "z")),
    ]
    own = counted(lesions, ())

    assert [each.kept.lesion for each in own.lesions] == [lesions[0].kept.lesion, f"{2:016x}"]
    assert own.left_out == {TWICE: 1}
    assert own.melanomas_found == [False, True]
    assert f"Left out: 1 lesion: {TWICE}." in said_of(of_version(MODEL, lesions, sealed()))


def test_lesions_that_a_third_one_joins_are_one() -> None:
    lesions = [
        released(1, pixels=("a",)),
        released(2, pixels=("b",)),
        released(3, pixels=("c",)),
        released(4, pixels=("b", "c", "a")),
    ]

    assert counted(lesions, ()).left_out == {TWICE: 3}
    assert counted(lesions[:3], ()).left_out == {}


def test_the_same_pixels_under_two_diagnoses_count_for_nothing() -> None:
    lesions = [
        released(1, MISSED, "melanoma", pixels=("x",)),
        released(2, MISSED, "nevus", pixels=("x",)),
        released(3, FOUND),
    ]
    own = counted(lesions, ())

    assert [each.kept.lesion for each in own.lesions] == [f"{3:016x}"]
    assert own.left_out == {CONTRADICTORY: 2}


def test_what_the_model_knows_already_counts_for_nothing() -> None:
    lesions = [released(1, pixels=("own", "learned")), released(2, pixels=("own",)), released(3)]
    own = of_version(MODEL, lesions, sealed(known=("learned",)))

    assert own.left_out == {KNOWN: 2}
    assert own.found.n == 1
    assert of_version(MODEL, lesions, sealed()).left_out == {TWICE: 1}


def test_months_are_those_of_the_answers_and_add_up_to_all() -> None:
    lesions = [
        *melanomas([True, False], at="2026-09-30T23:59:59+00:00"),
        *melanomas([True], first=10, at="2026-10-01T00:00:00+00:00"),
        released(20, REFUSED, at="2026-10-02T00:00:00+00:00"),
        released(21, MISSED, "nevus", at="2026-08-02T00:00:00+00:00"),
    ]
    own = of_version(MODEL, lesions[::-1], sealed())

    assert [each.month for each in own.months] == ["2026-08", "2026-09", "2026-10"]
    assert [(each.found.successes, each.found.n) for each in own.months] == [(0, 0), (1, 2), (1, 1)]
    assert [each.melanomas_refused for each in own.months] == [0, 0, 1]
    assert sum(each.found.n for each in own.months) == own.found.n
    assert sum(each.cleared.n for each in own.months) == own.cleared.n == 1


# What is said -----------------------------------------------------------------------------------


def test_a_promise_that_misses_contradict_is_broken_and_stays_so() -> None:
    own = version(BROKEN_ONE)
    later = version(BROKEN_ONE + [True] * 500)

    assert own.state == later.state == "broken"
    assert own.alarm == later.alarm == Alarm(melanomas=2, found=0)
    assert "The promise is broken." in said_of(own)
    assert "melanoma_rollback" in said_of(own)
    assert later.upper > (later.promise.sensitivity.lower if later.promise else 1)


def test_a_promise_with_few_misses_is_kept_so_far_and_what_could_be_seen_is_told() -> None:
    own = version(KEPT_ONE)

    assert (own.state, own.alarm) == ("kept so far", None)
    assert own.shown
    assert own.promise
    assert own.shown >= own.promise.sensitivity.lower - 0.3
    assert "a smaller fall is likely not seen" in said_of(own)
    assert "melanoma_rollback" not in said_of(own)


def test_too_few_melanomas_are_insufficient_evidence_and_how_many_are_needed_is_told() -> None:
    needed = version([]).needed
    assert needed

    assert version([True] * needed).state == "kept so far"
    few = version([True] * (needed - 1))
    assert few.state == "insufficient evidence"
    assert f"{needed} melanomas would show a sensitivity 30 points below" in said_of(few)
    nothing = version([])
    assert (nothing.state, nothing.shown) == ("insufficient evidence", None)
    assert "So few melanomas cannot raise the alarm" in said_of(nothing)


@pytest.mark.parametrize("test_part", [(0, 0), (0, 8)])
def test_a_test_part_that_promises_nothing_cannot_be_contradicted(
    test_part: tuple[int, int],
) -> None:
    own = of_version(MODEL, melanomas([False] * 100), sealed(*test_part))

    assert (own.state, own.alarm, own.needed) == ("insufficient evidence", None, None)
    assert "promises too little" in said_of(own)


def test_without_evidence_the_promise_is_not_known_and_why_is_told() -> None:
    own = of_version(MODEL, melanomas([False] * 100), None, no_promise="There is no evidence here")

    assert (own.state, own.alarm, own.promise) == ("insufficient evidence", None, None)
    assert "There is no evidence here" in said_of(own)


def test_an_alarm_of_an_earlier_look_stands_where_what_counts_now_would_raise_none() -> None:
    stands = version(KEPT_ONE, stood=True)

    assert (stands.state, stands.alarm, stands.earlier_alarm) == ("broken", None, True)
    assert "An earlier look raised the alarm" in said_of(stands)
    again = version(BROKEN_ONE, stood=True)
    assert (again.alarm is not None, again.earlier_alarm) == (True, False)
    assert again == version(BROKEN_ONE)  # so the ledger does not say it twice


def test_the_selection_is_told_in_every_state_and_drawn_lesions_are_marked() -> None:
    for found in ([], KEPT_ONE, BROKEN_ONE):
        assert "by selection biased" in said_of(version(found))
        assert "SYNTHETIC" not in said_of(version(found))
    drawn = of_version(MODEL, melanomas(KEPT_ONE, synthetic=True), sealed())
    assert "SYNTHETIC" in said_of(drawn)
