"""The drift test: what it finds, what it does not, and what it says the cause is."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from tasks.engine.ledger import entry_key
from tasks.engine.store import Store
from tasks.errors import Corrupt
from tasks.evaluation.traces import Trace
from tasks.monitoring import causes
from tasks.monitoring.causes import causes_of
from tasks.monitoring.compare import LARGEST_MISSED, LEVEL
from tasks.monitoring.history import FOLDER, enter, history_in
from tasks.monitoring.reference import Reference
from tasks.monitoring.watch import FIRST, watched
from tasks.monitoring.watched import Watched, in_words
from tests.support.asked import NOON, SHA, USUAL, Clinic, asked, reference, traces

REFERENCE = reference()


def outcome(*parts: list[Trace], against: Reference = REFERENCE) -> Watched:
    return watched(against, asked(*parts), since=NOON - timedelta(days=7), until=NOON)


def moved(clinic: Clinic, n: int = 200, seed: int = 2) -> set[str]:
    return {each.figure for each in outcome(traces(n, seed, clinic)).figures if each.drifted}


# What is found ------------------------------------------------------------------------------------


def test_the_same_clinic_has_not_drifted() -> None:
    found = outcome(traces(200))

    assert (found.verdict, found.causes, found.label_first) == ("none", (), ())
    assert found.lesions == found.images == 200
    assert len(found.figures) == 15
    assert all(each.least is not None and each.least <= LARGEST_MISSED for each in found.figures)


DRIFTS = {
    "size": (
        USUAL.but(sizes=((300, 300),)),
        {"width in pixels", "height in pixels"},
        causes.FILE,
    ),
    "format": (USUAL.but(format="PNG"), {"file format"}, causes.FILE),
    "encoder": (
        USUAL.but(encoding="quality 75, 4:2:0"),
        {"encoding of the JPEG"},
        causes.FILE,
    ),
    "lamp": (
        USUAL.but(skin=(180.0, 160.0, 150.0)),
        {f"{colour} of the skin" for colour in ("red", "green", "blue")}
        | {f"mean {colour}" for colour in ("red", "green", "blue")},
        causes.DEVICE,
    ),
    "focus": (USUAL.but(sharpness=40.0), {"sharpness"}, causes.DEVICE),
    "clinic": (
        USUAL.but(sharpness=40.0, moved=0.5, classes=(0.6, 0.2, 0.2)),
        {
            *("sharpness", "descriptor of the image"),
            *("class that is answered", "melanoma probability"),
        },
        causes.CLINIC,
    ),
    "cases": (
        USUAL.but(classes=(0.6, 0.2, 0.2)),
        {"class that is answered", "melanoma probability"},
        causes.CASES,
    ),
    "lesions": (USUAL.but(moved=0.5), {"descriptor of the image"}, causes.IMAGE),
    "refusals": (USUAL.but(refused=0.4), {"share that is refused"}, causes.REFUSED),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_a_drift_is_found_with_its_figures_and_its_cause(name: str) -> None:
    clinic, figures, cause = DRIFTS[name]
    found = outcome(traces(200, clinic=clinic))

    assert found.verdict == "drift"
    assert {each.figure for each in found.figures if each.drifted} == figures
    assert found.causes == (cause,)
    assert len(found.label_first) == FIRST


def test_few_lesions_are_insufficient_evidence_even_if_nothing_moved() -> None:
    for n, words in ((0, "30 are needed"), (20, "30 are needed"), (40, "would show")):
        found = outcome(traces(n))
        assert found.verdict == "insufficient evidence"
        assert words in "\n".join(in_words(found))


def test_some_lesions_are_enough_to_find_a_large_drift() -> None:
    assert outcome(traces(40, clinic=USUAL.but(format="PNG"))).verdict == "drift"


def test_a_small_difference_of_many_lesions_is_no_drift() -> None:
    """5 % of them are PNG: more than chance explains, and not enough to matter."""
    found = outcome(traces(1900), traces(100, 3, USUAL.but(format="PNG")), against=reference(2000))
    (form,) = (each for each in found.figures if each.figure == "file format")

    assert form.adjusted is not None
    assert form.adjusted < LEVEL
    assert not form.drifted
    assert found.verdict == "none"


def test_a_mixture_is_found_where_a_third_comes_from_another_device() -> None:
    usual, other = traces(140), traces(60, 3, USUAL.but(skin=(150.0, 160.0, 170.0)))
    found = outcome(usual, other)

    assert found.verdict == "drift"
    assert found.causes == (causes.DEVICE,)


def test_the_same_test_again_says_the_same() -> None:
    rows = traces(200, clinic=USUAL.but(moved=0.2))

    assert outcome(rows) == outcome(rows)


# What counts --------------------------------------------------------------------------------------


def test_several_images_of_a_lesion_count_once() -> None:
    one = traces(25)
    again = [each for each in one for _ in range(4)]
    found = outcome(again)

    assert (found.images, found.lesions) == (100, 25)
    assert max(each.n for each in found.figures) == 25
    assert found.verdict == "insufficient evidence"


def test_answers_of_another_model_are_not_compared_and_its_images_are() -> None:
    before = traces(200, clinic=USUAL.but(model="b" * 64, classes=(0.9, 0.05, 0.05)))
    found = outcome(before)
    n = {each.figure: each.n for each in found.figures}

    assert n["sharpness"] == 200
    assert n["class that is answered"] == n["share that is refused"] == 0
    assert found.left_out == {
        "another model answered, so answers and refusals are not compared": 200
    }
    assert found.verdict == "insufficient evidence"
    assert "drift" not in {outcome(before, traces(200, 3)).verdict}


def test_a_promotion_does_not_look_like_drift() -> None:
    """The descriptor is not the model's: the same images under two models are the same."""
    found = outcome(traces(100, clinic=USUAL.but(model="b" * 64)), traces(100, 3))

    assert found.verdict == "none" or not found.moved


