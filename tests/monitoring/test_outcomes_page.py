"""The page about released diagnoses."""

import re

import pytest

from tasks.monitoring.counting import counted, of_version
from tasks.monitoring.follow_up import Followed
from tasks.monitoring.outcomes import OfVersion
from tasks.monitoring.outcomes_page import page, plot_of
from tests.monitoring.test_watch_page import Tags
from tests.support.released import (
    MISSED,
    MODEL,
    REFUSED,
    melanomas,
    outcomes_of,
    released,
    sealed,
)

BROKEN, KEPT = [True] * 15 + [False] * 15 + [True] * 15, [True] * 38 + [False] * 2


def followed(
    found: list[bool], *others: OfVersion, synthetic: bool = False, **said: int
) -> Followed:
    """A look at melanomas of three months."""
    lesions = [
        each
        for at in range(3)
        for each in melanomas(
            found[at::3], 1000 * at, at=f"2026-{at + 8:02d}-05T09:30:00+00:00", synthetic=synthetic
        )
    ]
    lesions += [released(5000 + n, MISSED, "nevus", synthetic=synthetic) for n in range(4)]
    lesions += [released(6000, REFUSED, synthetic=synthetic)]
    own = of_version(MODEL, lesions, sealed())
    return Followed(outcomes_of(own, *others, **said), tuple(counted(lesions, ()).melanomas_found))


EMPTY = Followed(outcomes_of(of_version(MODEL, [], sealed())), ())


@pytest.mark.parametrize("found", [BROKEN, KEPT, [False], [True]])
def test_the_page_shows_figures_plot_months_and_the_selection(found: list[bool]) -> None:
    shown = page(followed(found))
    tags = Tags(shown)

    assert tags.open == []
    assert "http" not in shown.replace("http-equiv", "")  # nothing from outside
    assert "by selection biased" in shown
    assert shown.count("<figure") == 1
    assert shown.count("<tr><th>2026-") == (3 if len(found) > 1 else 2)
    assert "SYNTHETIC" not in shown


def test_an_alarm_is_marked_and_says_what_a_person_can_do() -> None:
    broken, kept = page(followed(BROKEN)), page(followed(KEPT))

    assert '<section class="verdict drift">' in broken
    assert 'class="alarm"' in broken
    assert "melanoma_rollback" in broken
    assert '<section class="verdict none">' in kept
    assert 'class="alarm"' not in kept
    assert "melanoma_rollback" not in kept


def test_without_a_release_there_is_no_plot_and_the_page_says_so() -> None:
    shown = page(EMPTY)

    assert Tags(shown).open == []
    assert "<h2>Insufficient evidence" in shown
    assert "<figure" not in shown
    assert "Nothing was released yet" in shown
    assert "by selection biased" in shown


def test_drawn_lesions_are_marked() -> None:
    shown = page(followed(KEPT, synthetic=True))

    assert '<div class="synthetic" role="note"><b>SYNTHETIC</b>' in shown
    assert "<title>SYNTHETIC: " in shown


def test_earlier_versions_and_others_are_told() -> None:
    other = MODEL.model_copy(update={"version": 2})
    one = of_version(other, melanomas([True]), None, no_promise="<b>gone</b>")
    shown = page(followed(KEPT, one, never_in_use=3))

    assert "not known: &lt;b&gt;gone&lt;/b&gt;" in shown
    assert "3 released lesions do not count" in shown
    assert "Earlier versions" not in page(followed(KEPT))


def test_the_plot_shows_each_melanoma_the_band_around_it_and_the_alarm() -> None:
    found = [False, False, *[True] * 400]
    own = of_version(MODEL, melanomas(found), sealed())
    drawn = plot_of(own, found)
    heights = [y for _, y in drawn["line"]]

    assert drawn["alarm"] == drawn["line"][1]
    assert heights[0] == max(heights)  # nothing found yet: at the bottom
    assert drawn["last"] == drawn["line"][-1]
    upper, lower = drawn["band"][: len(heights)], drawn["band"][: len(heights) - 1 : -1]
    for (_, top), (_, middle), (_, bottom) in zip(upper, drawn["line"], lower, strict=True):
        assert top <= middle <= bottom
    assert len(heights) <= 202  # a long life gives no long page
    xs = [x for x, _ in drawn["line"]]
    assert xs == sorted(xs)
    assert re.search(r"after 2\.", drawn["said"])
    assert plot_of(of_version(MODEL, melanomas([True]), sealed()), [True])["alarm"] is None
