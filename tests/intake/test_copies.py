"""Copies: a picture is found however it was cut, turned or recoloured; another lesion is not."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from tasks.intake import candidates
from tasks.intake.copies import copies_among
from tasks.intake.images import PACKING, squeezed
from tasks.intake.local_features import MOST, LocalFeatures, features_of, together
from tests.support.copies import COPIES, Alteration
from tests.support.marks import MARKS
from tests.support.skin import lesion

LESIONS = 24
STRENGTHS = [
    pytest.param(alter, id=f"{kind} {strength}")
    for kind, strengths in COPIES.items()
    for strength, alter in strengths.items()
    if strength != "strongly"  # what is lost there, docs/benchmarks.md tells
]


def features(*pictures: Image.Image) -> LocalFeatures:
    packed = [squeezed(np.ascontiguousarray(each), 180, PACKING) for each in pictures]
    return features_of(np.stack(packed))


@cache
def known() -> LocalFeatures:
    return features(*(lesion(seed) for seed in range(LESIONS)))


def pairs(found: pd.DataFrame) -> list[tuple[int, int]]:
    return list(found[["first", "second"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("alter", STRENGTHS)
def test_an_altered_copy_is_found_and_nothing_else(alter: Alteration) -> None:
    both = together([known(), features(alter(lesion(7)))])

    assert pairs(copies_among(both)) == [(7, LESIONS)]


def test_different_lesions_are_no_copies() -> None:
    assert not pairs(copies_among(known()))


@pytest.mark.parametrize("mark", MARKS.values(), ids=list(MARKS))
def test_lesions_with_the_same_mark_are_no_copies_but_a_copy_with_the_mark_is(
    mark: Alteration,
) -> None:
    marked = features(*(mark(lesion(seed)) for seed in (1, 2, 3, 4)))

    assert not pairs(copies_among(marked))
    assert pairs(copies_among(together([marked, features(lesion(3))]))) == [(2, 4)]


@pytest.mark.parametrize("mark", MARKS.values(), ids=list(MARKS))
def test_not_even_where_the_skin_is_so_smooth_that_the_mark_says_most(mark: Alteration) -> None:
    smooth = [lesion(seed).filter(ImageFilter.GaussianBlur(3)) for seed in range(LESIONS)]
    marked = features(*map(mark, smooth))

    assert not pairs(copies_among(marked))
    assert pairs(copies_among(together([marked, marked.of(np.array([5]))]))) == [(5, LESIONS)]


@pytest.mark.parametrize("of", [2, 3, 5])
def test_parts_together_find_the_pairs_of_one_call(of: int) -> None:
    copied = [alter(lesion(seed)) for seed in (3, 9) for alter in COPIES["turned"].values()]
    both = together([known(), features(*copied)])
    number = np.arange(len(both.counts)) % of
    at_once = copies_among(both)

    by_parts = pd.concat([copies_among(both, number == part) for part in range(of)])
    by_parts = by_parts.drop_duplicates(["first", "second"]).sort_values(["first", "second"])
    assert len(at_once) == 30  # of two pictures of 6
    pd.testing.assert_frame_equal(by_parts.reset_index(drop=True), at_once)


def test_features_are_the_same_in_any_company() -> None:
    alone = [features(lesion(seed)) for seed in (0, 1)]

    assert np.array_equal(together(alone).codes, known().of(np.array([0, 1])).codes)
    assert known().counts.max() <= MOST


def test_a_picture_without_features_is_no_copy_of_another() -> None:
    plain = Image.new("RGB", (180, 180), (180, 140, 130))
    found = features(plain, plain, lesion(0))

    assert list(found.counts[:2]) == [0, 0]
    assert not pairs(copies_among(found))
    assert not pairs(copies_among(features(plain)))
    assert not pairs(copies_among(together([])))


def test_a_mark_on_many_pictures_is_looked_up_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    one = features(lesion(0))
    many = together([one] * 6)
    assert len(candidates.candidates(many, np.array([0])))

    monkeypatch.setattr(candidates, "LARGEST_CELL", 5)
    assert not len(candidates.candidates(many, np.array([0])))