def test_pixels_of_another_side_are_left_out() -> None:
    found = outcome(traces(200, clinic=USUAL.but(packed_px=120, sharpness=9.0)))

    assert "another side" in next(iter(found.left_out))
    assert found.moved == ()


def test_what_the_model_does_not_say_is_told_and_does_not_stand_in_the_way() -> None:
    older = reference(refused=None, encodings_known=False)
    found = outcome(traces(200, clinic=USUAL.but(refused=0.5, encoding="quality 1")), against=older)
    said = "\n".join(in_words(found))

    assert found.moved == ()
    assert "share that is refused: the model's run does not say" in said
    assert "encoding of the JPEG: ingest did not note it yet" in said
    assert outcome(traces(200), against=older).verdict == "none"


def test_an_older_reference_is_not_stricter_than_its_figures() -> None:
    """Twelve test lesions cannot show that answers have not changed."""
    assert outcome(traces(200), against=reference(answered=12)).verdict == "insufficient evidence"


# What to label first ------------------------------------------------------------------------------


def test_the_unusual_and_the_uncertain_are_labelled_first() -> None:
    odd = traces(30, 3, USUAL.but(moved=1.5, format="PNG"))
    usual = [*traces(300), *traces(100, 4, USUAL.but(format="PNG"))]
    found = outcome(usual, odd)
    first = {each.lesion for each in found.label_first}
    shares = [np.mean([each.lesion in first for each in rows]) for rows in (odd, usual)]
    margins = asked(usual, odd)["melanoma_probability"].sub(0.4).abs()

    assert found.verdict == "drift"
    assert shares[0] > 3 * shares[1] > 0
    assert np.median([each.margin or 0.0 for each in found.label_first]) < margins.median()
    assert max(each.distance for each in found.label_first) > 0.99
    assert {each.hour for each in found.label_first} <= {each.hour for each in usual + odd}


def test_a_refused_lesion_is_named_without_a_margin() -> None:
    found = outcome(traces(60, clinic=USUAL.but(refused=1.0)))

    assert found.verdict == "drift"
    assert {each.margin for each in found.label_first} == {None}


# Causes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ((), ()),
        (("file",), (causes.FILE,)),
        (("file", "lesion"), (causes.FILE,)),
        (("file", "light"), (causes.DEVICE,)),
        (("sharpness", "lesion", "refusals"), (causes.DEVICE,)),
        (("file", "light", "sharpness", "answers"), (causes.CLINIC,)),
        (("sharpness", "answers"), (causes.CLINIC,)),
        (("file", "sharpness", "lesion"), (causes.PROCESSED,)),
        (("file", "sharpness", "answers"), (causes.PROCESSED, causes.CASES)),
        (("answers", "lesion"), (causes.CASES,)),
        (("file", "answers"), (causes.FILE, causes.CASES)),
        (("lesion",), (causes.IMAGE,)),
        (("lesion", "refusals"), (causes.IMAGE,)),
        (("refusals",), (causes.REFUSED,)),
    ],
)
def test_each_set_of_groups_speaks_for_a_cause(groups: Any, said: tuple[str, ...]) -> None:
    assert causes_of(groups) == said


# History ------------------------------------------------------------------------------------------


def test_each_test_is_entered_once_and_the_history_continues(store: Store) -> None:
    one = enter(store, outcome(traces(200)))
    other = enter(store, outcome(traces(200, clinic=USUAL.but(format="PNG"))))
    again = enter(store, one.model_copy(update={"news": True}))

    assert again == one  # what stands in the ledger
    assert history_in(store).tests == (one, other)
    later = "2026-12-01T12"
    assert history_in(store).last_of(SHA, later) == other
    assert history_in(store).last_of("b" * 64, later) is None
    assert history_in(store).last_of(SHA, other.until) is None  # of the same hour


@pytest.mark.parametrize("harm", ["changed", "cut", "unknown"])
def test_a_changed_history_is_refused(store: Store, harm: str) -> None:
    for seed in (2, 3):
        enter(store, outcome(traces(40, seed)))
    key = entry_key(1, FOLDER)
    if harm == "cut":
        store.delete(key)
    elif harm == "changed":
        was = store.read(key)
        now = was.replace(b'"verdict": "insufficient evidence"', b'"verdict": "none"')
        assert now != was
        store.replace(key, now)
    else:
        entry = history_in(store).chain.entries[0].model_copy(update={"kind": "weather"})
        store.replace(key, entry.sealed().data)

    with pytest.raises(Corrupt):
        history_in(store)


# Words --------------------------------------------------------------------------------------------


def test_the_words_say_the_answer_the_cause_the_figures_and_what_could_be_shown() -> None:
    found = outcome(traces(200, clinic=USUAL.but(format="PNG", encoding=""))).model_copy(
        update={"news": True}
    )
    said = in_words(found)

    assert said[0] == (
        "Drift. Version 3 was asked about 200 lesions (200 images) from 2026-11-23T12 until "
        "2026-11-30T12 UTC."
    )
    assert any(line.startswith("The figures speak for another file format") for line in said)
    assert "Drifted: file format: JPEG 0 % here, 100 % in what it learned from." in [
        line.replace("\u00a0", " ") for line in said
    ]
    assert any("200 lesions would show a difference of" in line for line in said)
    assert any("Label first: 50 lesions" in line for line in said)


def test_a_record_of_a_test_survives_json() -> None:
    found = outcome(traces(60, clinic=USUAL.but(refused=1.0)))

    assert Watched.model_validate_json(found.model_dump_json()) == found
    assert not np.isnan([each.least or 0.0 for each in found.figures]).any()
